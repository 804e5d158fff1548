"""Gymnasium and RLlib environments around the simulator and around real fleets, without arithmetic of their own."""

from lad_rllib.envs.callbacks import StationCallback, YardstickCallback
from lad_rllib.envs.fleet_env import FleetVectorEnv
from lad_rllib.envs.live_env import LiveFleetVectorEnv
from lad_rllib.envs.request_env import RequestFleetEnv
from lad_rllib.envs.station_env import StationMultiAgentEnv

__all__ = [
    "FleetVectorEnv",
    "LiveFleetVectorEnv",
    "RequestFleetEnv",
    "StationCallback",
    "StationMultiAgentEnv",
    "YardstickCallback",
]

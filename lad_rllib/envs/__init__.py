"""Gymnasium and RLlib environments around the simulator, without arithmetic of their own."""

from lad_rllib.envs.fleet_env import FleetVectorEnv

__all__ = ["FleetVectorEnv"]

"""Names under which RLlib and Ray Tune find this package's environments and algorithms."""

from __future__ import annotations

FLEET_ENV = "lad_rllib/EdgeFleet-v0"
LIVE_ENV = "lad_rllib/LiveFleet-v0"
STATION_ENV = "lad_rllib/EdgeStations-v0"
ALGORITHM = "LADTS"


def register() -> None:
    """Register the algorithms ``LADTS``, ``D2SACTS``, ``SACTS`` and ``DQNTS``, and the environments.

    ``lad_rllib/EdgeFleet-v0`` is the simulator, ``lad_rllib/LiveFleet-v0`` the same over real edge servers, and
    ``lad_rllib/EdgeStations-v0`` the same problem with one agent per base station, for RLlib's other algorithms.
    Call it once in the driver; Ray Tune and RLlib then take all by name: ``tune.Tuner("LADTS", ...)``,
    ``.environment("lad_rllib/EdgeFleet-v0", env_config={...})``.
    """
    from ray.tune import register_env, register_trainable

    from lad_rllib.algorithms import D2SACTS, DQNTS, LADTS, SACTS
    from lad_rllib.envs import FleetVectorEnv, LiveFleetVectorEnv, StationMultiAgentEnv

    register_env(FLEET_ENV, FleetVectorEnv)
    register_env(LIVE_ENV, LiveFleetVectorEnv)
    register_env(STATION_ENV, StationMultiAgentEnv)
    for algorithm in (LADTS, D2SACTS, SACTS, DQNTS):
        register_trainable(algorithm.__name__, algorithm)

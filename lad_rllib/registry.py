"""Names under which RLlib and Ray Tune find this package's environments and algorithms."""

from __future__ import annotations

FLEET_ENV = "lad_rllib/EdgeFleet-v0"
ALGORITHM = "LADTS"


def register() -> None:
    """Register the environment ``lad_rllib/EdgeFleet-v0`` and the algorithm ``LADTS``.

    Call it once in the driver; Ray Tune and RLlib then take both by name: ``tune.Tuner("LADTS", ...)``,
    ``.environment("lad_rllib/EdgeFleet-v0", env_config={...})``.
    """
    from ray.tune import register_env, register_trainable

    from lad_rllib.algorithms.lad_ts import LADTS
    from lad_rllib.envs import FleetVectorEnv

    register_env(FLEET_ENV, FleetVectorEnv)
    register_trainable(ALGORITHM, LADTS)

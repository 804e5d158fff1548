"""Names under which Gymnasium, RLlib and Ray Tune find this package's environments and algorithms."""

from __future__ import annotations

from typing import Any

import wrapt

FLEET_ENV = "lad_rllib/EdgeFleet-v0"
LIVE_ENV = "lad_rllib/LiveFleet-v0"
STATION_ENV = "lad_rllib/EdgeStations-v0"
REQUEST_ENV = "lad_rllib/RequestFleet-v0"
ALGORITHM = "LADTS"

# Environment -> what makes one network, and what makes several in lockstep; text, so that nothing is imported yet.
_ENTRY_POINTS = {
    FLEET_ENV: ("lad_rllib.envs.entry_points:make_fleet", "lad_rllib.envs.fleet_env:FleetVectorEnv"),
    LIVE_ENV: ("lad_rllib.envs.entry_points:make_live_fleet", "lad_rllib.envs.live_env:LiveFleetVectorEnv"),
    STATION_ENV: ("lad_rllib.envs.entry_points:refuse_stations", None),
    REQUEST_ENV: ("lad_rllib.envs.request_env:RequestFleetEnv", None),
}


def register() -> None:
    """Register all algorithms by the names of their classes, such as ``LADTS`` and ``LADPMD``, and the environments.

    ``lad_rllib/EdgeFleet-v0`` is the simulator, ``lad_rllib/LiveFleet-v0`` the same over real edge servers, and
    ``lad_rllib/EdgeStations-v0`` the same problem with one agent per base station, for RLlib's other algorithms.
    ``lad_rllib/RequestFleet-v0`` has requests that come one by one.
    Call it once in the driver; Ray Tune and RLlib then take all by name: ``tune.Tuner("LADTS", ...)``,
    ``.environment("lad_rllib/EdgeFleet-v0", env_config={...})``. Gymnasium needs no call: ``import lad_rllib`` is
    enough for ``gymnasium.make`` and ``gymnasium.make_vec``.
    """
    from ray.tune import register_env, register_trainable

    from lad_rllib.algorithms import CONFIGS
    from lad_rllib.envs import FleetVectorEnv, LiveFleetVectorEnv, RequestFleetEnv, StationMultiAgentEnv

    register_env(FLEET_ENV, FleetVectorEnv)
    register_env(LIVE_ENV, LiveFleetVectorEnv)
    register_env(STATION_ENV, StationMultiAgentEnv)
    register_env(REQUEST_ENV, RequestFleetEnv)
    for name in CONFIGS:
        algorithm = CONFIGS[name]().algo_class
        register_trainable(algorithm.__name__, algorithm)


def register_with_gymnasium() -> None:
    """Register the environments with Gymnasium: now if it is loaded, else as soon as it is.

    Gymnasium takes 0.4 s to load, which the command line's help must not cost, and has had no entry points for
    environments since its version 1.0.
    """
    wrapt.when_imported("gymnasium")(_add_to_gymnasium)


def _add_to_gymnasium(gymnasium: Any) -> None:
    for name, (single, vector) in _ENTRY_POINTS.items():
        gymnasium.register(name, entry_point=single, vector_entry_point=vector)

"""Which environments the algorithms take: the whole fleet as one agent, several networks in lockstep."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv
from ray.tune.registry import ENV_CREATOR, _global_registry

from lad_rllib import names
from lad_rllib.errors import ConfigurationError


def check_environment(title: str, env: Any) -> None:
    """Refuse an environment that cannot be a fleet, as far as its name or class tells.

    Args:
        title: The algorithm's.
        env: What ``environment()`` was given; None says nothing yet.

    Raises:
        ConfigurationError: says which environments there are.
    """
    if isinstance(env, str) and ":" not in env:  # otherwise a module that Gymnasium imports first
        if _global_registry.contains(ENV_CREATOR, env):
            maker = _global_registry.get(ENV_CREATOR, env)
        else:
            maker = gym.registry[env].vector_entry_point if env in gym.registry else None
            if maker is None:
                raise not_a_fleet(title, env)
    else:
        maker = env
    if isinstance(maker, type) and not issubclass(maker, VectorEnv):
        raise not_a_fleet(title, env if isinstance(env, str) else maker.__name__)


def check_spaces(title: str, env: VectorEnv, name: Any) -> None:
    """Refuse an environment that was made and whose observations are no fleet's.

    Args:
        title: The algorithm's.
        env: The environment.
        name: What ``environment()`` was given.

    Raises:
        ConfigurationError: says which environments there are.
    """
    space = env.single_observation_space
    if not isinstance(space, gym.spaces.Dict) or not {names.TASKS, names.TASK_COUNTS, names.QUEUES} <= space.keys():
        raise not_a_fleet(title, name if isinstance(name, str) else type(env.unwrapped).__name__)


def not_a_fleet(title: str, got: str) -> ConfigurationError:
    """The error for anything else, named as the user named it."""
    return ConfigurationError(
        f"{title} takes the environment of a whole fleet, lad_rllib/EdgeFleet-v0 or lad_rllib/LiveFleet-v0 "
        f"(FleetVectorEnv and LiveFleetVectorEnv of lad_rllib.envs), got {got}"
    )

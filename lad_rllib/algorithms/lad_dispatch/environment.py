"""Which environments LAD-Dispatch takes: those whose steps are requests, and whose setting it can play by itself."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from lad_rllib.errors import ConfigurationError


def check_environment(title: str, env: Any) -> None:
    """Refuse an environment that cannot be one of requests, as far as its name or class tells.

    Raises:
        ConfigurationError: says which there are.
    """
    if isinstance(env, type) and not (issubclass(env, gym.Env) and hasattr(env, "draw_episode")):
        raise not_of_requests(title, env.__name__)


def not_of_requests(title: str, got: str) -> ConfigurationError:
    """The error for anything else, named as the user named it."""
    return ConfigurationError(
        f"{title} takes requests that come one by one, lad_rllib/RequestFleet-v0 (RequestFleetEnv of lad_rllib.envs), "
        f"got {got}"
    )

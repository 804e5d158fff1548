"""What the environments share: how their configuration is read and how the arrivals of an episode are drawn."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator import Arrivals, EdgeNetwork, Setting, build_setting, load_spec

QUEUE_UNITS = ("gcycles", "seconds", "slots")
SETTINGS_FILES = (".yaml", ".yml", ".json")


def read_env_config(config: Mapping[str, Any], valid_keys: Collection[str]) -> tuple[Setting, NDArray[np.float64]]:
    """The setting, and the factor from each server's queue [Gcycle] to its observation, shape (A,).

    Raises:
        ConfigurationError: for an unknown key, an unknown unit or an episode too short to have a next state.
    """
    unknown = sorted(set(config) - set(valid_keys))
    if unknown:
        raise ConfigurationError(f"unknown env_config key {unknown[0]!r}; valid: {', '.join(valid_keys)}")
    queue_unit = config.get("queue_unit", "gcycles")
    if queue_unit not in QUEUE_UNITS:
        raise ConfigurationError(f"queue_unit must be one of {', '.join(QUEUE_UNITS)}, got {queue_unit!r}")
    setting = read_setting(config.get("setting", "paper"))
    if setting.num_slots < 2:
        raise ConfigurationError(f"an episode needs at least 2 slots, got {setting.num_slots}")
    return setting, queue_factor(setting.network, queue_unit)


def queue_factor(network: EdgeNetwork, queue_unit: str) -> NDArray[np.float64]:
    """What turns each server's queue [Gcycle] into a unit: itself, or its waiting time in seconds or slots, (A,)."""
    capacity = network.capacity_gcycles_per_s
    if queue_unit == "gcycles":
        return np.ones_like(capacity)
    return 1.0 / (capacity if queue_unit == "seconds" else capacity * network.slot_s)


def read_setting(source: str | Mapping[str, Any]) -> Setting:
    """The setting that a preset's name, a settings file (``.yaml``, ``.json``) or a settings dictionary describes."""
    if isinstance(source, str) and Path(source).suffix in SETTINGS_FILES:
        return build_setting(load_spec(source))
    return build_setting({"preset": source} if isinstance(source, str) else dict(source))


def draw_episode(setting: Setting, seed: int, env_index: int, episode: int) -> Arrivals:
    """Arrivals of one episode: a function of the seed, the environment's index and the episode's number alone."""
    return setting.arrivals.draw(np.random.default_rng([seed, env_index, episode]), setting.num_slots)


def draw_seed() -> int:
    """A seed from the operating system, for environments that were given none."""
    return int(np.random.SeedSequence().generate_state(1)[0])

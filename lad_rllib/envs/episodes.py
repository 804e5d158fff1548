"""What the environments share: how their configuration is read and how the arrivals of an episode are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lad_rllib.declared import Declared, declared, shown
from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator import PRESETS, Arrivals, EdgeNetwork, Setting, build_setting, load_spec
from lad_rllib.simulator.requests import (
    RANDOM_FLEETS,
    REQUEST_PRESETS,
    RequestSetting,
    build_request_setting,
    is_request_spec,
    refuse_random_fleets,
)

SETTINGS_FILES = (".yaml", ".yml", ".json")


class EnvConfig(Declared):
    """Fields of every environment's ``env_config``; the environments' cards explain them."""

    setting: Any = "paper"
    queue_unit: Literal["gcycles", "seconds", "slots"] = "gcycles"


class FleetEnvConfig(EnvConfig):
    """The same of several networks in lockstep."""

    num_envs: Annotated[int, Field(ge=1)] = 1


Group = TypeVar("Group", bound=EnvConfig)


def read_env_config(group: type[Group], config: Mapping[str, Any] | None) -> tuple[Group, Setting, NDArray[np.float64]]:
    """The checked configuration, its setting, and the factor from each queue [Gcycle] to its observation, shape (A,).

    Raises:
        ConfigurationError: for an unknown key or a wrong value, and as :func:`read_setting`.
    """
    settings = declared(group, config or {}, "env_config: ")
    setting = read_setting(settings.setting)
    return settings, setting, queue_factor(setting.network, settings.queue_unit)


def queue_factor(network: EdgeNetwork, queue_unit: str) -> NDArray[np.float64]:
    """What turns each server's queue [Gcycle] into a unit: itself, or its waiting time in seconds or slots, (A,)."""
    capacity = network.capacity_gcycles_per_s
    if queue_unit == "gcycles":
        return np.ones_like(capacity)
    return 1.0 / (capacity if queue_unit == "seconds" else capacity * network.slot_s)


def read_setting(source: str | Mapping[str, Any]) -> Setting:
    """The setting of slots that a preset's name, a settings file (``.yaml``, ``.json``) or a dictionary describes.

    Raises:
        ConfigurationError: if it cannot be built, is one of requests that come one by one, or its episodes are too
            short to have a next state.
    """
    setting = read_any_setting(source)
    if isinstance(setting, RequestSetting):
        raise ConfigurationError(
            f"setting {setting.name} has requests that come one by one, and this plays slots; choose a setting of "
            f"slots, such as {', '.join(PRESETS)}"
        )
    if setting.num_slots < 2:
        raise ConfigurationError(f"an episode needs at least 2 slots, got {setting.num_slots}")
    return setting


def read_any_setting(source: str | Mapping[str, Any]) -> Setting | RequestSetting:
    """The setting, of slots or of requests, that a preset's name, a settings file or a dictionary describes.

    Raises:
        ConfigurationError: if it cannot be built.
    """
    spec = setting_spec(source) if isinstance(source, str) else source
    refuse_random_fleets(spec)
    return build_request_setting(spec) if is_request_spec(spec) else build_setting(spec)


def setting_spec(source: str) -> dict[str, Any]:
    """The settings dictionary that a preset's name or a settings file stands for.

    Raises:
        ConfigurationError: for an unknown name, and for a file that cannot be read.
    """
    known = (*PRESETS, *REQUEST_PRESETS, *RANDOM_FLEETS)
    if source in known:
        return {"preset": source}
    if Path(source).suffix in SETTINGS_FILES:
        return load_spec(source)
    raise ConfigurationError(f"unknown preset {shown(source)}; choose from {', '.join(known)}")


def draw_episode(setting: Setting, seed: int, env_index: int, episode: int) -> Arrivals:
    """Arrivals of one episode: a function of the seed, the environment's index and the episode's number alone."""
    return setting.arrivals.draw(np.random.default_rng([seed, env_index, episode]), setting.num_slots)


def draw_seed() -> int:
    """A seed from the operating system, for environments that were given none."""
    return int(np.random.SeedSequence().generate_state(1)[0])

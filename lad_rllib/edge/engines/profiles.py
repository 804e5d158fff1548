"""Service-time profiles of devices, from a file that gives the source of every number."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from lad_rllib.declared import Declared, Text, declared, shown
from lad_rllib.edge.fit import DelayFit
from lad_rllib.edge.settings import Side
from lad_rllib.edge.task import MAX_TRANSFER_MBIT, ImageTask
from lad_rllib.errors import ConfigurationError
from lad_rllib.text_files import read_structured

MAX_DURATION_S = 1e6
"""Longest overhead, step or cold start [s]: eleven days."""

MAX_JITTER = 100.0
"""Maximum of the coefficient of variation."""

_Duration = Annotated[float, Field(ge=0, le=MAX_DURATION_S)]


class DeviceProfile(Declared):
    """How long a device takes for an image."""

    name: Text
    """Name of the device."""
    overhead_s: _Duration
    """Computing delay of an image besides its denoising steps [s]."""
    per_step_s: Annotated[float, Field(gt=0, le=MAX_DURATION_S)]
    """Computing delay of one denoising step [s]."""
    origin: Literal["measured", "assumption"]
    """Whether the numbers were ``measured`` or are an ``assumption``."""
    source: Text
    """Where the numbers come from, in words."""
    jitter: Annotated[float, Field(ge=0, le=MAX_JITTER)] = 0.0
    """Coefficient of variation of the computing delay (standard deviation over mean); 0: none."""
    cold_start_s: _Duration = 0.0
    """Loading the first model [s]."""
    swap_s: _Duration = 8.5
    """Bringing another model into memory [s]; default: median of the GPU containers behind the log GenTD26."""
    lora_swap_s: _Duration = 4.4
    """Bringing a LoRA into memory [s]; default: from the same containers."""
    unguided_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Time of a step with guidance of at most 1 over that of a guided step, which evaluates the model twice."""
    further_image_share: Annotated[float, Field(ge=0, le=1)] = 0.09
    """Time of each further image of a task over that of the first; default: GenTD26, 23 s for one and 37 s for 8."""
    width: Side = 512
    """Width of the image that the numbers hold for [pixel], and default of the emulated server."""
    height: Side = 512
    """Height of that image [pixel]."""
    result_mbit: Annotated[float, Field(ge=0, le=MAX_TRANSFER_MBIT)] = 0.8
    """Size of the finished image [Mbit]; default: mean of the setting of arXiv 2412.18212."""

    @property
    def expected(self) -> DelayFit:
        """The profile as a delay model."""
        return DelayFit(self.overhead_s, self.per_step_s, origin="profile")

    def times_s(self, task: ImageTask) -> tuple[float, float]:
        """Overhead and time of a step of a task's images [s]: in proportion to their pixels.

        >>> box = DeviceProfile(name="box", overhead_s=1.0, per_step_s=0.5, origin="assumption", source="an example")
        >>> box.times_s(ImageTask("a", "a cat", 8, width=1024, guidance=1.0))
        (2.0, 0.5)
        """
        pixels = (task.width or self.width) * (task.height or self.height)
        growth = pixels / (self.width * self.height) * (1 + self.further_image_share * (task.images - 1))
        is_guided = task.guidance is None or task.guidance > 1
        return self.overhead_s * growth, self.per_step_s * growth * (1.0 if is_guided else self.unguided_share)


def shipped_profiles_path() -> Path:
    """The file of profiles that comes with the package."""
    return Path(str(resources.files("lad_rllib.edge") / "profiles.yaml"))


def load_profiles(path: str | Path | None = None) -> dict[str, DeviceProfile]:
    """All profiles of a YAML file by name.

    Args:
        path: The file; None: the shipped one, whose head says how its numbers were made.

    Raises:
        ConfigurationError: one line, if the file cannot be read, or names an unknown key or a bad number.
    """
    path = shipped_profiles_path() if path is None else Path(path)
    entries = read_structured(path, "profiles")
    if not isinstance(entries, Mapping) or not entries:
        raise ConfigurationError(f"profiles {path} must map names of devices to their numbers")
    for number, (name, entry) in enumerate(entries.items(), 1):
        if not isinstance(name, str) or not isinstance(entry, Mapping):
            # Without a word of the file: a stranger's fleet file may name any file here.
            raise ConfigurationError(f"profiles {path}: device number {number} must be a name and a group of numbers")
    return {
        name: declared(DeviceProfile, {"name": name, **entry}, f"profiles {path}: {name}.")
        for name, entry in entries.items()
    }


def get_profile(name: str, path: str | Path | None = None) -> DeviceProfile:
    """One profile by name.

    Raises:
        ConfigurationError: if there is none of that name.

    >>> get_profile("h100").origin
    'assumption'
    """
    profiles = load_profiles(path)
    if name not in profiles:
        raise ConfigurationError(f"no profile {shown(name)}; known: {', '.join(profiles)}")
    return profiles[name]

"""Service-time profiles of devices, from a file that gives the source of every number."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from lad_rllib.declared import Declared, Text, declared, shown
from lad_rllib.edge.settings import Side
from lad_rllib.edge.task import MAX_TRANSFER_MBIT
from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator.requests import LinearService
from lad_rllib.simulator.requests.requests import REFERENCE_PIXELS
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
    pixel_exponent: Annotated[float, Field(ge=0, le=4)] = 1.0
    """Growth of a step's time with the number of pixels: ``pixels ** exponent``."""
    guidance_factor: Annotated[float, Field(ge=1, le=10)] = 2.0
    """Time of a step with guidance, which the numbers hold for, over that of one without."""
    further_image: Annotated[float, Field(ge=0, le=1)] = 0.09
    """What each further image adds, over the time of the first; default: GenTD26, 23 s for one image, 37 s for 8."""
    lora_factor: Annotated[float, Field(ge=1, le=10)] = 1.0
    """Time of a step with LoRAs over that of one without."""
    swap_s: _Duration = 8.5
    """Bringing another model into memory [s]; default: median of the GPU containers behind the log GenTD26."""
    lora_swap_s: _Duration = 4.4
    """Bringing a LoRA into memory [s]; default: from the same containers."""
    width: Side = 512
    """Width of the image that the numbers hold for [pixel], and default of the emulated server."""
    height: Side = 512
    """Height of that image [pixel]."""
    result_mbit: Annotated[float, Field(ge=0, le=MAX_TRANSFER_MBIT)] = 0.8
    """Size of the finished image [Mbit]; default: mean of the setting of arXiv 2412.18212."""

    @property
    def service(self) -> LinearService:
        """The profile as a service model of the simulator, which the emulation follows and predictions begin with."""
        pixels = self.width * self.height / REFERENCE_PIXELS
        return LinearService(
            overhead_s=self.overhead_s,
            per_step_s=self.per_step_s / self.guidance_factor / pixels**self.pixel_exponent,
            pixel_exponent=self.pixel_exponent,
            guidance_factor=self.guidance_factor,
            further_image=self.further_image,
            lora_factor=self.lora_factor,
        )


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

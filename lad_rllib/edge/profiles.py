"""Service-time profiles of devices that are not at hand, from a file in which every number says where it is from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path

from lad_rllib.edge.fit import DelayFit
from lad_rllib.edge.task import MAX_SIDE, MAX_TRANSFER_MBIT
from lad_rllib.errors import ConfigurationError
from lad_rllib.text_files import read_structured

ORIGINS = ("measured", "assumption")

MAX_DURATION_S = 1e6
"""Longest overhead, step or cold start [s]: eleven days."""

MAX_JITTER = 100.0
"""Largest coefficient of variation."""

_MOST = {
    "overhead_s": MAX_DURATION_S,
    "per_step_s": MAX_DURATION_S,
    "jitter": MAX_JITTER,
    "cold_start_s": MAX_DURATION_S,
    "result_mbit": MAX_TRANSFER_MBIT,
}


@dataclass(frozen=True)
class DeviceProfile:
    """How long a device takes for an image.

    Attributes:
        name: Name of the device.
        overhead_s: Computing delay of an image besides its denoising steps [s].
        per_step_s: Computing delay of one denoising step [s].
        origin: ``measured`` or ``assumption``.
        source: Where the numbers come from, in words.
        jitter: Coefficient of variation of the computing delay (standard deviation over mean); 0: none.
        cold_start_s: Loading the model [s].
        width: Width of the image that the numbers hold for [pixel], and default size of the emulated server.
        height: Height likewise.
        result_mbit: Size of the finished image [Mbit]; default: mean of the setting of arXiv 2412.18212.

    Raises:
        ConfigurationError: for a number that cannot be, or no source.
    """

    name: str
    overhead_s: float
    per_step_s: float
    origin: str
    source: str
    jitter: float = 0.0
    cold_start_s: float = 0.0
    width: int = 512
    height: int = 512
    result_mbit: float = 0.8

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
                raise ConfigurationError(
                    f"profile {self.name}: {name} must be a number from 0 to {most:g}, got {value!r}"
                )
        if not self.per_step_s > 0:
            raise ConfigurationError(f"profile {self.name}: per_step_s must be positive, got {self.per_step_s}")
        for name in ("width", "height"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 8 <= value <= MAX_SIDE or value % 8:
                raise ConfigurationError(
                    f"profile {self.name}: {name} must be a multiple of 8 pixels up to {MAX_SIDE}, got {value!r}"
                )
        if self.origin not in ORIGINS:
            raise ConfigurationError(f"profile {self.name}: origin must be one of {ORIGINS}, got {self.origin!r}")
        if not isinstance(self.source, str) or not self.source.strip():
            raise ConfigurationError(f"profile {self.name}: source must say where the numbers come from")

    @property
    def expected(self) -> DelayFit:
        """The profile as a delay model."""
        return DelayFit(self.overhead_s, self.per_step_s, origin="profile")


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
    return {str(name): _profile(str(name), entry, path) for name, entry in entries.items()}


def _profile(name: str, entry: object, path: Path) -> DeviceProfile:
    keys = [field.name for field in fields(DeviceProfile) if field.name != "name"]
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"profile {name} of {path} must map keys to values, got {type(entry).__name__}")
    unknown = sorted(set(map(str, entry)) - set(keys))
    if unknown:
        raise ConfigurationError(f"profile {name} of {path}: unknown key {unknown[0]}; known: {', '.join(keys)}")
    missing = [key for key in ("overhead_s", "per_step_s", "origin", "source") if key not in entry]
    if missing:
        raise ConfigurationError(f"profile {name} of {path} lacks {missing[0]}")
    return DeviceProfile(name=name, **{str(key): value for key, value in entry.items()})


def get_profile(name: str, path: str | Path | None = None) -> DeviceProfile:
    """One profile by name.

    Raises:
        ConfigurationError: if there is none of that name.

    >>> get_profile("h100").origin
    'assumption'
    """
    profiles = load_profiles(path)
    if name not in profiles:
        raise ConfigurationError(f"no profile {name}; known: {', '.join(profiles)}")
    return profiles[name]

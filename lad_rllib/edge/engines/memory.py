"""How a pipeline is laid out in memory: the choices, what each needs, and what it costs.

Figures are for SD3-medium in fp16, weights only, counted on the meta device by ``benchmarks/memory_table.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from lad_rllib.errors import ConfigurationError


@dataclass(frozen=True)
class MemoryProfile:
    """One way to lay out a pipeline.

    Attributes:
        name: Name of the profile.
        meaning: What it does.
        keeps_t5: Whether an SD3 pipeline keeps its third text encoder (T5-XXL, 62 % of the weights).
        needs_cuda: Whether it needs a CUDA device.
        needs_package: Package that it needs besides the usual ones, or nothing.
        speed: What it costs in time.
    """

    name: str
    meaning: str
    keeps_t5: bool
    needs_cuda: bool
    needs_package: str
    speed: str


MEMORY_PROFILES = {
    profile.name: profile
    for profile in (
        MemoryProfile("full", "everything on the device", True, False, "", "fastest"),
        MemoryProfile("no_t5", "everything on the device but T5, which is not loaded", False, False, "", "fastest"),
        MemoryProfile(
            "model_offload",
            "without T5; text encoders, denoiser and decoder come to the device in turn",
            False,
            True,
            "accelerate",
            "one transfer of each model per image; the steps are as fast",
        ),
        MemoryProfile(
            "group_offload",
            "without T5; one block of the model at a time on the device, the next one on its way",
            False,
            False,
            "",
            "every step transfers the whole denoiser (0.3 s more for SD3-medium); pointless without CUDA",
        ),
        MemoryProfile(
            "fp8",
            "without T5; the denoiser's weights in 8 bits, cast up layer by layer",
            False,
            False,
            "",
            "casting in every step",
        ),
        MemoryProfile("nf4_t5", "T5 in 4 bits, everything on the device", True, True, "bitsandbytes", "as full"),
    )
}
"""Every memory profile by name."""


def memory_profile(name: str) -> MemoryProfile:
    """The profile of that name.

    Raises:
        ConfigurationError: if there is none.
    """
    if name not in MEMORY_PROFILES:
        raise ConfigurationError(f"no memory profile {name!r}; known: {', '.join(MEMORY_PROFILES)}")
    return MEMORY_PROFILES[name]


def check_memory_profile(profile: MemoryProfile, device: str) -> None:
    """Refuse a profile that cannot work on ``device``, before anything is loaded.

    Raises:
        ConfigurationError: naming what is missing.
    """
    if profile.needs_cuda and not device.startswith("cuda"):
        others = ", ".join(p.name for p in MEMORY_PROFILES.values() if not p.needs_cuda)
        raise ConfigurationError(
            f"memory profile {profile.name} needs a CUDA device, not {device}; take one of {others}"
        )
    if profile.needs_package and find_spec(profile.needs_package) is None:
        package = profile.needs_package
        raise ConfigurationError(f"memory profile {profile.name} needs the package {package}; pip install {package}")

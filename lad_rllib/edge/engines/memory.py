"""How a pipeline is laid out in memory, and what each way needs.

- ``full``: everything on the device.
- ``no_t5``: everything on the device but T5, which is not loaded; as fast.
- ``model_offload``: no T5; text encoders, denoiser and decoder take turns on the device: one transfer of each an image.
- ``group_offload``: no T5; one block of the model on the device, the next on its way: every step transfers the whole
  denoiser (0.3 s more for SD3-medium), pointless without CUDA.
- ``fp8``: no T5; the denoiser's weights in 8 bits, cast up layer by layer in every step.
- ``nf4_t5``: T5 in 4 bits, everything on the device; as fast as ``full``.

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
        keeps_t5: Whether an SD3 pipeline keeps its third text encoder (T5-XXL, 62 % of the weights).
        needs_cuda: Whether it needs a CUDA device.
        needs_package: Package that it needs besides the usual ones, or empty.
    """

    name: str
    keeps_t5: bool = False
    needs_cuda: bool = False
    needs_package: str = ""


MEMORY_PROFILES = {
    profile.name: profile
    for profile in (
        MemoryProfile("full", keeps_t5=True),
        MemoryProfile("no_t5"),
        MemoryProfile("model_offload", needs_cuda=True, needs_package="accelerate"),
        MemoryProfile("group_offload"),
        MemoryProfile("fp8"),
        MemoryProfile("nf4_t5", keeps_t5=True, needs_cuda=True, needs_package="bitsandbytes"),
    )
}
"""Every memory profile by name."""


def memory_profile(name: str, device: str) -> MemoryProfile:
    """The profile of that name, if it can work on ``device``.

    Raises:
        ConfigurationError: naming what is missing.
    """
    profile = MEMORY_PROFILES[name]
    if profile.needs_cuda and not device.startswith("cuda"):
        others = ", ".join(p.name for p in MEMORY_PROFILES.values() if not p.needs_cuda)
        raise ConfigurationError(f"memory profile {name} needs a CUDA device, not {device}; take one of {others}")
    if profile.needs_package and find_spec(profile.needs_package) is None:
        package = profile.needs_package
        raise ConfigurationError(f"memory profile {name} needs the package {package}; pip install {package}")
    return profile

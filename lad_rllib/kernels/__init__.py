"""Kernels that numba compiles for many small networks on the CPU, behind the face of torch's operations."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from lad_rllib.errors import ConfigurationError

if TYPE_CHECKING:
    from lad_rllib.diffusion.reference import TorchBackend

__all__ = ["Kernels", "begin_compiling", "make_backend"]

Kernels = Literal["auto", "torch", "compiled"]
"""What computes; see :func:`make_backend`."""

_MISSING = "it is not installed"


def make_backend(kernels: Kernels) -> TorchBackend:
    """What networks, optimisers and replay buffers compute with.

    Args:
        kernels: ``"torch"`` for torch's operations; ``"compiled"`` and ``"auto"`` for compiled kernels, where they suit
            (see :meth:`~lad_rllib.kernels.compiled.CompiledBackend.suiting`). ``"auto"`` does without them where numba
            is missing or does not work, ``"compiled"`` refuses.

    Raises:
        ConfigurationError: if ``kernels`` is ``"compiled"`` and numba is missing or does not work.
    """
    if kernels == "compiled" and obstacle():
        raise ConfigurationError(
            f"kernels='compiled' needs numba, but {obstacle()}; pip install numba, or choose 'auto' or 'torch'"
        )
    from lad_rllib.diffusion.reference import TORCH

    if kernels == "torch" or not _can_compile():
        return TORCH
    from lad_rllib.kernels.compiled import COMPILED

    return COMPILED


def begin_compiling(kernels: Kernels, *groups: Sequence[str]) -> None:
    """Begin to compile what training calls, if this machine has not done so yet, while the rest of it starts.

    Args:
        kernels: What computes, see :func:`make_backend`.
        groups: Kernels as ``module:name`` below ``lad_rllib``, each group for a process of its own.
    """
    if kernels != "torch" and not obstacle():
        from lad_rllib.compiling import compile_ahead

        compile_ahead(*([f"lad_rllib.{name}" for name in group] for group in groups))


@functools.cache
def obstacle() -> str:
    """Why kernels cannot be compiled here; empty if they can. The first call loads the compiler."""
    try:
        import numba  # noqa: F401
    except Exception as error:  # one for another NumPy, a library that does not load, ...: each in its own way
        if isinstance(error, ModuleNotFoundError) and error.name == "numba":
            return _MISSING
        return " ".join(str(error).split()) or type(error).__name__
    return ""


@functools.cache
def _can_compile() -> bool:
    """Whether kernels can be compiled; warns once in a process if numba is installed and does not work."""
    if obstacle() not in ("", _MISSING):
        warnings.warn(f"numba does not work here ({obstacle()}); torch computes instead", RuntimeWarning, stacklevel=3)
    return obstacle() == ""

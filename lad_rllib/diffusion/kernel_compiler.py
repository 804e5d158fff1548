"""How kernels are compiled: once for each machine, and kept on disk, where processes share them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

# Products and sums may be fused; the order of sums stays, and so do not-a-numbers.
_OPTIONS: dict[str, Any] = {"fastmath": {"contract", "nsz"}, "error_model": "numpy"}
_HERE = Path(__file__)
# Kernels call one another, also from other folders of the package.
_FILES = [_HERE, _HERE.with_name("vector_products.py"), *sorted(_HERE.parents[1].rglob("*_kernel.py"))]
_VERSION = hashlib.sha256(b"".join(file.read_bytes() for file in _FILES)).hexdigest()[:12]

part = njit(**_OPTIONS)
"""Decorates a function that only kernels call."""


def kernel(signature: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorates a function that Python calls, with its types; kept beside the code, or in the user's cache folder.

    ``NUMBA_CACHE_DIR`` names another folder. Where none can be written, each process compiles by itself.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        # Names the file on disk: numba would look for changes in this function's file only.
        function.__qualname__ += f"_{_VERSION}"
        try:
            return njit(signature, cache=True, **_OPTIONS)(function)
        except (RuntimeError, OSError):  # no folder for the cache, or no room in it
            return njit(signature, **_OPTIONS)(function)

    return decorate

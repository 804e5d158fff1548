"""How kernels are compiled: once for each machine, and kept on disk, where processes share them."""

from __future__ import annotations

import functools
import hashlib
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba import njit
from numba.core.caching import IndexDataCacheFile

# Products and sums may be fused; the order of sums stays, and so do not-a-numbers.
_OPTIONS: dict[str, Any] = {"fastmath": {"contract", "nsz"}, "error_model": "numpy"}
_HERE = Path(__file__)
# Kernels call one another, so that a change of one makes the others' machine code stale.
_FILES = sorted(_HERE.parent.glob("*.py"))
_VERSION = hashlib.sha256(b"".join(file.read_bytes() for file in _FILES)).hexdigest()[:12]

_LOG = logging.getLogger("lad_rllib.kernels")

_DIGEST_BYTES = hashlib.sha256().digest_size

part = njit(**_OPTIONS)
"""Decorates a function that only kernels call."""


class CheckedCacheFile(IndexDataCacheFile):
    """numba's cache of one function on disk, with checksums: a damaged file counts as missing and is written anew.

    A power cut or a full disk leaves empty and cut files, on which numba itself raises at every later start; and it
    would run machine code in which a bit has flipped.
    """

    def _dump(self, obj: object) -> bytes:
        data: bytes = super()._dump(obj)
        return data + hashlib.sha256(data).digest()  # unpickling stops before it

    def load(self, key: Any) -> Any:
        """Code of one signature; None: it is to be compiled."""
        data = super().load(key)
        if data is None:
            _announce()
        return data

    def _load_index(self) -> Any:
        return super()._load_index() if _is_sound(Path(self._index_path)) else {}

    def _load_data(self, name: str) -> Any:
        path = Path(self._data_path(name))
        if not _is_sound(path):
            raise FileNotFoundError(path)
        return super()._load_data(name)


@functools.cache
def _announce() -> None:
    """Say, once in a process, why the first use takes so long."""
    _LOG.info("compiling kernels (once per machine, about 20 s)")


def _is_sound(file: Path) -> bool:
    """Whether the file ends in the checksum of what was dumped; in an index, the version of numba comes before that."""
    try:
        data = file.read_bytes()
    except OSError:
        return False
    content, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if file.suffix == ".nbi":
        content = content[len(pickle.dumps(numba.__version__, protocol=-1)) :]
    return hashlib.sha256(content).digest() == digest


def kernel(signature: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorates a function that Python calls, with its types; kept beside the code, or in the user's cache folder.

    ``NUMBA_CACHE_DIR`` names another folder. Where none can be written, each process compiles by itself.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        # Names the file on disk: numba would look for changes in this function's file only.
        function.__qualname__ += f"_{_VERSION}"
        try:
            return _compiled_with_cache(function, signature)
        except (RuntimeError, OSError):  # no folder for the cache, or no room in it
            _announce()
            return njit(signature, **_OPTIONS)(function)

    return decorate


def _compiled_with_cache(function: Callable[..., None], signature: str) -> Callable[..., None]:
    dispatcher: Any = njit(**_OPTIONS)(function)
    dispatcher.enable_caching()
    plain = dispatcher._cache._cache_file
    dispatcher._cache._cache_file = CheckedCacheFile(
        plain._cache_path, plain._index_name.removesuffix(".nbi"), plain._source_stamp
    )
    dispatcher.compile(signature)
    dispatcher.disable_compile()
    compiled: Callable[..., None] = dispatcher
    return compiled

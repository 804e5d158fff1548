"""How kernels are compiled: once for each machine, at their first call, and kept on disk for all processes."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import numba
import numpy as np
from numba import njit, types
from numba.core.caching import IndexDataCacheFile

from lad_rllib.arrays import Layout

_SCALARS = {int: types.int64, float: types.float64, bool: types.boolean}
_SCALARS |= {np.float32: types.float32, np.uint64: types.uint64}

# Products and sums may be fused; the order of sums stays, and so do not-a-numbers.
_OPTIONS: dict[str, Any] = {"fastmath": {"contract", "nsz"}, "error_model": "numpy"}
_LEAN_OPTIONS = {**_OPTIONS, "_nrt": False}
_DIGEST_BYTES = hashlib.sha256().digest_size
_POLL_S = 0.02
_SILENT: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
_LOG = logging.getLogger("lad_rllib.compiling")

part = njit(**_OPTIONS)
"""Decorates a function that only kernels call."""
lean_part = njit(**_LEAN_OPTIONS)
"""The same for a :class:`lean_kernel`."""


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

    def is_whole(self) -> bool:
        """Whether there is code on disk, all of it sound."""
        names = self._load_index().values()
        return bool(names) and all(_is_sound(Path(self._data_path(name))) for name in names)

    def _load_index(self) -> Any:
        return super()._load_index() if _is_sound(Path(self._index_path)) else {}

    def _load_data(self, name: str) -> Any:
        path = Path(self._data_path(name))
        if not _is_sound(path):
            raise FileNotFoundError(path)
        return super()._load_data(name)


def _rooms(function: Callable[..., Any]) -> set[Path]:
    """Folders of a function, and of the compiled functions that it calls."""
    called = (getattr(function.__globals__.get(name), "py_func", None) for name in function.__code__.co_names)
    rooms = {Path(function.__code__.co_filename).parent}
    return rooms.union(*(_rooms(other) for other in called if other and other is not function))


@functools.cache
def _version(rooms: tuple[Path, ...]) -> str:
    """Digest of rooms' source. Kernels of a room call one another, so a change of one makes the others stale."""
    files = [Path(__file__), *(file for room in rooms for file in sorted(room.glob("*.py")))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


@functools.cache
def _announce() -> None:
    """Say, once in a process, why the first use takes so long."""
    _LOG.info("compiling kernels (once per machine and algorithm, about 10 s)")


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


class kernel:
    """Decorates a function that Python calls, whose annotations name the types; compiled or loaded at its first call.

    It is kept beside the code, or in the user's cache folder; ``NUMBA_CACHE_DIR`` names another folder. Where none can
    be written, each process compiles by itself.
    """

    options = _OPTIONS

    def __init__(self, function: Callable[..., Any]) -> None:
        # Names the file on disk: numba would look for changes in this function's file only.
        function.__qualname__ += f"_{_version(tuple(sorted(_rooms(function))))}"
        self._function = function
        self._compiled: Callable[..., Any] | None = None
        self._lock = threading.Lock()
        self._elsewhere: subprocess.Popen[bytes] | None = None

    def __call__(self, *arguments: Any) -> Any:
        """Run it."""
        return (self._compiled or self.compile())(*arguments)

    def compile(self) -> Callable[..., Any]:
        """Load the machine code, or compile it; other kernels take it as a :func:`pointer`."""
        with self._lock:
            if self._compiled is None:
                while self._elsewhere and self._elsewhere.poll() is None and not self.is_kept():
                    time.sleep(_POLL_S)
                hints = get_type_hints(self._function, include_extras=True)
                signature = _signature(hints.pop("return", type(None)), hints.values())
                try:
                    self._compiled = self._with_cache(signature)
                except (RuntimeError, OSError):  # no folder for the cache, or no room in it
                    _announce()
                    self._compiled = njit(signature, **self.options)(self._function)
            return self._compiled

    def is_kept(self) -> bool:
        """Whether machine code is on disk."""
        file: CheckedCacheFile = self._cached()._cache._cache_file
        return file.is_whole()

    @functools.cache  # noqa: B019  # kernels live as long as their module
    def _cached(self) -> Any:
        """The function as numba keeps it; RuntimeError or OSError if there is no folder for its cache."""
        dispatcher: Any = njit(**self.options)(self._function)
        dispatcher.enable_caching()
        plain = dispatcher._cache._cache_file
        dispatcher._cache._cache_file = CheckedCacheFile(
            plain._cache_path, plain._index_name.removesuffix(".nbi"), plain._source_stamp
        )
        return dispatcher

    def _with_cache(self, signature: Any) -> Callable[..., Any]:
        dispatcher = self._cached()
        dispatcher.compile(signature)
        dispatcher.disable_compile()
        compiled: Callable[..., Any] = dispatcher
        return compiled


class lean_kernel(kernel):
    """The same without counts of references, for code that makes no arrays: all are the caller's.

    Numba counts each array that a function takes out of a tuple. Where tuples have many and loops are short, that costs
    several times the arithmetic.
    """

    options = _LEAN_OPTIONS


def compile_ahead(*groups: Iterable[str]) -> None:
    """Begin to compile kernels that are not on disk yet, each group in a process of its own.

    numba compiles one function at a time in a process. Whoever calls such a kernel waits until its code is on disk; if
    it does not come, the caller's process compiles. On a single core this does nothing.

    Args:
        groups: Kernels as ``module:name``.
    """
    for group in groups if (os.cpu_count() or 1) > 1 else ():
        try:
            missing = [name for name in group if not _kernel_of(name).is_kept()]
        except (RuntimeError, OSError):  # no folder for the cache
            return
        if missing:
            _announce()
            program = f"import sys; sys.path[:] = {sys.path}\nfrom lad_rllib.compiling import _kernel_of\n"
            program += f"for name in {missing}: _kernel_of(name).compile()"
            process = subprocess.Popen([sys.executable, "-P", "-c", program], stdin=subprocess.DEVNULL, **_SILENT)
            for name in missing:
                _kernel_of(name)._elsewhere = process


def compile_all(package: str = "lad_rllib") -> list[str]:
    """Compile every kernel that is not on disk yet, so that no process need do it: about a minute on one core.

    Args:
        package: Whose kernels; its other modules are not imported.

    Returns:
        What was compiled, as ``module:name``.
    """
    compiled = []
    for root in import_module(package).__path__:
        for file in sorted(Path(root).rglob("*.py")):
            if "lad_rllib.compiling import" not in file.read_text(encoding="utf-8"):
                continue
            module = import_module(".".join((package, *file.relative_to(root).with_suffix("").parts)))
            for name, thing in vars(module).items():
                if isinstance(thing, kernel) and not thing.is_kept():
                    thing.compile()
                    compiled.append(f"{module.__name__}:{name}")
    return compiled


def _kernel_of(name: str) -> kernel:
    module, _, function = name.partition(":")
    found: kernel = getattr(import_module(module), function)
    return found


def pointer(returns: Any, *arguments: Any) -> Any:
    """Annotation of an argument that is itself a compiled kernel, with the annotations of what it returns and takes."""
    return Annotated[Callable[..., Any], types.FunctionType(_signature(returns, arguments))]


def _signature(returns: Any, arguments: Iterable[Any]) -> Any:
    compiled = types.void if returns is type(None) else _numba_type(returns)
    return compiled(*(_numba_type(hint) for hint in arguments))


def _numba_type(hint: Any) -> Any:
    """The compiler's type of an annotation: one of an array above, a scalar, or a named tuple of them."""
    if hasattr(hint, "_fields"):
        kinds = [_numba_type(each) for each in get_type_hints(hint, include_extras=True).values()]
        return types.BaseTuple.from_types(kinds, hint)
    if hint in _SCALARS:
        return _SCALARS[hint]
    [compiled] = hint.__metadata__
    if isinstance(compiled, Layout):
        return types.Array(numba.from_dtype(np.dtype(compiled.dtype)), compiled.axes, "C")
    return compiled

"""Parts that have a name and can be added from outside the package, by an installed package or by a call.

A room keeps one :class:`Registry` for each kind of part: arrival sources, penalties, heuristics, algorithms, server
kinds. Whatever chooses by name (settings files, configurations, the command line) asks the registry.

Another package adds a part by an entry point in its ``pyproject.toml``; nothing of it is imported before it is asked
for, and it is there in every process that Ray starts on a machine with that package:

.. code-block:: toml

    [project.entry-points."lad_rllib.heuristics"]
    nearest = "my_package.schedulers:Nearest"

A script adds one by :meth:`Registry.register`, for its own process alone.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any, Generic, TypeVar, cast

from lad_rllib.errors import ConfigurationError

Part = TypeVar("Part")
Registered = TypeVar("Registered")


class Registry(Generic[Part]):
    """Parts of one kind by name: in order those of this package, those registered in code, those of other packages.

    ``name in registry``, ``len(registry)`` and iteration over the names import nothing.

    Args:
        kind: What a part is called in errors, such as ``"heuristic"``.
        group: Entry-point group of parts from other packages, such as ``"lad_rllib.heuristics"``.
        own: Parts that are imported only when asked for: name to ``"module:attribute"``.
        base: Class that every part must be, or be a subclass of; None: any object.

    >>> shapes = Registry("shape", "lad_rllib.doctest_shapes", own={"counter": "collections:Counter"})
    >>> @shapes.register("square")
    ... class Square: ...
    >>> list(shapes), shapes["square"].__name__, shapes["counter"].__name__
    (['counter', 'square'], 'Square', 'Counter')
    >>> shapes["circle"]
    Traceback (most recent call last):
    lad_rllib.errors.ConfigurationError: unknown shape 'circle'; choose from counter, square
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, str] | None = None, base: Any = None) -> None:
        self.kind, self.group, self._base = kind, group, base
        self._own = {name: EntryPoint(name, where, group) for name, where in (own or {}).items()}
        self._registered: dict[str, Part] = {}
        self._imported: dict[EntryPoint, Part] = {}

    def register(self, name: str) -> Callable[[Registered], Registered]:
        """Decorate a part to give it a name; a class that was defined again, as in a notebook, takes its own place.

        Raises:
            ConfigurationError: if the name is taken, or the part is not of the registry's base class.
        """

        def add(part: Registered) -> Registered:
            if name in self._own or not _is_same(part, self._registered.get(name, part)):
                raise ConfigurationError(f"{self.kind} {name!r} exists already; choose another name")
            self._registered[name] = self._checked(name, part)
            return part

        return add

    def __getitem__(self, name: object) -> Part:
        """The part with this name.

        Raises:
            ConfigurationError: for an unknown name, with those that exist; for a name that comes from two packages; and
                for a part that cannot be imported, with its package.
        """
        if not isinstance(name, str) or name not in self:
            raise ConfigurationError(f"unknown {self.kind} {_shown(name)}; choose from {', '.join(self)}")
        found = [point for point in (self._own.get(name), *self._outside()) if point and point.name == name]
        sources = [_package(point) for point in found]
        if name in self._registered:
            sources.insert(0, getattr(self._registered[name], "__module__", "this process"))
        if len(sources) > 1:
            raise ConfigurationError(
                f"{self.kind} {name!r} comes from {' and '.join(sources)}; rename one, or uninstall its package"
            )
        if not found:
            return self._registered[name]
        if found[0] not in self._imported:
            self._imported[found[0]] = self._loaded(found[0])
        return self._imported[found[0]]

    def __contains__(self, name: object) -> bool:
        return any(name == one for one in self)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._own, *self._registered, *(point.name for point in self._outside()))))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _outside(self) -> EntryPoints:
        return _of_group(self.group)

    def _loaded(self, point: EntryPoint) -> Part:
        try:
            part = point.load()
        except Exception as error:  # whatever the other package does when it is imported
            problem = " ".join(f"{type(error).__name__}: {error}".split())
            raise ConfigurationError(
                f"{self.kind} {point.name!r} of {_package(point)} cannot be imported ({problem}); mend or uninstall it"
            ) from error
        return self._checked(point.name, part, f" of {_package(point)}")

    def _checked(self, name: str, part: Any, source: str = "") -> Part:
        is_one = isinstance(part, type) and self._base is not None and issubclass(part, self._base)
        if self._base is not None and not is_one:
            raise ConfigurationError(
                f"{self.kind} {name!r}{source} must be a subclass of {self._base.__name__}, got {_shown(part)}"
            )
        return cast(Part, part)


def installed(group: str) -> tuple[str, ...]:
    """Names that other packages give in an entry-point group, for help texts: imports nothing, not even the room."""
    return tuple(dict.fromkeys(point.name for point in _of_group(group)))


def _of_group(group: str) -> EntryPoints:
    return _groups(tuple(sys.path))(group)


@functools.lru_cache(maxsize=1)
def _groups(_path: tuple[str, ...]) -> Callable[[str], EntryPoints]:
    """Entry points of all packages on this path by group, which are read once: a name is looked up often."""
    everything: Any = entry_points()  # Python 3.11 and 3.12 give other types
    return functools.cache(lambda group: everything.select(group=group))


def _is_same(part: Any, other: Any) -> bool:
    """Whether two parts are one, or one class that was defined twice."""
    both_classes = isinstance(part, type) and isinstance(other, type)
    return part is other or (both_classes and _place(part) == _place(other))


def _place(part: type) -> tuple[str, str]:
    return part.__module__, part.__qualname__


def _package(point: EntryPoint) -> str:
    return f"package {point.dist.name} {point.dist.version}" if point.dist else "lad_rllib"


def _shown(value: object) -> str:
    from lad_rllib.declared import shown  # loads NumPy, which a list of names does not need

    return shown(value)

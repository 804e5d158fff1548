"""One edge server of a fleet: what it is, where it runs, what it needs, and how its engine is made.

A kind of servers is a subclass of :class:`ServerSpec` with its own fields and ``make_engine``. This package's are in
:mod:`lad_rllib.fleet.server_kinds`; another package adds one by an entry point in group ``lad_rllib.server_kinds``, a
script by ``SERVER_KINDS.register``. Fleet files, the dispatcher and the commands then take it like any other.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from lad_rllib.declared import Declared, Text, check_keys, declared, plain, shown, suggestion
from lad_rllib.edge.engines.engine import Engine
from lad_rllib.edge.settings import Positive, ServerSettings
from lad_rllib.errors import ConfigurationError
from lad_rllib.plugins import Registry
from lad_rllib.reference import json_schema

MAX_SERVERS = 1000
"""Servers of a fleet; each is a process of its own, of at least 134 MB."""


def _name(text: str) -> str:
    if "/" in text or not text.isprintable():
        raise ValueError("must be a text without a slash or a line break")
    return text


def _no_core(amounts: dict[str, float]) -> dict[str, float]:
    for reserved, key in (("CPU", "num_cpus"), ("GPU", "num_gpus")):
        if reserved in amounts:
            raise ValueError(f"must not name {reserved}; say {key} instead")
    return amounts


Name = Annotated[Text, AfterValidator(_name)]
"""Name of a fleet or server, part of the name of a Ray actor."""

Amount = Annotated[float, Field(ge=0, le=1e9)]


class FileKeys(Declared):
    """Keys of a fleet file's entry that no single server keeps."""

    count: Annotated[int, Field(ge=1, le=MAX_SERVERS)] = 1
    """So many servers of this kind."""


class ServerSpec(ServerSettings):
    """What every edge server has."""

    in_real_time: ClassVar[bool] = True
    """Whether its images take real time; an emulated server follows the fleet's ``time_scale``."""
    file_keys: ClassVar[type[FileKeys]] = FileKeys
    """Keys of an entry of this kind in a fleet file, besides the fields."""

    name: Name
    """Unique name; with a count, ``name-0``, ``name-1``, …; default: kind and position."""
    kind: str
    """Kind of the server."""
    num_cpus: Amount = 1.0
    """CPUs that Ray reserves; fractions are honoured."""
    num_gpus: Amount = 0.0
    """GPUs that Ray reserves; a fraction limits no memory."""
    resources: Annotated[dict[Text, Positive], AfterValidator(_no_core)] = {}
    """Custom resources that pin it to a node that has them."""
    labels: dict[Text, str] = {}
    """Node labels with their value, or Ray's selector (``!x``, ``in(x, y)``), that pin it to a node."""
    max_restarts: Annotated[int, Field(ge=-1, le=2**31 - 1)] = -1
    """How often Ray starts a lost process again; -1: always."""

    @model_validator(mode="after")
    def _reserves_something(self) -> Self:
        if not (self.num_cpus or self.num_gpus or self.resources):
            raise ValueError("num_cpus 0 without num_gpus or resources reserves nothing; say num_cpus: 0.1")
        return self

    @classmethod
    def from_file(cls, values: dict[str, Any], keys: Any, position: int, folder: Path) -> dict[str, Any]:
        """Fill in what an entry of a fleet file leaves to its place: paths, names of profiles, seeds.

        Args:
            values: The entry's fields.
            keys: Its other keys, an object of ``file_keys``.
            position: Servers before it in the fleet.
            folder: Folder that relative paths start from.

        Raises:
            ConfigurationError: for a name or a path that leads nowhere.
        """
        return values

    def make_engine(self, time_scale: float) -> Engine:
        """The server's engine; called in the process that is to compute.

        Args:
            time_scale: Wall seconds per second of a server that is not ``in_real_time``.

        Raises:
            ConfigurationError: for a device or memory profile that this machine does not have.
        """
        raise NotImplementedError(f"server kind {self.kind} has no make_engine")

    @property
    def engine_name(self) -> str:
        """What tables call its engine."""
        return self.kind

    @property
    def is_pinned(self) -> bool:
        """Whether resources or labels of its own decide where it runs."""
        return bool(self.resources or self.labels)

    @classmethod
    def file_schema(cls) -> dict[str, Any]:
        """JSON schema of an entry of this kind in a fleet file."""
        schema = json_schema(cls)
        schema["properties"] |= json_schema(cls.file_keys)["properties"]
        schema["required"] = ["kind", *(key for key in schema["required"] if key not in ("kind", "name"))]
        return schema

    def numbered(self, index: int) -> Self:
        """One of several servers that an entry with a count describes."""
        return self.model_copy(update={"name": f"{self.name}-{index}"})

    def to_dict(self) -> dict[str, Any]:
        """The server as an entry of a fleet file, every key of its kind filled in."""
        return self.model_dump()


SERVER_KINDS: Registry[type[ServerSpec]] = Registry(
    "server kind",
    "lad_rllib.server_kinds",
    own={
        "emulated": "lad_rllib.fleet.server_kinds:EmulatedServer",
        "diffusers": "lad_rllib.fleet.server_kinds:DiffusersServer",
        "http": "lad_rllib.fleet.server_kinds:HttpServer",
    },
    base=ServerSpec,
)
"""Every kind of servers by the ``kind`` of its entries in a fleet file."""


def server_specs(where: str, entry: object, position: int, folder: Path) -> list[ServerSpec]:
    """The servers that one entry of a fleet's list describes: ``count`` of them.

    Args:
        where: The fleet, for messages.
        entry: The entry.
        position: Servers before it, which gives a server without name or seed its own.
        folder: Folder that relative paths start from.

    Raises:
        ConfigurationError: one line for the first thing that is wrong.
    """
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"{where}, server number {position} must map keys to values, got {shown(entry)}")
    name = entry.get("name")
    known = name if isinstance(name, str) and name.strip() and name == shown(name).strip("'") else f"number {position}"
    where = f"{where}, server {known}: "
    kind = _kind(where, entry)
    values = {"name": f"{entry['kind']}-{position}"} | plain(entry)
    apart = {key: values.pop(key) for key in kind.file_keys.model_fields if key in values}
    keys = declared(kind.file_keys, apart, where)
    try:
        values = kind.from_file(values, keys, position, folder)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}{error}") from None
    server = declared(kind, values, where)
    return [server] if keys.count == 1 else [server.numbered(index) for index in range(keys.count)]


def _kind(where: str, entry: Mapping[Any, Any]) -> type[ServerSpec]:
    """The entry's kind, which has all of the entry's keys."""
    name = entry.get("kind")
    if name is None and (close := difflib.get_close_matches("kind", [str(key) for key in entry], 1)):
        check_keys(where, close, ["kind"])
    if not isinstance(name, str) or name not in SERVER_KINDS:
        raise ConfigurationError(f"{where}kind must be one of {', '.join(SERVER_KINDS)}, got {shown(name)}")
    kind = SERVER_KINDS[name]
    for key in entry:
        if key not in (keys := {*kind.model_fields, *kind.file_keys.model_fields}):
            raise ConfigurationError(f"{where}key {shown(key)} is not of kind {name}; {suggestion(key, keys)}")
    return kind

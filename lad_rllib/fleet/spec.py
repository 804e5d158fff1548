"""A fleet: edge servers, the base stations that they serve, and how to place them, as a file describes it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from lad_rllib.declared import Declared, check_keys, check_some, declared, plain, shown
from lad_rllib.edge.settings import Positive
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet.server_spec import (
    MAX_SERVERS,
    SERVER_KINDS,
    Name,
    ServerSpec,
    server_specs,
)
from lad_rllib.names import SHIPPED_FLEETS
from lad_rllib.reference import json_schema
from lad_rllib.simulator.order import OrderSpec, make_order, order_text
from lad_rllib.text_files import read_structured

MAX_STATIONS = 10_000

_FILE_ENDINGS = (".yaml", ".yml", ".json")


class FleetSpec(Declared):
    """What a fleet is; :func:`fleet_schema` is the schema of its file."""

    name: Name
    """Name of the fleet, part of its servers' names in a cluster; default: the file's name."""
    stations: Annotated[int, Field(ge=1, le=MAX_STATIONS)]
    """Base stations, where tasks arrive; default: as many as servers."""
    time_scale: Positive = 1.0
    """Wall seconds per second of emulated servers; 1 if a server works in real time."""
    home_server: list[Annotated[int, Field(ge=-1)]]
    """Server (from 0) at each station, whose tasks need no upload; -1: none; default: server b at station b."""
    servers: Annotated[tuple[SerializeAsAny[ServerSpec], ...], Field(strict=False)]
    """The edge servers."""
    order: OrderSpec = "fifo"
    """Order of service of each server that names none."""
    placement: Literal["pack", "spread", "strict_pack", "strict_spread", "none"] = "spread"
    """How servers that name no node of their own are spread over the nodes; ``none``: Ray places each by itself."""
    placement_timeout_s: Positive = 30.0
    """Longest wait for nodes that offer what the servers need [wall seconds]."""

    @model_validator(mode="before")
    @classmethod
    def _stand_in_order(cls, values: Any) -> Any:
        """As many stations as servers, and server b at station b, if nothing else is said."""
        values = dict(values)
        number = len(values.get("servers") or ())
        if values.get("stations") is None:
            values["stations"] = number
        if values.get("home_server") is None:
            stations = values["stations"]
            is_valid = isinstance(stations, int) and stations <= MAX_STATIONS
            values["home_server"] = [b if b < number else -1 for b in range(stations)] if is_valid else []
        return values

    @model_validator(mode="after")
    def _time_agrees(self) -> Self:
        real = next((server.name for server in self.servers if server.in_real_time), None)
        if real is not None and self.time_scale != 1:
            raise ValueError(
                f"time_scale is {self.time_scale:g}, but server {real} is a real pipeline, which runs in real time; "
                "say time_scale: 1, or emulate that server"
            )
        return self

    @model_validator(mode="after")
    def _each_server_stands_once(self) -> Self:
        if len(self.home_server) != self.stations:
            raise ValueError(
                f"home_server must be a list of {self.stations} servers, one a station, got {shown(self.home_server)}"
            )
        seen: set[int] = set()
        for server in self.home_server:
            if server >= len(self.servers) or server in seen:
                raise ValueError(
                    f"home_server names server {server}, but each of 0 to {len(self.servers) - 1} can stand at one "
                    "station only; -1 is no server"
                )
            seen |= {server} - {-1}
        return self

    def home_station(self, server: int) -> int | None:
        """Base station at which a server stands, or None."""
        return self.home_server.index(server) if server in self.home_server else None

    @property
    def order_note(self) -> str:
        """For titles: the orders of service of its servers; empty if all serve first in, first out."""
        orders = dict.fromkeys(order_text(make_order(server.order)) for server in self.servers)
        return "" if list(orders) == ["fifo"] else f", order {' and '.join(orders)}"

    def to_dict(self) -> dict[str, Any]:
        """The fleet as plain values, every key filled in; ``load_fleet`` builds it again."""
        return self.model_dump(mode="json")


def shipped_fleets_path() -> Path:
    """Folder of the fleets that come with the package."""
    return Path(str(resources.files("lad_rllib") / "data" / "fleets"))


def load_fleet(fleet: str | Path | Mapping[str, Any] | FleetSpec) -> FleetSpec:
    """A fleet by the name of a shipped one, from a YAML or JSON file, or from plain values.

    Relative paths in a file start from its folder, in plain values from the working directory.

    Raises:
        ConfigurationError: one line that names the file, the server, and what would be valid.

    >>> fleet = load_fleet("jetson")
    >>> len(fleet.servers), fleet.servers[4].name, fleet.servers[4].profile.name
    (5, 'orin-4', 'jetson-agx-orin')
    """
    if isinstance(fleet, FleetSpec):
        return fleet
    if isinstance(fleet, Mapping):
        name = fleet.get("name", "(no name)")
        return _build(f"fleet {name if isinstance(name, str) else '(no name)'}", fleet, "fleet", Path.cwd())
    if not isinstance(fleet, (str, os.PathLike)):
        raise ConfigurationError(f"a fleet must be a name, a file or a mapping, got {shown(fleet)}")
    path = Path(os.path.expanduser(fleet))
    if str(fleet) in SHIPPED_FLEETS:
        path = shipped_fleets_path() / f"{fleet}.yaml"
    elif path.suffix not in _FILE_ENDINGS:
        shipped = ", ".join(SHIPPED_FLEETS)
        raise ConfigurationError(f"no fleet {str(fleet)!r}; choose from {shipped}, or name a YAML or JSON file")
    return _build(f"fleet file {path}", read_structured(path, "fleet file"), path.stem, path.absolute().parent)


def _build(where: str, content: object, default_name: str, folder: Path) -> FleetSpec:
    if not isinstance(content, Mapping):
        raise ConfigurationError(f"{where} must map keys to values, got {shown(content)}")
    values = {"name": default_name} | plain(content)
    check_keys(f"{where}: ", values, FleetSpec.model_fields)
    for_all = {key: values[key] for key in ("order",) if key in values}
    check_some(FleetSpec, for_all, f"{where}: ")
    servers = _servers(where, values.get("servers"), folder, for_all)
    return declared(FleetSpec, values | {"servers": servers}, f"{where}: ")


def _servers(where: str, entries: object, folder: Path, for_all: Mapping[str, Any]) -> list[ServerSpec]:
    if not isinstance(entries, list) or not entries:
        raise ConfigurationError(f"{where}: servers must be a list of at least one server, got {shown(entries)}")
    servers: list[ServerSpec] = []
    names: set[str] = set()
    for entry in entries:
        entry = {**for_all, **entry} if isinstance(entry, Mapping) else entry
        servers += server_specs(where, entry, len(servers), folder)
        if len(servers) > MAX_SERVERS:
            raise ConfigurationError(f"{where}: a fleet has at most {MAX_SERVERS} servers, each a process of its own")
        for server in servers[len(names) :]:
            if server.name in names:
                raise ConfigurationError(f"{where}: two servers are called {server.name}; give each its own name")
            names.add(server.name)
    return servers


def with_server(fleet: FleetSpec, entry: Mapping[str, Any]) -> FleetSpec:
    """A fleet with one server more, the last one, which stands at no base station.

    Args:
        fleet: The fleet.
        entry: The server, as an entry of a fleet file; relative paths start from the working directory.

    Raises:
        ConfigurationError: for what an entry of a file may not be, a count above 1, or a name that is taken.
    """
    where = f"fleet {fleet.name}"
    found = server_specs(where, {"order": fleet.order, **plain(entry)}, len(fleet.servers), Path.cwd())
    if len(found) != 1:
        raise ConfigurationError(f"{where}: one server joins at a time; leave count out")
    if found[0].name in {server.name for server in fleet.servers}:
        raise ConfigurationError(f"{where} has a server called {found[0].name}; give the new one another name")
    return declared(FleetSpec, dict(fleet) | {"servers": [*fleet.servers, found[0]]}, f"{where}: ")


def without_server(fleet: FleetSpec, name: str) -> FleetSpec:
    """A fleet without one of its servers; at that server's base station there is none then.

    Raises:
        ConfigurationError: if there is no such server, or no other.
    """
    position = position_of(fleet, name)
    if len(fleet.servers) == 1:
        raise ConfigurationError(f"fleet {fleet.name}: {name} is the only server; add another one first")
    servers = [server for server in fleet.servers if server.name != name]
    home = [-1 if server == position else server - (server > position) for server in fleet.home_server]
    return declared(FleetSpec, dict(fleet) | {"servers": servers, "home_server": home}, f"fleet {fleet.name}: ")


def position_of(fleet: FleetSpec, name: str) -> int:
    """Position of a server in its fleet.

    Raises:
        ConfigurationError: if there is no such server.
    """
    names = [server.name for server in fleet.servers]
    if name not in names:
        raise ConfigurationError(f"fleet {fleet.name} has no server {shown(name)}; it has {', '.join(names)}")
    return names.index(name)


def fleet_schema() -> dict[str, Any]:
    """JSON schema of a fleet file with every server kind that is installed, for editors that complete and check it."""
    schema = json_schema(FleetSpec)
    schema["required"] = ["servers"]
    schema["properties"]["servers"] |= {
        "items": {"oneOf": [SERVER_KINDS[kind].file_schema() for kind in SERVER_KINDS]},
        "minItems": 1,
        "maxItems": MAX_SERVERS,
    }
    return schema

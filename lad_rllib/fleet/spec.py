"""A fleet: edge servers, the base stations that they serve, and how to place them, as a file describes it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from lad_rllib.declared import Declared, check_keys, declared, plain, shown
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet.server_spec import (
    MAX_SERVERS,
    AnyServer,
    Name,
    Positive,
    server_specs,
)
from lad_rllib.names import SHIPPED_FLEETS
from lad_rllib.text_files import read_structured

MAX_STATIONS = 10_000

_FILE_ENDINGS = (".yaml", ".yml", ".json")


class FleetSpec(Declared):
    """What a fleet is; ``docs/fleets.md`` has the keys of its file as a table.

    Attributes:
        name: Name of the fleet, part of its servers' names in a cluster.
        stations: Base stations B, where tasks arrive.
        time_scale: Wall seconds per second of the emulated servers; 1 if there is a real pipeline.
        home_server: Server that stands at each base station (no upload needed), -1 for none; length B.
        servers: The edge servers, one each.
        placement: How servers that name no node of their own are spread over the nodes; ``none`` leaves each to Ray
            by itself.
        placement_timeout_s: Longest wait for nodes that offer what the servers need [wall seconds].
    """

    name: Name
    stations: Annotated[int, Field(ge=1, le=MAX_STATIONS)]
    time_scale: Positive = 1.0
    home_server: list[Annotated[int, Field(ge=-1)]]
    servers: Annotated[tuple[AnyServer, ...], Field(strict=False)]
    placement: Literal["pack", "spread", "strict_pack", "strict_spread", "none"] = "spread"
    placement_timeout_s: Positive = 30.0

    @property
    def has_real_pipelines(self) -> bool:
        """Whether any server runs a diffusers pipeline."""
        return any(server.kind == "diffusers" for server in self.servers)

    def home_station(self, server: int) -> int | None:
        """Base station at which a server stands, or None."""
        return self.home_server.index(server) if server in self.home_server else None

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
    servers = _servers(where, values.get("servers"), folder)
    if values.get("stations") is None:
        values["stations"] = len(servers)
    is_default = values.get("home_server") is None
    if is_default:
        values["home_server"] = []
    spec = declared(FleetSpec, values | {"servers": servers}, f"{where}: ")
    if is_default:  # server b at station b, none beyond the last server
        home = [station if station < len(servers) else -1 for station in range(spec.stations)]
        spec = spec.model_copy(update={"home_server": home})
    _check_time_scale(where, spec)
    _check_home_server(where, spec)
    return spec


def _servers(where: str, entries: object, folder: Path) -> list[AnyServer]:
    if not isinstance(entries, list) or not entries:
        raise ConfigurationError(f"{where}: servers must be a list of at least one server, got {shown(entries)}")
    servers: list[AnyServer] = []
    names: set[str] = set()
    for entry in entries:
        servers += server_specs(where, entry, len(servers), folder)
        if len(servers) > MAX_SERVERS:
            raise ConfigurationError(f"{where}: a fleet has at most {MAX_SERVERS} servers, each a process of its own")
        for server in servers[len(names) :]:
            if server.name in names:
                raise ConfigurationError(f"{where}: two servers are called {server.name}; give each its own name")
            names.add(server.name)
    return servers


def _check_time_scale(where: str, spec: FleetSpec) -> None:
    real = next((server.name for server in spec.servers if server.kind == "diffusers"), None)
    if real is not None and spec.time_scale != 1:
        raise ConfigurationError(
            f"{where}: time_scale is {spec.time_scale:g}, but server {real} is a real pipeline, which runs in real "
            "time; say time_scale: 1, or emulate that server"
        )


def _check_home_server(where: str, spec: FleetSpec) -> None:
    if len(spec.home_server) != spec.stations:
        raise ConfigurationError(
            f"{where}: home_server must be a list of {spec.stations} servers, one a station, "
            f"got {shown(spec.home_server)}"
        )
    seen: set[int] = set()
    for server in spec.home_server:
        if server >= len(spec.servers) or server in seen:
            raise ConfigurationError(
                f"{where}: home_server names server {server}, but each of 0 to {len(spec.servers) - 1} can stand at "
                "one station only; -1 is no server"
            )
        seen |= {server} - {-1}

"""A fleet: edge servers, the base stations that they serve, and how to place them, as a file describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import checks
from lad_rllib.fleet.server_spec import ServerSpec, server_specs
from lad_rllib.names import SHIPPED_FLEETS
from lad_rllib.text_files import read_structured

PLACEMENTS = ("pack", "spread", "strict_pack", "strict_spread", "none")
"""How servers that name no node of their own are spread over the nodes; ``none`` leaves each to Ray by itself."""

_KEYS = ("name", "stations", "home_server", "time_scale", "placement", "placement_timeout_s", "servers")
_FILE_ENDINGS = (".yaml", ".yml", ".json")
_PLACEMENT_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class FleetSpec:
    """What a fleet is; ``docs/fleets.md`` has the keys of its file as a table.

    Attributes:
        name: Name of the fleet, part of its servers' names in a cluster.
        stations: Base stations B, where tasks arrive.
        time_scale: Wall seconds per second of the emulated servers; 1 if there is a real pipeline.
        home_server: Server that stands at each base station (no upload needed), -1 for none; length B.
        servers: The edge servers, one each.
        placement: One of :data:`PLACEMENTS`.
        placement_timeout_s: Longest wait for nodes that offer what the servers need [wall seconds].
    """

    name: str
    stations: int
    time_scale: float
    home_server: list[int]
    servers: tuple[ServerSpec, ...]
    placement: str = "spread"
    placement_timeout_s: float = _PLACEMENT_TIMEOUT_S

    @property
    def has_real_pipelines(self) -> bool:
        """Whether any server runs a diffusers pipeline."""
        return any(server.kind == "diffusers" for server in self.servers)

    def home_station(self, server: int) -> int | None:
        """Base station at which a server stands, or None."""
        return self.home_server.index(server) if server in self.home_server else None

    def to_dict(self) -> dict[str, Any]:
        """The fleet as plain values, every key filled in; ``load_fleet`` builds it again."""
        plain: dict[str, Any] = {key: getattr(self, key) for key in _KEYS}
        return plain | {
            "home_server": list(self.home_server),
            "servers": [server.to_dict() for server in self.servers],
        }


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
        return _build(f"fleet {fleet.get('name', '(no name)')}", fleet, "fleet", Path.cwd())
    path = Path(fleet).expanduser()
    if str(fleet) in SHIPPED_FLEETS:
        path = shipped_fleets_path() / f"{fleet}.yaml"
    elif path.suffix not in _FILE_ENDINGS:
        shipped = ", ".join(SHIPPED_FLEETS)
        raise ConfigurationError(f"no fleet {str(fleet)!r}; choose from {shipped}, or name a YAML or JSON file")
    return _build(f"fleet file {path}", read_structured(path, "fleet file"), path.stem, path.absolute().parent)


def _build(where: str, content: object, default_name: str, folder: Path) -> FleetSpec:
    values = checks.check_keys(where, content, _KEYS)
    entries = values.get("servers")
    if not isinstance(entries, (list, tuple)) or not entries:
        raise ConfigurationError(f"{where}: servers must be a list of at least one server, got {entries!r}")
    servers: list[ServerSpec] = []
    for entry in entries:
        servers += server_specs(where, entry, len(servers), folder)
    _check_names(where, servers)
    name = checks.text(f"{where}: name", values.get("name", default_name))
    if "/" in name:
        raise ConfigurationError(f"{where}: name must not have a slash, got {name!r}")
    time_scale = checks.number(f"{where}: time_scale", values.get("time_scale", 1.0), above=0)
    _check_time_scale(where, time_scale, servers)
    stations = values.get("stations")
    stations = len(servers) if stations is None else checks.whole(f"{where}: stations", stations, 1)
    wait_s = values.get("placement_timeout_s", _PLACEMENT_TIMEOUT_S)
    return FleetSpec(
        name=name,
        stations=stations,
        time_scale=time_scale,
        home_server=_home_server(where, values.get("home_server"), stations, len(servers)),
        servers=tuple(servers),
        placement=checks.choice(f"{where}: placement", values.get("placement", "spread"), PLACEMENTS),
        placement_timeout_s=checks.number(f"{where}: placement_timeout_s", wait_s, above=0),
    )


def _check_names(where: str, servers: list[ServerSpec]) -> None:
    names = [server.name for server in servers]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigurationError(f"{where}: two servers are called {twice}; give each its own name")


def _check_time_scale(where: str, time_scale: float, servers: list[ServerSpec]) -> None:
    real = next((server.name for server in servers if server.kind == "diffusers"), None)
    if real is not None and time_scale != 1:
        raise ConfigurationError(
            f"{where}: time_scale is {time_scale:g}, but server {real} is a real pipeline, which runs in real time; "
            "say time_scale: 1, or emulate that server"
        )


def _home_server(where: str, value: object, stations: int, servers: int) -> list[int]:
    """Server at each station; by default server ``b`` at station ``b``, none beyond the last server."""
    if value is None:
        return [station if station < servers else -1 for station in range(stations)]
    if not isinstance(value, (list, tuple)) or len(value) != stations:
        raise ConfigurationError(
            f"{where}: home_server must be a list of {stations} servers, one a station, got {value!r}"
        )
    home = [checks.whole(f"{where}: home_server", server, -1) for server in value]
    for server in home:
        if server >= servers or (server >= 0 and home.count(server) > 1):
            raise ConfigurationError(
                f"{where}: home_server names server {server}, but each of 0 to {servers - 1} can stand at one station "
                "only; -1 is no server"
            )
    return home

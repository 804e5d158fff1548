"""Where servers run: nodes are reserved by placement groups before any process starts, so that nothing waits unseen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet.server_spec import ServerSpec
from lad_rllib.fleet.spec import FleetSpec

GROUP_PREFIX = "lad_rllib"
"""First part of the name of a shared fleet's placement groups, by which others find them."""


@dataclass(frozen=True)
class Reservation:
    """A placement group and the servers that its bundles are for, in order."""

    group: PlacementGroup
    servers: tuple[ServerSpec, ...]

    def strategy_of(self, server: ServerSpec) -> PlacementGroupSchedulingStrategy:
        """Ray's scheduling strategy that puts a server into its bundle."""
        return PlacementGroupSchedulingStrategy(self.group, self.servers.index(server))


def needs_of(server: ServerSpec) -> dict[str, float]:
    """Resources of a server as Ray counts them."""
    needs = {"CPU": server.num_cpus, "GPU": server.num_gpus, **server.resources}
    return {name: amount for name, amount in needs.items() if amount > 0}


def reserve(spec: FleetSpec, shared: bool) -> list[Reservation]:
    """Reserve room for every server and wait until Ray has found it.

    Servers without resources or labels of their own form one placement group with the fleet's strategy; each other
    server is a group of its own, wherever its node is.

    Args:
        spec: The fleet.
        shared: Whether the room outlives this process.

    Raises:
        ConfigurationError: one line that names a server and what no node offers; nothing stays reserved.
    """
    loose = tuple(server for server in spec.servers if not server.is_pinned and spec.placement != "none")
    parts = [(server,) for server in spec.servers if server not in loose]
    reservations: list[Reservation] = []
    try:
        for servers in ([loose] if loose else []) + parts:
            reservations.append(_reserve(spec, servers, shared, len(reservations)))
        ready = [reservation.group.ready() for reservation in reservations]
        _, late = ray.wait(ready, num_returns=len(ready), timeout=spec.placement_timeout_s)
        if late:
            raise ConfigurationError(_why_not(spec, reservations[ready.index(late[0])].servers))
    except BaseException:
        release(reservations)
        raise
    return reservations


def _reserve(spec: FleetSpec, servers: tuple[ServerSpec, ...], shared: bool, number: int) -> Reservation:
    try:
        group = placement_group(
            [needs_of(server) for server in servers],
            strategy="PACK" if len(servers) == 1 else spec.placement.upper(),
            name=f"{GROUP_PREFIX}/{spec.name}/{_fingerprint(spec)}/{number}" if shared else "",
            lifetime="detached" if shared else None,
            bundle_label_selector=[dict(servers[0].labels)] if servers[0].labels else None,
        )
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"fleet {spec.name}, server {servers[0].name}: {reason}") from None
    return Reservation(group, servers)


def release(reservations: list[Reservation]) -> None:
    """Give the room back; what still runs in it ends."""
    for reservation in reservations:
        remove_placement_group(reservation.group)


def release_shared(fleet: str) -> int:
    """Give back the room of a shared fleet, whoever reserved it; returns the number of placement groups."""
    found = _shared_groups(fleet)
    for hexadecimal in found:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID.from_hex(hexadecimal)))
    return len(found)


def check_same_description(spec: FleetSpec) -> None:
    """Refuse a shared fleet that was started from another description, say before its file was changed.

    Raises:
        ConfigurationError: naming the fleet.
    """
    if any(name.split("/")[2] != _fingerprint(spec) for name in _shared_groups(spec.name).values()):
        raise ConfigurationError(
            f"fleet {spec.name} runs, but was started from another description than this one; end it with lad-rllib "
            "fleet down and start it again, or give this one another name"
        )


def _shared_groups(fleet: str) -> dict[str, str]:
    """Id and name of every placement group that a shared fleet has."""
    return {
        hexadecimal: entry["name"]
        for hexadecimal, entry in placement_group_table().items()
        if entry["name"].startswith(f"{GROUP_PREFIX}/{fleet}/") and entry["state"] != "REMOVED"
    }


def _fingerprint(spec: FleetSpec) -> str:
    """The same for the same servers."""
    plain = spec.to_dict()
    del plain["placement_timeout_s"]  # matters to who starts it only
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def _why_not(spec: FleetSpec, servers: tuple[ServerSpec, ...]) -> str:
    """One line: the first server that no node can take, and what is missing; else that everything is in use."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    waited = f"after {spec.placement_timeout_s:g} s"
    for server in servers:
        missing = _missing(server, nodes)
        if missing:
            return f"fleet {spec.name}, server {server.name}: no node offers {missing} ({waited})"
    names = ", ".join(server.name for server in servers)
    if len(servers) > len(nodes) and spec.placement == "strict_spread":
        return (
            f"fleet {spec.name}: placement strict_spread needs {len(servers)} nodes for {names}, Ray has {len(nodes)}"
        )
    needs: dict[str, float] = {}
    for server in servers:
        for name, amount in needs_of(server).items():
            needs[name] = needs.get(name, 0.0) + amount
    free = ray.available_resources()
    amounts = ", ".join(f"{name} {amount:g} (free: {free.get(name, 0.0):g})" for name, amount in needs.items())
    return f"fleet {spec.name}: no room for {names} with placement {spec.placement} {waited}; they need {amounts}"


def _missing(server: ServerSpec, nodes: list[Mapping[str, Any]]) -> str:
    """What no node has, alone or together; empty if some node could take the server."""
    needs = needs_of(server)
    for name, amount in needs.items():
        if not any(node["Resources"].get(name, 0.0) >= amount for node in nodes):
            return f"{name} {amount:g}"
    for label, wanted in server.labels.items():
        values = sorted({node["Labels"][label] for node in nodes if label in node["Labels"]})
        if not any(_has_label(node, label, wanted) for node in nodes):
            return f"label {label}: {wanted}" + (f" (there is {', '.join(values)})" if values else "")
    fits = any(
        all(node["Resources"].get(name, 0.0) >= amount for name, amount in needs.items())
        and all(_has_label(node, label, wanted) for label, wanted in server.labels.items())
        for node in nodes
    )
    if fits:
        return ""
    wants = [f"{name} {amount:g}" for name, amount in needs.items()]
    return " and ".join(wants + [f"label {label}: {wanted}" for label, wanted in server.labels.items()])


def _has_label(node: Mapping[str, Any], label: str, wanted: str) -> bool:
    """Whether a node has a label's value, as far as plain values go; Ray itself decides about ``!x`` and ``in(x)``."""
    return wanted.startswith(("!", "in(")) or node["Labels"].get(label) == wanted

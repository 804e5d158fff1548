"""Measuring the delay model of every server without the measurements disturbing one another."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray

from lad_rllib.edge import DelayFit, EdgeServer, RemoteEdgeServer, edge_error
from lad_rllib.fleet.spec import FleetSpec


def profile_servers(
    spec: FleetSpec,
    servers: Sequence[EdgeServer | RemoteEdgeServer],
    step_counts: Sequence[int],
    repeats: int,
    size: tuple[int, int] | None,
) -> list[DelayFit]:
    """One fit per server; see :meth:`lad_rllib.fleet.Fleet.profile`."""
    busy: dict[str, threading.Lock] = defaultdict(threading.Lock)  # of each node

    def measure(index: int) -> DelayFit:
        server = servers[index]
        if spec.servers[index].kind == "emulated":
            return server.profile(step_counts, size, repeats)
        with busy[nodes[index]]:
            return server.profile(step_counts, size, repeats)

    indices = range(len(servers))
    nodes = {index: _node_of(servers[index]) for index in indices if spec.servers[index].kind != "emulated"}
    emulated = [index for index in indices if index not in nodes]
    fits: dict[int, DelayFit] = {}
    for together in (emulated, list(nodes)):
        with ThreadPoolExecutor(max(1, len(together))) as pool:
            fits |= dict(zip(together, pool.map(measure, together), strict=True))
    return [fits[index] for index in indices]


def _node_of(server: EdgeServer | RemoteEdgeServer) -> str:
    """Id of the node that a server runs on; empty for this process."""
    if isinstance(server, EdgeServer):
        return ""
    try:
        return ray.get(server.actor.__ray_call__.remote(_own_node))
    except Exception as error:
        raise edge_error(error, server.name) from error


def _own_node(actor: Any) -> str:
    return ray.get_runtime_context().get_node_id()

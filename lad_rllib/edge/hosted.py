"""An edge server in a process of its own, seen from that process: what clients elsewhere may call."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from lad_rllib.edge.engines.engine import Engine
from lad_rllib.edge.errors import ServerUnavailable
from lad_rllib.edge.leases import LEASE_S, Leases
from lad_rllib.edge.server import EdgeServer

TURN_WAIT_S = 1.0
"""Longest wait for a call that was overtaken [wall seconds]; it is here already, or lost: the server restarted."""

GROUPS = {
    "control": ("cancel", "status", "progress", "health", "describe", "fit", "predict_computing_s"),
    "life": ("warm_up", "profile", "drain", "close"),  # these wait for images
}
"""Methods of :class:`~lad_rllib.edge.server.EdgeServer` that clients call, by the threads they run in."""

OWN_CONTROL = ("beat", "end_leases", "node")
"""Methods of :class:`HostedServer` itself that answer at once."""


class HostedServer:
    """An edge server that clients call from other processes: the methods in :data:`GROUPS`, and ``serve``.

    Args:
        name: Name of the server.
        engine: Its engine.
        lease_s: Tasks of a client that has been silent for so long are cancelled [s, wall clock].
        settings: Further arguments of :class:`~lad_rllib.edge.server.EdgeServer`.
    """

    def __init__(self, name: str, engine: Engine, lease_s: float = LEASE_S, **settings: Any) -> None:
        self._server = EdgeServer(name, engine, **settings)
        self._leases = Leases(self._server.cancel, lease_s)
        self._turns: dict[str, int] = {}  # number of the call that each client has next

    def is_turn(self, client: str, number: int) -> bool:
        """Whether all calls of a client before this one have been queued."""
        return self._turns.get(client, 0) >= number

    def end_turn(self, client: str, number: int) -> None:
        """A client's call has been queued."""
        self._turns[client] = max(self._turns.get(client, 0), number + 1)

    def check_meant(self, since: float) -> None:
        """Refuse a call that was meant for a process before this one, and waited for this one to start.

        Args:
            since: Start of the server that is meant [s since 1970, wall clock]; 0: whichever.

        Raises:
            ServerUnavailable: if it is not this one.
        """
        if since not in (0.0, self._server.since):
            name = self._server.name
            raise ServerUnavailable(f"edge server {name} was started again; send the task to another server")

    def beat(self, client: str) -> None:
        """A client that waits for images is alive."""
        self._leases.beat(client)

    def end_leases(self, process: str) -> None:
        """Cancel the tasks of the clients of a process that has ended.

        Args:
            process: Its :data:`~lad_rllib.edge.client.PROCESS`.
        """
        self._leases.end(process)

    def node(self) -> str:
        """Id of the node of the Ray cluster that it runs on."""
        import ray

        return ray.get_runtime_context().get_node_id()


def _forward(name: str) -> Callable[..., Any]:
    """A method that calls the server's of the same name."""

    @functools.wraps(getattr(EdgeServer, name))
    def method(host: HostedServer, *arguments: Any, **named: Any) -> Any:
        return getattr(host._server, name)(*arguments, **named)

    return method


for _names in GROUPS.values():
    for _name in _names:
        setattr(HostedServer, _name, _forward(_name))

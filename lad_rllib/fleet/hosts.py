"""Where a fleet's servers live: in threads of this process, or as Ray actors; another package may have another kind."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import ray

from lad_rllib.edge import EdgeServer, RemoteEdgeServer, ServerClient, edge_server_actor
from lad_rllib.edge.settings import ServerSettings
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet.placement import Reservation, release, reserve
from lad_rllib.fleet.server_spec import ServerSpec
from lad_rllib.fleet.spec import FleetSpec
from lad_rllib.simulator.order import make_order

NAMESPACE = "lad_rllib"
"""Ray namespace of shared fleets; a server's name there is ``fleet/server``."""

CONTROL_TIMEOUT_S = 0.7
"""Longest wait for an answer that needs no image [s], so that two missed ones show a dead server within 2 s."""

FleetServer = EdgeServer | ServerClient
"""A server of a fleet: itself, or the client of one in another process."""


class ServerHost(Protocol):
    """Starts servers of fleets, and ends those that it started."""

    def start(self, spec: FleetSpec, indices: Sequence[int]) -> list[FleetServer]:
        """Start servers of a fleet, without waiting for their models.

        Args:
            spec: The fleet.
            indices: Which of its servers.

        Raises:
            ConfigurationError: if there is no room for them; nothing is left of them.
        """
        ...

    def end(self, servers: Sequence[FleetServer]) -> None:
        """End servers, with what they work on, and give back the room that they alone had."""
        ...

    def close(self) -> None:
        """Give back all room; what still runs in it ends."""
        ...


class LocalHost:
    """Servers in threads of this process; what they reserve is ignored."""

    def start(self, spec: FleetSpec, indices: Sequence[int]) -> list[FleetServer]:
        """See :class:`ServerHost`."""
        servers: list[FleetServer] = []
        for index in indices:
            server = spec.servers[index]
            make_engine = partial(server.make_engine, spec.time_scale)
            try:
                servers.append(
                    EdgeServer(server.name, make_engine(), make_engine=make_engine, **server_settings(spec, index))
                )
            except BaseException:
                self.end(servers)
                raise
        return servers

    def end(self, servers: Sequence[FleetServer]) -> None:
        """See :class:`ServerHost`."""
        for server in servers:
            server.close()

    def close(self) -> None:
        """See :class:`ServerHost`."""


class ActorHost:
    """Servers that are Ray actors, in room that placement groups reserve for them.

    Args:
        shared: Whether they outlive this process, under names that others find.
    """

    def __init__(self, shared: bool = False) -> None:
        self._shared = shared
        self._reservations: list[Reservation] = []

    def start(self, spec: FleetSpec, indices: Sequence[int]) -> list[FleetServer]:
        """See :class:`ServerHost`."""
        check_ray()
        if self._shared:
            check_not_running(spec)
        wanted = spec.model_copy(update={"servers": tuple(spec.servers[index] for index in indices)})
        reservations = reserve(wanted, self._shared)
        place = {server.name: found for found in reservations for server in found.servers}
        try:
            servers: list[FleetServer] = [
                self._start(spec, index, place[spec.servers[index].name]) for index in indices
            ]
        except BaseException:
            release(reservations)
            raise
        self._reservations += reservations
        return servers

    def end(self, servers: Sequence[FleetServer]) -> None:
        """See :class:`ServerHost`."""
        if not ray.is_initialized():
            return
        for server in servers:
            assert isinstance(server, ServerClient)
            server.end()
        ended = {server.name for server in servers}
        free = [found for found in self._reservations if ended.issuperset(one.name for one in found.servers)]
        self._reservations = [found for found in self._reservations if found not in free]
        release(free)

    def close(self) -> None:
        """See :class:`ServerHost`."""
        reservations, self._reservations = self._reservations, []
        if ray.is_initialized():
            release(reservations)

    def _start(self, spec: FleetSpec, index: int, place: Reservation) -> RemoteEdgeServer:
        """A server as an actor where there is room reserved for it."""
        server = spec.servers[index]
        options: dict[str, Any] = {
            "resources": server.resources or None,
            "scheduling_strategy": place.strategy_of(server),
            "max_restarts": server.max_restarts,
            "max_task_retries": 0,  # a task must never be run again unasked: who sent it decides
        }
        if self._shared:
            options |= {"name": shared_name(spec, server), "namespace": NAMESPACE, "lifetime": "detached"}
        try:
            actor = edge_server_actor(
                server.name,
                partial(server.make_engine, spec.time_scale),
                num_cpus=server.num_cpus,
                num_gpus=server.num_gpus,
                actor_options=options,
                **server_settings(spec, index),
            )
        except ValueError as error:  # what Ray alone can know: a name taken just now, odd numbers
            reason = " ".join(str(error).split())
            raise ConfigurationError(f"fleet {spec.name}, server {server.name}: {reason}") from None
        return client_of(server, actor)


def server_settings(spec: FleetSpec, index: int) -> dict[str, Any]:
    """Arguments of :class:`~lad_rllib.edge.EdgeServer` for one server of a fleet, besides name and engine."""
    server = spec.servers[index]
    settings = {name: getattr(server, name) for name in ServerSettings.model_fields}
    return settings | {"home_station": spec.home_station(index)}


def shared_name(spec: FleetSpec, server: ServerSpec) -> str:
    """Name of a shared fleet's server in Ray's namespace ``lad_rllib``."""
    return f"{spec.name}/{server.name}"


def find_shared(spec: FleetSpec, server: ServerSpec) -> RemoteEdgeServer | None:
    """One server of a shared fleet, or None if it is not there."""
    try:
        actor = ray.get_actor(shared_name(spec, server), namespace=NAMESPACE)
    except ValueError:
        return None
    return client_of(server, actor)


def client_of(server: ServerSpec, actor: Any) -> RemoteEdgeServer:
    """The client of a server's actor."""
    return RemoteEdgeServer(server.name, actor, CONTROL_TIMEOUT_S, make_order(server.order))


def check_not_running(spec: FleetSpec) -> None:
    """Refuse to start a shared fleet that runs already."""
    for server in spec.servers:
        if find_shared(spec, server) is not None:
            raise ConfigurationError(
                f"fleet {spec.name} runs already: server {server.name} is there; attach to it, end it with lad-rllib "
                "fleet down, or give this one another name"
            )


def check_ray() -> None:
    """Refuse to go on without a cluster."""
    if not ray.is_initialized():
        raise ConfigurationError("no Ray cluster; call ray.init() first, or start the fleet with in_process=True")

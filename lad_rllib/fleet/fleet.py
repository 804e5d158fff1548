"""A running fleet: started from its description, waited for, measured and ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray

from lad_rllib.edge import DelayFit, EdgeServer, RemoteEdgeServer, edge_server_actor
from lad_rllib.edge.settings import ServerSettings
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet.placement import Reservation, check_same_description, release, release_shared, reserve
from lad_rllib.fleet.profiling import measure_each
from lad_rllib.fleet.server_spec import ServerSpec
from lad_rllib.fleet.spec import FleetSpec, load_fleet, position_of, with_server, without_server
from lad_rllib.fleet.waiting import Report, wait_until_ready
from lad_rllib.simulator.order import make_order

NAMESPACE = "lad_rllib"
"""Ray namespace of shared fleets; a server's name there is ``fleet/server``."""

CONTROL_TIMEOUT_S = 0.7
"""Longest wait for an answer that needs no image [s], so that two missed ones show a dead server within 2 s."""

PROFILE_STEPS, PROFILE_REPEATS = (1, 4, 8, 16), 3
"""Denoising steps of the images that measure a server, and how many images of each."""


class Fleet:
    """Edge servers that run together; from :meth:`start` or :meth:`attach`. Use it as a context manager, or close it.

    Attributes:
        spec: What the fleet is.
        servers: The servers in the order of ``spec.servers``: ``RemoteEdgeServer``, or ``EdgeServer`` in this process.
    """

    def __init__(
        self,
        spec: FleetSpec,
        servers: Sequence[EdgeServer | RemoteEdgeServer],
        reservations: list[Reservation] | None = None,
        *,
        is_owner: bool = True,
    ) -> None:
        self.spec = spec
        self.servers = list(servers)
        self._reservations = reservations or []
        self._is_owner = is_owner
        self._added: dict[str, list[Reservation]] = {}

    @classmethod
    def start(
        cls,
        spec: FleetSpec | str | Path | Mapping[str, Any],
        in_process: bool = False,
        shared: bool = False,
        timeout_s: float = 600.0,
        report: Report | None = None,
    ) -> Fleet:
        """Start every server and return when all are warm. If one fails, everything started so far is ended.

        Args:
            spec: The fleet, or whatever :func:`load_fleet` takes.
            in_process: Run the servers in threads of this process, without Ray; their reservations are ignored.
            shared: Let the servers outlive this process under names that :meth:`attach` finds.
            timeout_s: Longest wait for models to load and warm up [wall seconds]; that for nodes comes on top and is
                the fleet's ``placement_timeout_s``.
            report: Called with name and state of a server whenever its state changes.

        Raises:
            ConfigurationError: if Ray is not running, a shared fleet of this name runs already, or no node can take a
                server (named, with what is missing).
            ModelLoadFailed: at once, if a server cannot load its model.
            ServerUnavailable: if a server's process is lost, or not ready in time.
        """
        spec = load_fleet(spec)
        if in_process and shared:
            raise ConfigurationError("a fleet in this process cannot be shared; leave out in_process or shared")
        fleet = cls(spec, [])
        try:
            if in_process:
                fleet.servers += [_local_server(spec, index) for index in range(len(spec.servers))]
            else:
                fleet._start_actors(shared)
            for server in spec.servers:
                if report is not None:
                    report(server.name, "placed")
            wait_until_ready(spec.name, fleet.servers, timeout_s, report)
        except BaseException:
            fleet.close()
            raise
        return fleet

    @classmethod
    def attach(cls, spec: FleetSpec | str | Path | Mapping[str, Any]) -> Fleet:
        """The fleet that was started elsewhere with ``shared=True``; closing the returned one leaves the servers alone.

        Raises:
            ConfigurationError: if Ray is not running, a server of this fleet is not there, or the fleet was started
                from another description than this one.
        """
        spec = load_fleet(spec)
        check_ray()
        servers = []
        for server in spec.servers:
            found = find_shared(spec, server)
            if found is None:
                raise ConfigurationError(
                    f"fleet {spec.name} does not run here: no server {server.name}; start it with shared=True, or "
                    "lad-rllib fleet up"
                )
            servers.append(found)
        check_same_description(spec)
        return cls(spec, servers, is_owner=False)

    def wait_until_ready(self, timeout_s: float = 600.0, report: Report | None = None) -> None:
        """Return when every server is ready; see :func:`~lad_rllib.fleet.waiting.wait_until_ready` for errors."""
        wait_until_ready(self.spec.name, self.servers, timeout_s, report)

    def profile(
        self,
        step_counts: Sequence[int] = PROFILE_STEPS,
        repeats: int = PROFILE_REPEATS,
        size: tuple[int, int] | None = None,
        known: Sequence[DelayFit | None] | None = None,
    ) -> list[DelayFit]:
        """Measure every server's delay model: overhead and time per step, with residuals.

        Emulated servers are measured together, then real ones: those on one node one after the other, since they
        would slow one another down.

        Args:
            step_counts: At least three different numbers of denoising steps.
            repeats: Images per step count.
            size: Width and height [pixel]; None: each server's default.
            known: Delay models, one per server, of those that need no images (:meth:`known_fits`); None: measure all.

        Returns:
            One fit per server, in their order; in seconds of the server, not of the wall.

        Raises:
            ConfigurationError: for fewer than three different step counts.
            EdgeError: if an image fails.
        """
        fits = {} if known is None else dict(zip([server.name for server in self.servers], known, strict=True))
        return measure_each(
            self.spec, self.servers, lambda server: fits.get(server.name) or server.profile(step_counts, size, repeats)
        )

    def known_fits(self) -> list[DelayFit | None]:
        """Each server's delay model without a single image: from what it has served, or of its emulated device.

        Returns:
            One per server, in their order; None for one that has served images of fewer than three step counts.

        Raises:
            EdgeError: if a server does not answer.
        """
        fits = [server.fit() for server in self.servers]
        return [fit if fit is not None and fit.origin in ("fitted", "profile") else None for fit in fits]

    def add(self, entry: Mapping[str, Any], timeout_s: float = 600.0) -> EdgeServer | RemoteEdgeServer:
        """Start another server, where the others run, and return when it is warm.

        Args:
            entry: The server, as an entry of a fleet file.
            timeout_s: Longest wait for its model to load and warm up [wall seconds].

        Raises:
            ConfigurationError: for an entry that is none, a name that is taken, or if no node can take it.
            EdgeError: as of :meth:`start`; nothing is left of it.
        """
        spec = with_server(self.spec, entry)
        index = len(spec.servers) - 1
        place = None
        if any(isinstance(server, EdgeServer) for server in self.servers):
            server: EdgeServer | RemoteEdgeServer = _local_server(spec, index)
        else:
            check_ray()
            [place] = reserve(spec.model_copy(update={"servers": spec.servers[-1:]}), False)
            server = _start_actor(spec, index, place)
        try:
            wait_until_ready(spec.name, [server], timeout_s)
        except BaseException:
            _end(server, [place] if place else [])
            raise
        self.spec = spec
        self.servers.append(server)
        self._added[server.name] = [place] if place else []
        return server

    def remove(self, name: str) -> None:
        """End a server, with what it works on, unless others started it; what it shared a reservation for is kept.

        Raises:
            ConfigurationError: if there is no such server, or no other.
        """
        position = position_of(self.spec, name)
        self.spec = without_server(self.spec, name)
        server = self.servers.pop(position)
        if self._is_owner or name in self._added:
            _end(server, self._added.pop(name, []))

    def close(self) -> None:
        """End every server that this object started, and free what it reserved. May be called twice."""
        servers, self.servers = self.servers, []
        reservations, self._reservations = self._reservations, []
        added, self._added = self._added, {}
        for server in servers:
            if self._is_owner or server.name in added:
                _end(server, added.get(server.name, []))
        if self._is_owner and ray.is_initialized():
            release(reservations)

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _start_actors(self, shared: bool) -> None:
        spec = self.spec
        check_ray()
        if shared:
            _check_not_running(spec)
        self._reservations = reserve(spec, shared)
        place = {server.name: found for found in self._reservations for server in found.servers}
        for index, server in enumerate(spec.servers):
            self.servers.append(_start_actor(spec, index, place[server.name], shared))


def _local_server(spec: FleetSpec, index: int) -> EdgeServer:
    """A server of a fleet in this process."""
    server = spec.servers[index]
    make_engine = partial(server.make_engine, spec.time_scale)
    return EdgeServer(server.name, make_engine(), make_engine=make_engine, **_server_settings(spec, index))


def _start_actor(spec: FleetSpec, index: int, place: Reservation, shared: bool = False) -> RemoteEdgeServer:
    """A server of a fleet as an actor where there is room reserved for it."""
    server = spec.servers[index]
    options: dict[str, Any] = {
        "resources": server.resources or None,
        "scheduling_strategy": place.strategy_of(server),
        "max_restarts": server.max_restarts,
        "max_task_retries": 0,  # a task must never be run again unasked: who sent it decides
    }
    if shared:
        options |= {"name": shared_name(spec, server), "namespace": NAMESPACE, "lifetime": "detached"}
    try:
        actor = edge_server_actor(
            server.name,
            partial(server.make_engine, spec.time_scale),
            num_cpus=server.num_cpus,
            num_gpus=server.num_gpus,
            actor_options=options,
            **_server_settings(spec, index),
        )
    except ValueError as error:  # what Ray alone can know: a name taken just now, odd numbers
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"fleet {spec.name}, server {server.name}: {reason}") from None
    return _client(server, actor)


def _end(server: EdgeServer | RemoteEdgeServer, reservations: list[Reservation]) -> None:
    """End a server, and give the room back that was reserved for it alone."""
    if isinstance(server, EdgeServer):
        server.close()
    elif ray.is_initialized():
        ray.kill(server.actor)
        release(reservations)


def _server_settings(spec: FleetSpec, index: int) -> dict[str, Any]:
    """Arguments of :class:`~lad_rllib.edge.EdgeServer` for one server, besides name and engine."""
    server = spec.servers[index]
    settings = {name: getattr(server, name) for name in ServerSettings.model_fields}
    return settings | {"home_station": spec.home_station(index)}


def shared_name(spec: FleetSpec, server: ServerSpec) -> str:
    """Name of a shared fleet's server in Ray's namespace ``lad_rllib``."""
    return f"{spec.name}/{server.name}"


def end_shared(spec: FleetSpec) -> list[str]:
    """End a shared fleet, whoever started it and however much of it still lives.

    Returns:
        Names of the servers that were still there.

    Raises:
        ConfigurationError: if Ray is not running.
    """
    check_ray()
    ended = []
    for server in spec.servers:
        found = find_shared(spec, server)
        if found is not None:
            ray.kill(found.actor)
            ended.append(server.name)
    release_shared(spec.name)
    return ended


def find_shared(spec: FleetSpec, server: ServerSpec) -> RemoteEdgeServer | None:
    """One server of a shared fleet, or None if it is not there."""
    try:
        actor = ray.get_actor(shared_name(spec, server), namespace=NAMESPACE)
    except ValueError:
        return None
    return _client(server, actor)


def _client(server: ServerSpec, actor: Any) -> RemoteEdgeServer:
    return RemoteEdgeServer(server.name, actor, CONTROL_TIMEOUT_S, make_order(server.order))


def _check_not_running(spec: FleetSpec) -> None:
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

"""A running fleet: started from its description, waited for, measured and ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lad_rllib.edge import DelayFit
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet.hosts import ActorHost, FleetServer, LocalHost, ServerHost, check_ray, find_shared
from lad_rllib.fleet.placement import check_same_description, release_shared
from lad_rllib.fleet.profiling import measure_each
from lad_rllib.fleet.spec import FleetSpec, load_fleet, position_of, with_server, without_server
from lad_rllib.fleet.waiting import Report, wait_until_ready

PROFILE_STEPS, PROFILE_REPEATS = (1, 4, 8, 16), 3
"""Denoising steps of the images that measure a server, and how many images of each."""


class Fleet:
    """Edge servers that run together; from :meth:`start` or :meth:`attach`. Use it as a context manager, or close it.

    Attributes:
        spec: What the fleet is.
        servers: The servers in the order of ``spec.servers``: ``EdgeServer`` in this process, else its client.
    """

    def __init__(self, spec: FleetSpec, servers: Sequence[FleetServer], host: ServerHost) -> None:
        self.spec = spec
        self.servers = list(servers)
        self._host = host
        self._own: set[str] = set()  # names of the servers that were started here

    @classmethod
    def start(
        cls,
        spec: FleetSpec | str | Path | Mapping[str, Any],
        in_process: bool = False,
        shared: bool = False,
        timeout_s: float = 600.0,
        report: Report | None = None,
        host: ServerHost | None = None,
    ) -> Fleet:
        """Start every server and return when all are warm. If one fails, everything started so far is ended.

        Args:
            spec: The fleet, or whatever :func:`load_fleet` takes.
            in_process: Run the servers in threads of this process, without Ray; their reservations are ignored.
            shared: Let the servers outlive this process under names that :meth:`attach` finds.
            timeout_s: Longest wait for models to load and warm up [wall seconds]; that for nodes comes on top and is
                the fleet's ``placement_timeout_s``.
            report: Called with name and state of a server whenever its state changes.
            host: What starts the servers; None: as ``in_process`` and ``shared`` say.

        Raises:
            ConfigurationError: if Ray is not running, a shared fleet of this name runs already, or no node can take a
                server (named, with what is missing).
            ModelLoadFailed: at once, if a server cannot load its model.
            ServerUnavailable: if a server's process is lost, or not ready in time.
        """
        spec = load_fleet(spec)
        if in_process and shared:
            raise ConfigurationError("a fleet in this process cannot be shared; leave out in_process or shared")
        if host is None:
            host = LocalHost() if in_process else ActorHost(shared)
        fleet = cls(spec, [], host)
        try:
            fleet._start(range(len(spec.servers)))
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
        servers: list[FleetServer] = []
        for server in spec.servers:
            found = find_shared(spec, server)
            if found is None:
                raise ConfigurationError(
                    f"fleet {spec.name} does not run here: no server {server.name}; start it with shared=True, or "
                    "lad-rllib fleet up"
                )
            servers.append(found)
        check_same_description(spec)
        return cls(spec, servers, ActorHost())

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
        fits = dict(enumerate(known or [None] * len(self.servers)))
        unknown = [index for index, fit in fits.items() if fit is None]  # the others are not even asked
        spec = self.spec.model_copy(update={"servers": tuple(self.spec.servers[index] for index in unknown)})
        servers = [self.servers[index] for index in unknown]
        measured = measure_each(spec, servers, lambda server: server.profile(step_counts, size, repeats))
        return [fit for fit in (fits | dict(zip(unknown, measured, strict=True))).values() if fit is not None]

    def known_fits(self) -> list[DelayFit | None]:
        """Each server's delay model without a single image: from what it has served, or of its emulated device.

        Returns:
            One per server, in their order; None for one that has served images of fewer than three step counts.

        Raises:
            EdgeError: if a server does not answer.
        """
        return [known_fit(server) for server in self.servers]

    def add(self, entry: Mapping[str, Any], timeout_s: float = 600.0) -> FleetServer:
        """Start another server, where the others run, and return when it is warm.

        Args:
            entry: The server, as an entry of a fleet file.
            timeout_s: Longest wait for its model to load and warm up [wall seconds].

        Raises:
            ConfigurationError: for an entry that is none, a name that is taken, or if no node can take it.
            EdgeError: as of :meth:`start`; nothing is left of it.
        """
        before, self.spec = self.spec, with_server(self.spec, entry)
        try:
            self._start([len(before.servers)])
        except BaseException:
            self.spec = before
            raise
        try:
            wait_until_ready(self.spec.name, self.servers[-1:], timeout_s)
        except BaseException:
            self.remove(self.servers[-1].name)
            raise
        return self.servers[-1]

    def remove(self, name: str) -> None:
        """End a server, with what it works on, unless others started it; what it shared a reservation for is kept.

        Raises:
            ConfigurationError: if there is no such server, or no other.
        """
        position = position_of(self.spec, name)
        self.spec = without_server(self.spec, name)
        server = self.servers.pop(position)
        if name in self._own:
            self._own.remove(name)
            self._host.end([server])

    def close(self) -> None:
        """End every server that this object started, and free what it reserved. May be called twice."""
        servers, self.servers = self.servers, []
        self._host.end([server for server in servers if server.name in self._own])
        self._own.clear()
        self._host.close()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _start(self, indices: Sequence[int]) -> None:
        """Start servers of ``spec``, the last ones."""
        started = self._host.start(self.spec, indices)
        self.servers += started
        self._own |= {server.name for server in started}


def known_fit(server: FleetServer) -> DelayFit | None:
    """A server's delay model without a single image, as of :meth:`Fleet.known_fits`."""
    fit = server.fit()
    return fit if fit is not None and fit.origin in ("fitted", "profile") else None


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
            found.end()
            ended.append(server.name)
    release_shared(spec.name)
    return ended

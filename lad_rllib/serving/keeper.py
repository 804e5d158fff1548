"""Keeps a service's fleet, and what is known of it, while its ingress may be started again."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import ray

from lad_rllib.edge import EdgeError, EngineDescription, ServerClient
from lad_rllib.edge.fit import DelayFit, delay_line
from lad_rllib.edge.task import ImageTask
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import Fleet, FleetModel, FleetSpec
from lad_rllib.fleet.fleet import known_fit
from lad_rllib.fleet.hosts import ActorHost, ServerHost
from lad_rllib.fleet.requests import request_model, request_spec, service_of_fit
from lad_rllib.names import ServerHosts
from lad_rllib.scheduling.request_scheduler import RequestScheduler
from lad_rllib.service import RequestModel
from lad_rllib.serving.applications import ApplicationHost, delete_left_over
from lad_rllib.serving.ingress_watch import IngressWatch, RunningIngress
from lad_rllib.simulator.requests import LinearService, build_request_setting

STEP_COUNTS = (2, 5, 9)
"""Denoising steps of the images by which a server is measured of which nothing is known; it goes on learning as it
serves."""

USUAL_STEPS = (10, 30)
"""Denoising steps of the past that a policy begins with."""


HOSTS: dict[ServerHosts, type[ServerHost]] = {"actors": ActorHost, "applications": ApplicationHost}
"""What starts the servers of a service, by what they are."""


@dataclass(frozen=True)
class KnownServer:
    """A server of the fleet, and how long it should take.

    Attributes:
        name: The server.
        client: How it is called.
        engine: What its engine is.
        service: Its service model.
    """

    name: str
    client: ServerClient
    engine: EngineDescription
    service: LinearService

    @property
    def line(self) -> DelayFit:
        """Its delay at its own size."""
        return delay_line(self.service, self.engine.kind_of(ImageTask("own", "own", 1)))


@dataclass(frozen=True)
class FleetState:
    """A fleet as its keeper has it.

    Attributes:
        spec: What it is.
        servers: Its servers, in the order of ``spec.servers``.
        policy: Name of what is to decide.
        scheduler: What is to decide, pickled, so that the keeper need not load what a policy needs.
        draining: Names of the servers that get nothing new.
        past: Requests that were served, as :class:`~lad_rllib.service.past.Past` keeps them, pickled; empty: none.
    """

    spec: FleetSpec
    servers: tuple[KnownServer, ...]
    policy: str
    scheduler: bytes
    draining: frozenset[str] = frozenset()
    past: bytes = b""

    def make_scheduler(self) -> RequestScheduler:
        """What is to decide; it has not begun."""
        scheduler: RequestScheduler = pickle.loads(self.scheduler)
        return scheduler

    def requests(self) -> RequestModel:
        """What a dispatcher knows of single tasks."""
        engines = [server.engine for server in self.servers]
        services = [server.service for server in self.servers]
        spec = request_spec(self.spec, services, engines, name=self.spec.name, denoising_steps=USUAL_STEPS)
        return request_model(build_request_setting(spec), engines)

    def model(self) -> FleetModel:
        """The fleet in the simulator's units."""
        return FleetModel.from_fits(self.spec, [server.line for server in self.servers])

    def models(self) -> tuple[str, ...]:
        """Image models that requests may name, the first for those that name none."""
        named = [model for server in self.servers for model in server.engine.models or (server.engine.model,)]
        return tuple(dict.fromkeys(named))


class FleetKeeper:
    """Starts, measures and ends servers; made an actor, which owns them, by the process that runs the service.

    Args:
        policy: Name of what decides at first.
        scheduler: What decides at first, pickled.
    """

    def __init__(self, policy: str, scheduler: bytes) -> None:
        self._policy, self._scheduler, self._past = policy, scheduler, b""
        self._fleet: Fleet | None = None
        self._known: dict[str, KnownServer] = {}
        self._draining: set[str] = set()
        self._state: FleetState | None = None
        self._changes = threading.Lock()
        self._news: list[tuple[str, str]] = []
        self._has_tried = threading.Event()
        self._watch = IngressWatch(lambda: [server.client for server in self._known.values()])

    def news(self, told: int) -> list[tuple[str, str]]:
        """Every change of a server's state as the fleet starts, with its name, but for the first ``told``."""
        return self._news[told:]

    def start(self, spec: FleetSpec, shared: bool, timeout_s: float, servers: ServerHosts = "actors") -> FleetState:
        """Start a fleet, or attach to a shared one, and measure the servers of which nothing is known.

        Args:
            spec: The fleet.
            shared: Whether it has been started.
            timeout_s: Longest wait for its models [s].
            servers: What the servers are: one of :data:`HOSTS`.

        Raises:
            ConfigurationError: as of ``Fleet.start`` and ``Fleet.attach``.
            EdgeError: if a server fails.
        """
        with self._changes:
            try:
                delete_left_over()
                if shared:
                    self._fleet = Fleet.attach(spec)
                else:
                    self._fleet = Fleet.start(spec, timeout_s=timeout_s, report=self._note, host=HOSTS[servers]())
                return self._learn(self._fleet)
            finally:
                self._has_tried.set()

    def start_once(self, spec: FleetSpec, timeout_s: float, servers: ServerHosts) -> FleetState:
        """Start a fleet, unless one runs; arguments and errors as of :meth:`start`."""
        return self.start(spec, False, timeout_s, servers) if self._state is None else self._state

    def state(self) -> FleetState:
        """The fleet as it is, without a server that is being added; waits until the fleet has started."""
        self._has_tried.wait()
        if self._state is None:
            raise ConfigurationError("the fleet could not be started")
        return replace(self._state, draining=frozenset(self._draining), past=self._past)

    def watch(self, ingress: RunningIngress) -> None:
        """An ingress has started: when it is lost, the servers drop what it had asked for."""
        self._watch.begin(ingress)

    def remember(self, past: bytes) -> None:
        """What the next ingress is to know of the requests that this one has served, pickled."""
        self._past = past

    def drain(self, name: str) -> None:
        """A server gets nothing new, from this ingress and from those after it; never waits for other changes."""
        self._draining.add(name)

    def scheduler_to_practise(self) -> bytes | None:
        """What is to decide, pickled, as long as the fleet starts; None after that."""
        return None if self._has_tried.is_set() else self._scheduler

    def add(self, entry: Mapping[str, Any], timeout_s: float) -> FleetState:
        """Start another server, the last one of the state that is returned, and measure it.

        Raises:
            ConfigurationError: as of ``Fleet.add``.
            EdgeError: if it fails; nothing is left of it.
        """
        with self._changes:
            fleet = self._running()
            name = fleet.add(entry, timeout_s).name
            try:
                return self._learn(fleet)
            except BaseException:
                fleet.remove(name)
                raise

    def remove(self, name: str) -> None:
        """End a server that has been taken out of the dispatcher.

        Raises:
            ConfigurationError: if there is no such server, or no other.
        """
        with self._changes:
            fleet = self._running()
            fleet.remove(name)
            self._known.pop(name, None)
            self._draining.discard(name)
            self._learn(fleet)

    def decide_by(self, policy: str, scheduler: bytes) -> None:
        """What is to decide, pickled, if the ingress is started again."""
        with self._changes:
            self._policy, self._scheduler = policy, scheduler
            if self._state is not None:
                self._state = replace(self._state, policy=policy, scheduler=scheduler)

    def close(self) -> None:
        """End the servers that were started here."""
        self._watch.close()
        with self._changes:
            self._running().close()

    def _note(self, server: str, state: str) -> None:
        self._news.append((server, state))

    def _running(self) -> Fleet:
        if self._fleet is None:
            raise ConfigurationError("the fleet has not been started")
        return self._fleet

    def _learn(self, fleet: Fleet) -> FleetState:
        """Find out how fast the servers are of which that is not known."""
        fits = [
            self._known[server.name].line if server.name in self._known else known_fit(server)
            for server in fleet.servers
        ]
        for server, fit in zip(fleet.servers, fits, strict=True):
            if fit is None:
                self._note(server.name, "measuring speed")
        for server, fit in zip(fleet.servers, fleet.profile(STEP_COUNTS, 1, known=fits), strict=True):
            if server.name not in self._known:
                assert isinstance(server, ServerClient)  # the fleet is not in this process
                engine = server.describe()
                self._known[server.name] = KnownServer(server.name, server, engine, service_of_fit(fit, engine))
        servers = tuple(self._known[server.name] for server in fleet.servers)
        self._state = FleetState(fleet.spec, servers, self._policy, self._scheduler)
        return self._state


def asked(reference: Any) -> Any:
    """What a keeper answers; its errors by their names, without Ray's words.

    Raises:
        ConfigurationError: as the keeper raised it.
        EdgeError: the same.
    """
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        raise (cause if isinstance(cause, (ConfigurationError, EdgeError)) else error) from None

"""Changes of a fleet and of its scheduler while a dispatcher serves with them."""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lad_rllib.edge.errors import EdgeError
from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling import Scheduler
from lad_rllib.service.backlog import Backlog
from lad_rllib.service.deciders import Decider, RequestDecider, decider_of, following
from lad_rllib.service.dispatch_loop import DispatchLoop
from lad_rllib.service.fleet_load import FleetLoad
from lad_rllib.service.health import HealthWatch
from lad_rllib.service.in_flight import Server
from lad_rllib.service.offer import Offer
from lad_rllib.service.predicted_memory import PredictedMemory
from lad_rllib.service.request_model import RequestModel
from lad_rllib.service.server_load import ServerLoad
from lad_rllib.simulator.order import Order, make_order
from lad_rllib.simulator.requests import Requests, RequestServer

if TYPE_CHECKING:
    from lad_rllib.scheduling.request_scheduler import RequestScheduler


class Roster:
    """Prepares each change in the caller's thread, where it may take long, and has the loop make it at once.

    Methods may be called from any thread; changes are made one after the other. See the methods of the same names of
    :class:`~lad_rllib.service.dispatcher.Dispatcher`.

    Args:
        servers: The servers by their numbers, as the loop has them.
        fleet: What is known of them.
        scheduler: What decides at first; None: the callers of the dispatcher.
        rng: Its randomness.
        slots_per_episode: See :class:`~lad_rllib.service.dispatcher.Dispatcher`.

    Attributes:
        scheduler: What decides now.
        decider: What lets it decide at first.
    """

    def __init__(
        self,
        servers: dict[int, Server],
        fleet: FleetLoad,
        scheduler: Scheduler | RequestScheduler | None,
        rng: np.random.Generator,
        slots_per_episode: int | None,
    ) -> None:
        self.scheduler = scheduler
        self.decider = None if scheduler is None else decider_of(scheduler, fleet, rng, slots_per_episode)
        self._servers, self._fleet, self._rng, self._slots_per_episode = servers, fleet, rng, slots_per_episode
        self._numbers = itertools.count(len(servers))
        self._changes = threading.Lock()
        self._is_first_fleet = True

    def begin(self, loop: DispatchLoop, ask: Callable[[Callable[[], Any]], Any], watch: HealthWatch | None) -> None:
        """Say who is to make changes, before the first.

        Args:
            loop: The loop.
            ask: Has a function called in the loop's thread, and returns what that returns.
            watch: Checks the servers' health; None: nobody does.
        """
        self._loop, self._ask, self._watch = loop, ask, watch

    def add(self, server: Server, profile: RequestServer, offer: Offer | None) -> None:
        """A server joins."""
        with self._changes:
            if server.name in self._names():
                raise ConfigurationError(f"a server is called {server.name} already; give the new one another name")
            load = ServerLoad(server.name, Backlog(order_of(server), PredictedMemory(profile)), offer or Offer())
            requests = self._fleet.requests.with_server(profile, offer)
            number, decider = next(self._numbers), self._follow(requests)
            self._ask(partial(self._loop.join, number, server, load, requests, decider))
            if self._watch is not None:
                self._watch.add(number, server)

    def drain(self, name: str) -> Future[None]:
        """A server gets no new tasks."""
        with self._changes:
            idle: Future[None] = self._ask(partial(self._loop.drain, self._member(name)))
            return idle

    def remove(self, name: str) -> Server:
        """A server leaves."""
        with self._changes:
            number = self._member(name)
            if len(self._fleet.members) == 1:
                raise ConfigurationError(f"{name} is the only server; add another one before it is removed")
            server = self._servers[number]
            requests = self._fleet.requests.without_server(self._fleet.members.index(number))
            decider = self._follow(requests)
            if self._watch is not None:
                self._watch.remove(number)
            self._ask(partial(self._loop.leave, number, requests, decider))
            return server

    def swap(self, scheduler: Scheduler | RequestScheduler) -> None:
        """Another scheduler decides."""
        with self._changes:
            if isinstance(scheduler, Scheduler) and not self._is_first_fleet:
                raise ConfigurationError(
                    f"{type(scheduler).__name__} decides slot by slot for a fixed network, and the fleet has other "
                    "servers than at the start; give one that decides request by request"
                )
            decider = decider_of(scheduler, self._fleet, self._rng, self._slots_per_episode)
            self._ask(partial(setattr, self._loop, "decider", decider))
            self.scheduler = scheduler

    def learn(self, history: Requests) -> None:
        """What decides request by request begins anew, with other requests of the past."""
        with self._changes:
            if self.scheduler is None or isinstance(self.scheduler, Scheduler):
                return
            requests, anew = self._fleet.requests.with_history(history), copy.copy(self.scheduler)
            decider = RequestDecider(anew, self._fleet, self._rng, requests)
            self._ask(partial(self._loop.know, requests, decider))
            self.scheduler = anew

    def _follow(self, requests: RequestModel) -> Decider | None:
        """What decides for the fleet that is to be."""
        self._is_first_fleet = False
        if self.scheduler is None:
            return None
        self.scheduler, decider = following(self.scheduler, self._fleet, self._rng, requests)
        return decider

    def _names(self) -> dict[str, int]:
        """Number of each server of the fleet."""
        return {self._fleet.loads[number].name: number for number in self._fleet.members}

    def _member(self, name: str) -> int:
        names = self._names()
        if name not in names:
            raise ConfigurationError(f"no server {name!r}; there are {', '.join(names)}")
        return names[name]


def order_of(server: Server) -> Order:
    """A server's order of service; first in, first out where it says none."""
    try:
        return make_order(getattr(server, "order", "fifo"))
    except EdgeError:  # it does not answer
        return make_order("fifo")

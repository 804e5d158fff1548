"""Schedulers of requests that come one by one: the interface, and what plays them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lad_rllib.plugins import Registry
from lad_rllib.simulator.requests import Requests, RequestWorld, ServedRequests
from lad_rllib.simulator.requests.loop import View
from lad_rllib.simulator.requests.play import CompiledRule, play_choices, play_rule


class RequestScheduler(ABC):
    """Decides, when a request arrives, which edge server it goes to.

    Attributes:
        fingerprint: First digits of the SHA-256 of its weights' file; empty: it has no weights.
    """

    fingerprint: str = ""

    def begin(self, world: RequestWorld, history: Requests) -> None:  # noqa: B027  (not all remember anything)
        """An episode begins; forget the last one.

        Args:
            world: Where requests are served.
            history: Requests of the past, at least one, from which a service knows sizes, models and rate of its
                traffic; not those that are to be scheduled.
        """

    @abstractmethod
    def choose(self, view: View, rng: np.random.Generator) -> int:
        """The server for the request that has arrived; one that is up."""


class RuleScheduler(RequestScheduler):
    """A scheduler whose choice is a compiled rule, so that the event loop calls it without Python.

    A simulated episode and a live dispatcher call the same function.
    """

    def __init__(self) -> None:
        self._rule: CompiledRule | None = None
        self._memory: NDArray[np.float64] = np.zeros(0)

    @abstractmethod
    def rule(self, world: RequestWorld, history: Requests) -> CompiledRule:
        """The rule for a world, from what is known of its traffic."""

    def begin(self, world: RequestWorld, history: Requests) -> None:
        """See :class:`RequestScheduler`."""
        self._rule = self.rule(world, history)
        self._memory = np.zeros(self._rule.memory)

    def choose(self, view: View, rng: np.random.Generator) -> int:
        """See :class:`RequestScheduler`."""
        rule = self._rule
        if rule is None:
            raise RuntimeError("begin() comes before choose()")
        notes = np.zeros(rule.notes, np.float32)
        return int(rule.choose(view, rule.numbers, rule.weights, self._memory, notes, rng.random()))


_RULES = "lad_rllib.scheduling.request_rules"
REQUEST_SCHEDULERS: Registry[type[RequestScheduler]] = Registry(
    "scheduler of requests",
    "lad_rllib.request_schedulers",
    own={
        "shortest-expected-delay": f"{_RULES}.loaded:ShortestExpectedDelay",
        "least-work-left": f"{_RULES}.loaded:LeastWorkLeft",
        "least-work-left-affinity": f"{_RULES}.loaded:LeastWorkLeftAffinity",
        "resident-first": f"{_RULES}.loaded:ResidentFirst",
        "join-shortest-queue": f"{_RULES}.loaded:JoinShortestQueue",
        "power-of-two": f"{_RULES}.loaded:PowerOfTwo",
        "declared-cost": f"{_RULES}.loaded:DeclaredCost",
        "size-intervals": f"{_RULES}.intervals:SizeIntervalsEqualLoad",
        "first-policy-iteration": f"{_RULES}.intervals:FirstPolicyIteration",
        "card": f"{_RULES}.asymmetry:ControlledAsymmetry",
        "self-priced": f"{_RULES}.priced:SelfPriced",
        "capacity-proportional": f"{_RULES}.unloaded:SpeedProportional",
        "round-robin": f"{_RULES}.unloaded:RoundRobin",
        "random": f"{_RULES}.unloaded:Random",
    },
    base=RequestScheduler,
)
"""Name of every scheduler of requests that needs no training, and its class."""


Player = Callable[[Requests, np.random.Generator], ServedRequests]
"""Serves the requests of an episode, with the randomness of the decisions."""


def player(scheduler: RequestScheduler, world: RequestWorld, history: Requests) -> Player:
    """What lets a scheduler serve episodes; a rule is made once, as it may be fitted to the history.

    Args:
        scheduler: The scheduler.
        world: Where requests are served.
        history: Requests of the past, see :class:`RequestScheduler`.
    """
    if isinstance(scheduler, RuleScheduler):
        rule = scheduler.rule(world, history)
        return lambda requests, rng: play_rule(rule, world, requests, rng)

    def play(requests: Requests, rng: np.random.Generator) -> ServedRequests:
        scheduler.begin(world, history)
        return play_choices(lambda view: scheduler.choose(view, rng), world, requests)

    return play


def play_requests(
    scheduler: RequestScheduler,
    world: RequestWorld,
    requests: Requests,
    history: Requests,
    rng: np.random.Generator,
) -> ServedRequests:
    """Let a scheduler serve the requests of one episode.

    Args:
        scheduler: The scheduler.
        world: Where requests are served.
        requests: The episode.
        history: Requests of the past, see :class:`RequestScheduler`.
        rng: Randomness of its decisions.
    """
    return player(scheduler, world, history)(requests, rng)

"""Who decides where tasks go: a scheduler of slots, round by round, or one of requests, one by one."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lad_rllib.edge.errors import one_line
from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling import Scheduler
from lad_rllib.service.decision import DecidedBy, Decision
from lad_rllib.service.fleet_load import FleetLoad
from lad_rllib.service.in_flight import InFlightTask
from lad_rllib.service.request_model import RequestModel
from lad_rllib.service.slots import checked_decision, existing, rounds_of, slot_tasks, warm_up
from lad_rllib.simulator.requests.view import View

if TYPE_CHECKING:
    from lad_rllib.scheduling.request_scheduler import RequestScheduler

FALLBACK = "least-work-left"
"""Scheduler of requests that decides when another one cannot."""

_LOG = logging.getLogger("lad_rllib.service")

Round = tuple[Sequence[InFlightTask], Callable[[int], list[int]]]
"""Tasks that are decided together, and what decides, told the number of the round: the server of each, by its position
among the fleet's members."""


class Decider(Protocol):
    """Splits the tasks that came together into rounds; each is decided when those before have been sent."""

    def rounds(self, entries: Sequence[InFlightTask]) -> Iterator[Round]:
        """Rounds of the tasks of a slot."""
        ...


class SlotDecider:
    """Lets a scheduler of slots decide, for at most so many tasks per station at a time as it has ``num_tasks``.

    Args:
        scheduler: The scheduler; it decides for a made-up slot first, see :func:`~lad_rllib.service.slots.warm_up`.
        fleet: What is known of the servers.
        rng: Its randomness.
        slots_per_episode: Number the slots modulo this; None: number on.
    """

    def __init__(
        self, scheduler: Scheduler, fleet: FleetLoad, rng: np.random.Generator, slots_per_episode: int | None
    ) -> None:
        self._scheduler, self._fleet, self._rng = scheduler, fleet, rng
        self._slots_per_episode = slots_per_episode
        warm_up(scheduler, fleet.network, fleet.work)

    def rounds(self, entries: Sequence[InFlightTask]) -> Iterator[Round]:
        """See :class:`Decider`."""
        tasks, per_station = [entry.task for entry in entries], getattr(self._scheduler, "num_tasks", None)
        for places in rounds_of(tasks, self._fleet.network.num_stations, per_station):

            def decide(slot: int, places: list[tuple[int, int, int]] = places) -> list[int]:
                slot = slot if self._slots_per_episode is None else slot % self._slots_per_episode
                network, queue_s = self._fleet.measured_network(), self._fleet.queue_s()
                observed = slot_tasks(tasks, places, slot, network, self._fleet.work, queue_s)
                return checked_decision(self._scheduler.decide(observed, self._rng), places, observed)

            yield [entries[position] for position, _, _ in places], decide


class RequestDecider:
    """Lets a scheduler of single requests decide for each task on what is known at that moment.

    Args:
        scheduler: The scheduler; it decides for a made-up task first, so that no task waits for what it compiles.
        fleet: What is known of the servers.
        rng: Its randomness.
        requests: What is known of tasks on the servers that it decides for, with a past; None: as ``fleet`` has it.

    Raises:
        ConfigurationError: if no past is known.
    """

    def __init__(
        self,
        scheduler: RequestScheduler,
        fleet: FleetLoad,
        rng: np.random.Generator,
        requests: RequestModel | None = None,
    ) -> None:
        from lad_rllib.service.named_scheduler import NamedScheduler

        self._scheduler, self._fleet, self._rng = scheduler, fleet, rng
        self._by = DecidedBy(type(scheduler).__name__, scheduler.fingerprint)
        self._named = scheduler if isinstance(scheduler, NamedScheduler) else None
        requests = requests or fleet.requests
        world, history = requests.world, requests.history
        if history is None:
            raise ConfigurationError(
                f"{type(scheduler).__name__} decides request by request, from what the past says of traffic; give the "
                "dispatcher requests=RequestModel(world, history)"
            )
        scheduler.begin(world, history)
        try:
            scheduler.choose(requests.idle_view(), np.random.default_rng(0))
        except ConfigurationError:
            raise
        except (Exception, SystemExit):  # foreign code; if it fails for tasks, too, they end with its error
            return
        scheduler.begin(world, history)

    def rounds(self, entries: Sequence[InFlightTask]) -> Iterator[Round]:
        """See :class:`Decider`."""
        for entry in entries:
            yield [entry], partial(self._decide, entry)

    def _decide(self, entry: InFlightTask, slot: int) -> list[int]:
        up = [self._fleet.may_get(entry, server) for server in self._fleet.members]
        if not any(up):
            return [0]  # whichever: the task waits for one to come up, or ends
        seen, entry.met = entry.met or self._fleet.view(entry.task), None
        server, entry.future.decided_by = self._choose(entry.task.task_id, seen._replace(up=np.array(up)))
        return existing([server], len(up))

    def _choose(self, task_id: str, view: View) -> Decision:
        if self._named is not None:
            return self._named.decide(task_id, view, self._rng)
        return Decision(self._scheduler.choose(view, self._rng), self._by)


def decider_of(
    scheduler: Scheduler | RequestScheduler,
    fleet: FleetLoad,
    rng: np.random.Generator,
    slots_per_episode: int | None = None,
) -> Decider:
    """What lets a scheduler decide, whichever kind it is of."""
    if isinstance(scheduler, Scheduler):
        return SlotDecider(scheduler, fleet, rng, slots_per_episode)
    return RequestDecider(scheduler, fleet, rng)


def following(
    scheduler: Scheduler | RequestScheduler, fleet: FleetLoad, rng: np.random.Generator, requests: RequestModel
) -> tuple[Scheduler | RequestScheduler, Decider]:
    """A scheduler and what lets it decide for a fleet that has other servers than before.

    A scheduler of requests begins anew, in a copy, since it still decides for the fleet as it was. One that cannot do
    that, and every scheduler of slots, which is tied to its network, is left for :data:`FALLBACK` with a warning.

    Args:
        scheduler: What decides now.
        fleet: What is known of the servers that there were.
        rng: Its randomness.
        requests: What is known of tasks on the servers that there will be.
    """
    from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, RequestScheduler

    why = "it decides slot by slot for a fixed network"
    if isinstance(scheduler, RequestScheduler):
        try:
            anew = copy.copy(scheduler)
            return anew, RequestDecider(anew, fleet, rng, requests)
        except Exception as error:  # foreign code
            why = one_line(error)
    _LOG.warning(
        "the fleet has other servers now, and %s cannot follow (%s): %s decides from now on",
        type(scheduler).__name__,
        why,
        FALLBACK,
    )
    fallback = REQUEST_SCHEDULERS[FALLBACK]()
    return fallback, RequestDecider(fallback, fleet, rng, requests)

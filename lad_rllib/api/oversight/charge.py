"""The policy in charge: who it is, who was it before, and whether it is worse than others would be."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lad_rllib.api.gateway import Gateway
from lad_rllib.api.oversight import history as events
from lad_rllib.api.oversight.guard import FEWEST, Guard, Look
from lad_rllib.api.oversight.history import PolicyHistory
from lad_rllib.api.shadow import Seen
from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, RequestScheduler
from lad_rllib.service.deciders import FALLBACK
from lad_rllib.service.decision import DecidedBy
from lad_rllib.service.dispatcher import Dispatcher
from lad_rllib.service.guarded import GuardedScheduler
from lad_rllib.service.named_scheduler import NamedScheduler

_LOG = logging.getLogger("lad_rllib.api")


class Charge:
    """Who decides for a dispatcher, and who did before.

    Args:
        dispatcher: The dispatcher.
        present: The policy that is in charge at first, a copy of which decides.
        history: Takes a record of each change.
        load: The policy of a name.
        keep: See :class:`~lad_rllib.api.oversight.overseer.Overseer`, and so is ``on_decision``.

    Attributes:
        previous: Name and policy of who was in charge before and may be again; None: nobody.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        present: RequestScheduler,
        history: PolicyHistory,
        load: Callable[[str], RequestScheduler],
        keep: Callable[[str, RequestScheduler], object],
        on_decision: Callable[[float], object],
    ) -> None:
        self._dispatcher, self._present, self._history = dispatcher, present, history
        self._load, self._keep, self._on_decision = load, keep, on_decision
        self.previous: tuple[str, RequestScheduler] | None = None

    def begin(self) -> None:
        """Go on from the records of the process before."""
        by, self.previous = self.by, self._loaded(self._history.previous_of(self.by.policy))
        self._history.add(events.BEGAN, by, "the service began", previous=self.previous[0] if self.previous else "")

    @property
    def scheduler(self) -> NamedScheduler | None:
        """What decides; None: a fleet changed, and the policy could not follow."""
        scheduler = self._dispatcher.scheduler
        return scheduler if isinstance(scheduler, NamedScheduler) else None

    @property
    def by(self) -> DecidedBy:
        """Who decides, unless another policy is tried on a share of the requests."""
        scheduler = self.scheduler
        if scheduler is None:
            return DecidedBy(FALLBACK)
        present = scheduler.in_charge
        return DecidedBy(present.decides, "" if present.left else present.fingerprint)

    def guarded(self, policy: str, scheduler: RequestScheduler) -> GuardedScheduler:
        """A copy of a policy that may decide for requests."""
        return GuardedScheduler(copy.copy(scheduler), policy, self._on_decision)

    def put(self, policy: str, scheduler: RequestScheduler, event: str, why: str, **figures: Any) -> None:
        """Put a policy in charge; the others as of :meth:`PolicyHistory.add`."""
        before, present = self.by, self.scheduler
        self._dispatcher.swap(self.guarded(policy, scheduler))
        self._keep(policy, scheduler)
        is_usable = event != events.WENT_BACK and present is not None and not present.in_charge.left
        self.previous = (before.policy, self._present) if is_usable else None
        self._present = scheduler
        self._history.add(event, self.by, why, previous=before.policy, **figures)

    def _loaded(self, policy: str) -> tuple[str, RequestScheduler] | None:
        """A policy of the process before, by its name; None if it has no name, or cannot be read."""
        try:
            return (policy, self._load(policy)) if policy else None
        except ConfigurationError as error:
            _LOG.warning("the policy before, %s, cannot be read: %s", policy, error)
            return None


class TooLong(NamedTuple):
    """The policy in charge has been worse than others for too long.

    Attributes:
        look: The latest look.
        best: Name of the best one of those that it was compared with.
    """

    look: Look
    best: str


class ChargeWatch:
    """Watches the policy in charge: takes looks, and a record where one says something else than that before.

    Args:
        charge: Who decides.
        gateway: Knows the latest requests, and the dispatcher.
        history: Takes the records.
        clock: The time [s].
    """

    def __init__(self, charge: Charge, gateway: Gateway, history: PolicyHistory, clock: Callable[[], float]) -> None:
        self._charge, self._history, self._clock = charge, history, clock
        self._shadow, self._dispatcher = gateway.shadow, gateway.dispatcher
        self._guard = Guard(gateway.settings.go_back_after_s)
        self._said_left = False
        self._since_s = self._dispatcher.now_s

    @property
    def last(self) -> Look | None:
        """The latest look; None: there was none since the policy came into charge."""
        return self._guard.last

    def begin_anew(self) -> None:
        """Judge by the requests from now on."""
        self._since_s = self._dispatcher.now_s
        self._guard.forget()

    def look(self) -> TooLong | None:
        """Take a look; None: the policy may stay in charge."""
        scheduler, by = self._charge.scheduler, self._charge.by
        left = "" if scheduler is None else scheduler.in_charge.left
        if scheduler is not None and left and not self._said_left:
            self._history.add(events.LEFT, DecidedBy(scheduler.in_charge.name), left)
        self._said_left = bool(left)
        seen, judged = ([], 0) if by.policy == FALLBACK else self._latest()
        if len(seen) - judged < FEWEST:
            self._guard.forget()
            return None
        before = self._guard.last
        sent, *others = self._shadow.played(seen, self._yardsticks(), judged).values()
        look = self._guard.look(self._clock(), sent, others)
        if look.worse and not (before and before.worse):
            self._history.add(events.WORSE, by, look.why, **look.figures())
        elif before and before.worse and not look.worse:
            self._history.add(events.RECOVERED, by, look.why, **look.figures())
        return TooLong(look, min(others, key=lambda other: other.mean_s).name) if look.is_over else None

    def _latest(self) -> tuple[list[Seen], int]:
        """The requests to replay, since the policy came into charge, and the first of them that is judged."""
        seen, scale = self._shadow.since(self._since_s), self._dispatcher.time_scale
        arrival_s = np.array([scale * one.arrival_s for one in seen])
        first, judged = self._guard.judged(arrival_s, scale * self._dispatcher.now_s)
        return seen[first:], judged - first

    def _yardsticks(self) -> dict[str, Callable[[], RequestScheduler]]:
        """What the policy in charge may not be worse than."""
        rivals: dict[str, Callable[[], RequestScheduler]] = {FALLBACK: REQUEST_SCHEDULERS[FALLBACK]}
        if self._charge.previous is not None and self._charge.previous[0] not in rivals:
            name, scheduler = self._charge.previous
            rivals[name] = lambda: copy.copy(scheduler)
        return rivals

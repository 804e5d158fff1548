"""A scheduler that is left for a simple rule when it fails or is too slow."""

from __future__ import annotations

import copy
import logging
import statistics
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from lad_rllib.edge.errors import one_line
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, RequestScheduler
from lad_rllib.service.deciders import FALLBACK
from lad_rllib.service.decision import DecidedBy, Decision
from lad_rllib.service.named_scheduler import NamedScheduler
from lad_rllib.simulator.requests import Requests, RequestWorld
from lad_rllib.simulator.requests.view import View

SLOW_S = 0.005
"""A policy whose decisions take longer is too slow [s]."""

LATEST, FAILURES = 20, 3
"""Latest decisions whose median tells how slow a policy is, and failures in a row after which it is left."""

_LOG = logging.getLogger("lad_rllib.service")


class GuardedScheduler(NamedScheduler):
    """Lets a policy decide as long as it can; least-work-left decides where it fails, and for good once it is left.

    It is left after :data:`FAILURES` failures in a row, or when the median of its :data:`LATEST` decisions takes longer
    than :data:`SLOW_S`. A choice of a server that is not up is a failure.

    Args:
        scheduler: The policy.
        name: What it is called.
        on_decision: Called with the time that each of its decisions took [s].

    Attributes:
        name: What it is called.
        left: Why it was left, one line; empty while it decides.
    """

    def __init__(
        self, scheduler: RequestScheduler, name: str, on_decision: Callable[[float], object] = lambda seconds: None
    ) -> None:
        self.name, self.left, self.fingerprint = name, "", scheduler.fingerprint
        self._scheduler, self._on_decision = scheduler, on_decision
        self._fallback = REQUEST_SCHEDULERS[FALLBACK]()
        self._latest_s: deque[float] = deque(maxlen=LATEST)
        self._failures = self._handed_over = 0

    def __copy__(self) -> GuardedScheduler:
        """One that may begin on another fleet while this one decides."""
        anew = GuardedScheduler(copy.copy(self._scheduler), self.name, self._on_decision)
        anew.left, anew._handed_over = self.left, self._handed_over
        return anew

    @property
    def handed_over(self) -> int:
        """Requests that the policy itself left to least-work-left so far: they were beyond what it learned."""
        return self._handed_over + int(getattr(self._scheduler, "handed_over", 0))

    @property
    def decides(self) -> str:
        """Name of what decides now."""
        return FALLBACK if self.left else self.name

    @property
    def in_charge(self) -> GuardedScheduler:
        """See :class:`NamedScheduler`."""
        return self

    @property
    def shares(self) -> dict[str, float]:
        """See :class:`NamedScheduler`."""
        return {self.decides: 1.0}

    @property
    def policy(self) -> RequestScheduler:
        """What decides now, without a guard: a copy of it may be played elsewhere."""
        return self._fallback if self.left else self._scheduler

    def begin(self, world: RequestWorld, history: Requests) -> None:
        """See :class:`RequestScheduler`."""
        self._fallback.begin(world, history)
        if not self.left:
            self._handed_over = self.handed_over  # the policy forgets it
            self._scheduler.begin(world, history)
        self._latest_s.clear()

    def begin_or_leave(self, world: RequestWorld, history: Requests) -> None:
        """Begin; a policy that cannot is left."""
        try:
            self.begin(world, history)
        except Exception as error:  # foreign code
            self._leave(f"it cannot decide for this fleet: {one_line(error)}")

    def decide(self, task_id: str, view: View, rng: np.random.Generator) -> Decision:  # noqa: ARG002
        """See :class:`NamedScheduler`."""
        if self.left:
            return self._fall_back(view, rng)
        start_s = time.perf_counter()
        try:
            chosen = int(self._scheduler.choose(view, rng))
            if not (0 <= chosen < len(view.up) and view.up[chosen]):
                raise ValueError(f"it chose server {chosen}, which is not up")
        except Exception as error:  # foreign code
            self._failures += 1
            if self._failures >= FAILURES:
                self._leave(f"it failed {FAILURES} times in a row: {one_line(error)}")
            return self._fall_back(view, rng)
        self._failures = 0
        self._time(time.perf_counter() - start_s)
        return Decision(chosen, DecidedBy(self.name, self.fingerprint))

    def _fall_back(self, view: View, rng: np.random.Generator) -> Decision:
        return Decision(self._fallback.choose(view, rng), DecidedBy(FALLBACK))

    def _time(self, seconds: float) -> None:
        self._on_decision(seconds)
        self._latest_s.append(seconds)
        if len(self._latest_s) == LATEST and (median := statistics.median(self._latest_s)) > SLOW_S:
            self._leave(f"its decisions take {1000 * median:.1f} ms, more than {1000 * SLOW_S:g} ms")

    def _leave(self, why: str) -> None:
        self.left = why
        _LOG.warning("policy %s is left, and %s decides from now on: %s", self.name, FALLBACK, why)

"""A policy that decides beside the one in charge, on the same live tasks and without effect."""

from __future__ import annotations

import copy
import queue
import statistics
import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from lad_rllib.edge.errors import one_line
from lad_rllib.scheduling.request_scheduler import RequestScheduler
from lad_rllib.simulator.requests import Requests, RequestWorld
from lad_rllib.simulator.requests.view import View

WAITING, LATEST = 64, 1000
"""Decisions that may wait for the policy, beyond which tasks are left out, and latest ones whose times are kept."""


@dataclass(frozen=True)
class BesideFigures:
    """What a policy did beside the one in charge.

    Attributes:
        decisions: Tasks that it decided.
        failures: Decisions that failed, or were a server that is not up.
        reason: Why the latest one failed, one line.
        left_out: Tasks that it was too slow for.
        agreed: Share of its decisions that were those of the policy in charge.
        median_s, p99_s: Time of a decision, of the latest ones [s].
        own_s, other_s: Mean delay that was predicted of a task on the server that it chose, and on that which was
            chosen [s].
    """

    decisions: int
    failures: int
    reason: str
    left_out: int
    agreed: float
    median_s: float
    p99_s: float
    own_s: float
    other_s: float


class Beside:
    """Has a policy decide in a thread of its own, so that it can neither delay nor fail a task.

    Args:
        policy: The policy; copies of it decide.
        seed: Seed of its randomness.
    """

    def __init__(self, policy: RequestScheduler, seed: int = 0) -> None:
        self._policy, self._rng = policy, np.random.default_rng(seed)
        self._deciding: tuple[RequestScheduler, int] | None = None
        self._views: queue.Queue[tuple[View, int] | None] = queue.Queue(WAITING)
        self._seconds: deque[float] = deque(maxlen=LATEST)
        self._decisions = self._failures = self._left_out = self._agreed = 0
        self._reason, self._own_s, self._other_s = "", 0.0, 0.0
        self._thread = threading.Thread(target=self._run, name="policy beside", daemon=True)
        self._thread.start()

    def begin(self, world: RequestWorld, history: Requests) -> None:
        """Decide for these servers from now on."""
        anew = copy.copy(self._policy)
        try:
            anew.begin(world, history)
        except Exception as error:  # foreign code
            self._fail(error)
        else:
            self._deciding = anew, world.num_servers

    def offer(self, view: View, chosen: int) -> None:
        """Have a task decided for which the policy in charge has chosen a server; returns at once."""
        try:
            self._views.put_nowait((view, chosen))
        except queue.Full:
            self._left_out += 1

    def close(self) -> None:
        """Decide nothing more."""
        self._deciding = None
        try:
            self._views.put_nowait(None)
        except queue.Full:
            return  # the thread hangs in the policy; it ends with the process

    def figures(self) -> BesideFigures:
        """What it did so far."""
        seconds, number = list(self._seconds), max(self._decisions, 1)
        return BesideFigures(
            decisions=self._decisions,
            failures=self._failures,
            reason=self._reason,
            left_out=self._left_out,
            agreed=self._agreed / number,
            median_s=statistics.median(seconds) if seconds else 0.0,
            p99_s=float(np.percentile(seconds, 99)) if seconds else 0.0,
            own_s=self._own_s / number,
            other_s=self._other_s / number,
        )

    def _run(self) -> None:
        while (offered := self._views.get()) is not None:
            view, chosen = offered
            deciding = self._deciding
            if deciding is not None and len(view.up) == deciding[1]:  # the fleet may have changed meanwhile
                self._decide(deciding[0], view, chosen)

    def _decide(self, policy: RequestScheduler, view: View, chosen: int) -> None:
        start_s = time.perf_counter()
        try:
            own = int(policy.choose(view, self._rng))
            if not (0 <= own < len(view.up) and view.up[own]):
                raise ValueError(f"it chose server {own}, which is not up")
        except Exception as error:  # foreign code
            self._fail(error)
            return
        self._seconds.append(time.perf_counter() - start_s)
        delay_s = view.ahead_s + view.swap_s + view.service_s + view.way_s
        self._own_s += float(delay_s[own])
        self._other_s += float(delay_s[chosen])
        self._agreed += own == chosen
        self._decisions += 1

    def _fail(self, error: Exception) -> None:
        self._failures += 1
        self._reason = one_line(error)

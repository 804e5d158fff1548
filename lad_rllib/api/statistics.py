"""Figures of the latest requests: delays, the share in time, load, and what each server did."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque

import numpy as np

from lad_rllib.service.delivery import Delivery

WINDOW_S, MAX_REQUESTS = 300.0, 5000
"""Time [s] and number of the latest requests that figures are of."""


def in_time(delivery: Delivery, slo_s: float) -> bool:
    """Whether a request was served within its deadline, or without one within so many of the fleet's seconds [s]."""
    due_s = slo_s if delivery.task.deadline_s is None else delivery.task.deadline_s
    return delivery.error is None and delivery.service_delay_s <= due_s


class Statistics:
    """Counts requests as they come and end. May be used from any thread.

    Args:
        slo_s: Delay that a request without a deadline should meet, in the fleet's seconds [s].
        time_scale: Wall seconds per second of the fleet.

    Attributes:
        served: Requests that each server answered with an image, since the start.
        failed: Requests that failed since the start, cancelled ones not counted.
    """

    def __init__(self, slo_s: float, time_scale: float = 1.0) -> None:
        self.served: Counter[str] = Counter()
        self.failed = 0
        self._slo_s, self._time_scale = slo_s, time_scale
        self._ends: deque[tuple[float, float, bool]] = deque(maxlen=MAX_REQUESTS)
        self._work: deque[tuple[float, float]] = deque(maxlen=MAX_REQUESTS)
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def came(self, fleet_s: float) -> None:
        """A request has come that the whole fleet would work on for so long [s]."""
        with self._lock:
            self._work.append((time.monotonic(), fleet_s))

    def ended(self, delivery: Delivery) -> None:
        """A request has ended."""
        if delivery.error is not None and delivery.error.name == "cancelled":
            return
        with self._lock:
            self._ends.append((time.monotonic(), delivery.service_delay_s, in_time(delivery, self._slo_s)))
            if delivery.error is None:
                self.served[delivery.server] += 1
            else:
                self.failed += 1

    def row(self) -> dict[str, float | None]:
        """Percentiles of the delay [s], the share of requests in time, and the offered load; None before the first.

        The load is the work that came over what the fleet could have done meanwhile.
        """
        now = time.monotonic()
        with self._lock:
            for line in (self._ends, self._work):
                while line and line[0][0] < now - WINDOW_S:
                    line.popleft()
            delays_s = [delay_s for _, delay_s, _ in self._ends]
            met = [ok for _, _, ok in self._ends]
            work_s = sum(fleet_s for _, fleet_s in self._work)
            first = self._work[0][0] if len(self._work) == MAX_REQUESTS else max(self._began, now - WINDOW_S)
        row: dict[str, float | None] = {
            f"p{q}_s": round(float(np.percentile(delays_s, q)), 4) if delays_s else None for q in (50, 95, 99)
        }
        row["slo"] = sum(met) / len(met) if met else None
        row["load"] = round(work_s * self._time_scale / max(now - first, 1.0), 4)
        return row

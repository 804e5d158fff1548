"""Hand tasks to a dispatcher slot by slot, by the clock, and gather what became of them."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from lad_rllib.edge.task import ImageTask
from lad_rllib.service.delivery import Delivery
from lad_rllib.service.dispatcher import Dispatcher

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("upload_s", "waiting_s", "computing_s", "download_s", "dispatch_s")
"""Parts of the service delay of a delivered image; they add up to it."""


@dataclass(frozen=True)
class LiveRun:
    """What became of a number of tasks.

    Attributes:
        deliveries: The end of each task, in the order in which they were handed in.
        total_s: From the first hand-over to the last delivery, in the fleet's seconds [s].
        server_names: The fleet's servers.
        over_expected: Measured over expected computing delay of each server's latest images; 1 while too few are known.
        late_s: The latest hand-over after its start, in the fleet's seconds: how far a busy machine fell behind [s].
    """

    deliveries: list[Delivery]
    total_s: float
    server_names: list[str]
    over_expected: dict[str, float] = field(default_factory=dict)
    late_s: float = 0.0

    def table(self) -> pd.DataFrame:
        """One tidy row for each task, see :meth:`Delivery.to_dict`."""
        import pandas as pd  # a service needs no tables

        return pd.DataFrame([delivery.to_dict() for delivery in self.deliveries])

    def summary(self) -> dict[str, float]:
        """Delays over all delivered images [s], their parts, images per minute, and the share of time servers worked.

        Tasks that failed count in ``failed`` alone.
        """
        done = [delivery for delivery in self.deliveries if delivery.record is not None]
        delays = np.array([delivery.service_delay_s for delivery in done])
        row: dict[str, float] = {
            "tasks": len(self.deliveries),
            "failed": len(self.deliveries) - len(done),
            "total_s": self.total_s,
            "mean_s": _mean(delays),
        }
        row |= {f"p{q}_s": float(np.percentile(delays, q)) if len(done) else float("nan") for q in (50, 95, 99)}
        row["max_s"] = float(delays.max(initial=0.0))
        table = self.table()
        row |= {part: _mean(table[part].dropna().to_numpy()) if done else float("nan") for part in PARTS}
        row["images_per_minute"] = 60 * len(done) / self.total_s if self.total_s > 0 else float("nan")
        row["utilisation"] = float(np.mean(list(self.utilisation().values())))
        return row

    def utilisation(self) -> dict[str, float]:
        """Share of the run that each server worked on images that were delivered."""
        busy = dict.fromkeys(self.server_names, 0.0)
        for delivery in self.deliveries:
            if delivery.record is not None:
                busy[delivery.server] += delivery.record.computing_s
        return {name: seconds / self.total_s if self.total_s > 0 else 0.0 for name, seconds in busy.items()}


def serve(
    dispatcher: Dispatcher,
    slots: Sequence[Sequence[ImageTask]],
    slot_s: float = 0.0,
    on_delivery: Callable[[Delivery], None] | None = None,
    servers: Sequence[Sequence[int]] | None = None,
    starts_s: Sequence[float] | None = None,
) -> LiveRun:
    """Hand in the tasks of each slot at its start, and wait for all of them.

    Args:
        dispatcher: Serves them.
        slots: Tasks of each slot; one slot for tasks that are all there at once, one for each that comes by itself.
        slot_s: Length of a slot in the fleet's seconds [s].
        on_delivery: Called with every end of a task as it comes, from the calling thread.
        servers: Index of the server of each task, slot by slot; None: the dispatcher's scheduler chooses.
        starts_s: Start of each slot [s]; None: they follow one another by ``slot_s``.
    """
    starts_s = starts_s if starts_s is not None else [number * slot_s for number in range(len(slots))]
    scale, report = dispatcher.time_scale, on_delivery or (lambda delivery: None)
    ended: queue.SimpleQueue[Future[Delivery]] = queue.SimpleQueue()
    begin = time.perf_counter()
    futures: list[Future[Delivery]] = []
    reported, late_s = 0, 0.0
    for number, tasks in enumerate(slots):
        while (left_s := begin + starts_s[number] * scale - time.perf_counter()) > 0:
            with contextlib.suppress(queue.Empty):
                report(ended.get(timeout=left_s).result())
                reported += 1
        late_s = max(late_s, -left_s / scale)
        new = dispatcher.submit(tasks, None if servers is None else servers[number])
        for future in new:
            future.add_done_callback(ended.put)
        futures += new
    for _ in range(len(futures) - reported):
        report(ended.get().result())
    total_s = (time.perf_counter() - begin) / scale
    over_expected = {load.name: load.speed.over_expected for load in dispatcher.loads}
    return LiveRun([future.result() for future in futures], total_s, list(over_expected), over_expected, late_s)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")

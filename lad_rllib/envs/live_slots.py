"""The tasks of an episode on a real fleet: submitted slot by slot, their ends gathered as they come."""

from __future__ import annotations

import queue
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from lad_rllib.service import Delivery, Dispatcher, tasks_of_arrivals
from lad_rllib.simulator import Arrivals

Place = tuple[int, int, int]
"""Slot, base station, and index at the station of a task."""


class LiveSlots:
    """Turns arrivals into image tasks, submits them, and reports how they ended.

    Args:
        dispatcher: Sends them to servers.
        prompts: What the tasks ask for, in turn.
        failure_delay_s: Delay of a task that ended in an error [s].
    """

    def __init__(self, dispatcher: Dispatcher, prompts: Sequence[str], failure_delay_s: float) -> None:
        self._dispatcher = dispatcher
        self._prompts = prompts
        self._failure_delay_s = failure_delay_s
        self._name = uuid.uuid4().hex[:8]
        self._number = 0
        self._open: dict[Future[Delivery], tuple[Place, str]] = {}
        self._ended: queue.SimpleQueue[Future[Delivery]] = queue.SimpleQueue()

    def send(self, arrivals: Arrivals, slot: int, action: NDArray[np.integer]) -> None:
        """Submit the tasks of a slot.

        Args:
            arrivals: Arrivals of one episode, without the leading axis.
            slot: The slot.
            action: Server of each task, shape (B, N).
        """
        places = [(slot, int(b), int(n)) for b, n in np.argwhere(arrivals.mask[slot])]
        tasks = tasks_of_arrivals(arrivals, slot, self._prompts, self._number, self._name)
        self._number += len(tasks)
        futures = self._dispatcher.submit(tasks, [int(action[b, n]) for _, b, n in places])
        for place, task, future in zip(places, tasks, futures, strict=True):
            self._open[future] = place, task.task_id
            future.add_done_callback(self._ended.put)

    def gather(self, until: float | None) -> tuple[NDArray[np.float32], int]:
        """Wait, and return the tasks that ended meanwhile.

        Args:
            until: Moment of ``time.perf_counter()`` until which to wait; None: until no task is open.

        Returns:
            Rows (slot, station, index, service delay [s]), shape (K, 4), and how many of them ended in an error.
        """
        rows: list[tuple[float, ...]] = []
        failed = 0
        while self._open or until is not None:
            left_s = None if until is None else max(0.0, until - time.perf_counter())
            try:
                future = self._ended.get(timeout=left_s)
            except queue.Empty:
                break
            delivery = future.result()
            failed += delivery.error is not None
            delay_s = delivery.service_delay_s if delivery.error is None else self._failure_delay_s
            place, _ = self._open.pop(future)
            rows.append((*place, delay_s))
        return np.array(rows, dtype=np.float32).reshape(-1, 4), failed

    def give_up(self) -> None:
        """Cancel what is open, and wait until it has ended."""
        for _, task_id in self._open.values():
            self._dispatcher.cancel(task_id)
        self.gather(None)

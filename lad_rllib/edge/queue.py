"""Tasks that wait at an edge server, in its order of service."""

from __future__ import annotations

import contextlib
import heapq
import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

from lad_rllib.edge.engines.engine import EngineOutput
from lad_rllib.edge.errors import DeadlineExceeded, EdgeError
from lad_rllib.edge.record import TaskResult
from lad_rllib.edge.task import ImageTask
from lad_rllib.simulator.order import Order, QueueKeys


def link_delay_s(mbit: float, link_rate_mbit_per_s: float | None) -> float:
    """Time to send data over a server's link [s], as in the simulator; 0 without an emulated link.

    >>> link_delay_s(4.0, 400.0), link_delay_s(4.0, None)
    (0.01, 0.0)
    """
    return 0.0 if link_rate_mbit_per_s is None else mbit / link_rate_mbit_per_s


@dataclass(eq=False)
class QueuedTask:
    """A task at a server, from submission to delivery. Times are those of the server's clock [s].

    Attributes:
        task: What was asked for.
        submitted_s: When it was submitted.
        arrives_s: When its input has come over the link; before that it cannot be served.
        number: Number of its submission, which decides between equal keys.
        predicted_delay_s: Predicted service delay [s], or None.
        cold_start: Whether it met a server that had not loaded its model, or made no image yet.
        started_s: When the server began with it.
        started: The same [s since 1970, wall clock].
        load_s: How long it waited for the model after that.
        suspended_s: How long it was suspended for other tasks so far.
        interruptions: How often.
        progress_s: When it started, did its last denoising step, or went on after an interruption.
        step: Denoising steps done.
        stop: Error that ends it at its next step, or None.
        model: Image model or emulated device that made its images.
        output: Its image, once there is one.
        finished_s: When its image was there.
        future: Delivers the result or the error.
    """

    task: ImageTask
    submitted_s: float
    arrives_s: float
    number: int
    predicted_delay_s: float | None = None
    cold_start: bool = False
    started_s: float = 0.0
    started: float = 0.0
    load_s: float = 0.0
    suspended_s: float = 0.0
    interruptions: int = 0
    progress_s: float = 0.0
    step: int = 0
    stop: EdgeError | None = None
    model: str = ""
    output: EngineOutput | None = None
    finished_s: float = 0.0
    future: Future[TaskResult] = field(default_factory=Future)

    @property
    def steps_left(self) -> int:
        """Denoising steps still to do."""
        return max(0, self.task.denoising_steps - self.step)

    def advance(self, step: int, now_s: float, server: str) -> None:
        """Note a step that is done; raise if the task was cancelled, or its deadline has passed [s, server's clock]."""
        self.step, self.progress_s = step, now_s
        if self.stop is not None:
            raise self.stop
        deadline_s, age_s = self.task.deadline_s, now_s - self.submitted_s
        if deadline_s is not None and age_s > deadline_s:
            raise DeadlineExceeded(
                f"task {self.task.task_id} was {age_s:.3g} s old, beyond its deadline of {deadline_s:g} s, after "
                f"{step} of {self.task.denoising_steps} steps on {server}; give more time or ask fewer steps"
            )

    def resolve(self, end: TaskResult | EdgeError) -> None:
        """Deliver the result or the error; what callbacks of the future raise is none of the server's business."""
        with contextlib.suppress(BaseException):
            if isinstance(end, EdgeError):
                self.future.set_exception(end)
            else:
                self.future.set_result(end)

    @property
    def deadline_after_arrival_s(self) -> float:
        """Time from its arrival at the server until it is due [s]; infinite without a deadline."""
        return math.inf if self.task.deadline_s is None else self.submitted_s + self.task.deadline_s - self.arrives_s


class TaskQueue:
    """Tasks at a server before their service: those on their way over its link, and those that wait, in an order.

    A task has its key in the order of service once it has arrived, and keeps it; equal keys go by submission. Not safe
    for threads by itself: its server holds a lock.

    Args:
        order: Order of service.
        service_s: How long the server is predicted to work on a task with so many steps left [s].
    """

    def __init__(self, order: Order, service_s: Callable[[ImageTask, int], float]) -> None:
        self._keys, self._service_s = QueueKeys(order), service_s
        self._coming: list[tuple[float, int, QueuedTask]] = []  # heaps: when it arrives, number
        self._waiting: list[tuple[float, int, QueuedTask]] = []  # its key, number

    def __len__(self) -> int:
        return len(self._coming) + len(self._waiting)

    def __iter__(self) -> Iterator[QueuedTask]:
        """All tasks, in no order."""
        for _, _, entry in (*self._waiting, *self._coming):
            yield entry

    def put(self, entry: QueuedTask, now_s: float) -> None:
        """Add a task that was submitted now [s, server's clock]."""
        heapq.heappush(self._coming, (entry.arrives_s, entry.number, entry))
        self._admit(now_s)

    def pop(self, now_s: float) -> QueuedTask | None:
        """Take the task that is served next; None if none has arrived, so that the server idles."""
        self._admit(now_s)
        if not self._waiting:
            self._keys.idle()
            return None
        key, _, entry = heapq.heappop(self._waiting)
        self._keys.serve(key)
        return entry

    def pop_before(self, running: QueuedTask, now_s: float, may: Callable[[ImageTask], bool]) -> QueuedTask | None:
        """Take the task that is served next if its key is less than that of what is left of a running one, and it may.

        Args:
            running: The running task.
            now_s: Present [s, server's clock].
            may: Whether a task may interrupt another.
        """
        self._admit(now_s)
        if not self._waiting:
            return None
        key, _, entry = self._waiting[0]
        if key >= self._keys.key(*self._asked(running)) or not may(entry.task):
            return None
        return heapq.heappop(self._waiting)[2]

    def seconds_to_next(self, now_s: float) -> float | None:
        """Time until the next task arrives [s]; None if none is on its way."""
        return max(0.0, self._coming[0][0] - now_s) if self._coming else None

    def find(self, task_id: str) -> QueuedTask | None:
        """The task of that name, or None."""
        return next((entry for entry in self if entry.task.task_id == task_id), None)

    def remove(self, entry: QueuedTask) -> None:
        """Take one task out of the middle."""
        for heap in (self._coming, self._waiting):
            heap[:] = [other for other in heap if other[2] is not entry]
            heapq.heapify(heap)

    def clear(self) -> list[QueuedTask]:
        """Take all tasks: those that have arrived in order of service, then the others."""
        entries = [entry for heap in (self._waiting, self._coming) for _, _, entry in sorted(heap)]
        self._coming, self._waiting = [], []
        return entries

    def in_order(self) -> list[QueuedTask]:
        """Tasks in their order of service unless others come; those on their way as if they had arrived."""
        places = [(key, number, other) for key, number, other in self._waiting]
        places += [(self._keys.key(*self._asked(other)), number, other) for _, number, other in self._coming]
        return [other for _, _, other in sorted(places)]

    def ahead_of(self, entry: QueuedTask) -> list[QueuedTask]:
        """Tasks that are served before this one unless others come, in order."""
        entries = self.in_order()
        return entries[: entries.index(entry)]

    def take_keys_anew(self) -> None:
        """The server knows better now how long tasks take: those that wait join again, in order of their arrival."""
        waiting = sorted((entry.arrives_s, entry.number, entry) for _, _, entry in self._waiting)
        self._keys.idle()
        self._waiting = [(self._keys.join(*self._asked(entry)), number, entry) for _, number, entry in waiting]
        heapq.heapify(self._waiting)

    def _admit(self, now_s: float) -> None:
        """Have tasks that have arrived join those that wait."""
        while self._coming and self._coming[0][0] <= now_s:
            _, number, entry = heapq.heappop(self._coming)
            heapq.heappush(self._waiting, (self._keys.join(*self._asked(entry)), number, entry))

    def _asked(self, entry: QueuedTask) -> tuple[float, float, float, int, str]:
        """What an order's key depends on."""
        task = entry.task
        left_s = self._service_s(task, entry.steps_left)
        return entry.arrives_s, left_s, entry.deadline_after_arrival_s, task.priority, task.tenant

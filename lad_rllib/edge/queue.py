"""Tasks that wait at an edge server: first in, first out, by arrival over the server's link."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

from lad_rllib.edge.engines.engine import EngineOutput
from lad_rllib.edge.errors import DeadlineExceeded, EdgeError
from lad_rllib.edge.record import TaskResult
from lad_rllib.edge.task import ImageTask


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
        arrives_s: When its input has come over the link; tasks are served in this order.
        order: Number of its submission, which decides between equal arrivals.
        predicted_delay_s: Predicted service delay [s], or None.
        cold_start: Whether it met a server that had not loaded its model, or made no image yet.
        started_s: When the server began with it.
        started: The same [s since 1970, wall clock].
        load_s: How long it waited for the model after that.
        progress_s: When it started or did its last denoising step.
        step: Denoising steps done.
        stop: Error that ends it at its next step, or None.
        model: Image model or emulated device that made its image.
        output: Its image, once there is one.
        finished_s: When its image was there.
        future: Delivers the result or the error.
    """

    task: ImageTask
    submitted_s: float
    arrives_s: float
    order: int
    predicted_delay_s: float | None = None
    cold_start: bool = False
    started_s: float = 0.0
    started: float = 0.0
    load_s: float = 0.0
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

    def __lt__(self, other: QueuedTask) -> bool:
        return (self.arrives_s, self.order) < (other.arrives_s, other.order)


class TaskQueue:
    """Waiting tasks in order of arrival. Not safe for threads by itself: its server holds a lock."""

    def __init__(self) -> None:
        self._heap: list[QueuedTask] = []

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[QueuedTask]:
        """All tasks, in no order."""
        return iter(self._heap)

    def put(self, entry: QueuedTask) -> None:
        """Add a task."""
        heapq.heappush(self._heap, entry)

    def seconds_to_first(self, now_s: float) -> float | None:
        """Time until the first task has arrived [s], 0 if one has; None if the queue is empty."""
        return max(0.0, self._heap[0].arrives_s - now_s) if self._heap else None

    def pop(self) -> QueuedTask:
        """Take the first task."""
        return heapq.heappop(self._heap)

    def find(self, task_id: str) -> QueuedTask | None:
        """The waiting task of that name, or None."""
        return next((entry for entry in self._heap if entry.task.task_id == task_id), None)

    def remove(self, entry: QueuedTask) -> None:
        """Take one task out of the middle."""
        self._heap.remove(entry)
        heapq.heapify(self._heap)

    def clear(self) -> list[QueuedTask]:
        """Take all tasks, in order."""
        entries, self._heap = sorted(self._heap), []
        return entries

    def ahead_of(self, entry: QueuedTask) -> int:
        """Waiting tasks that are served before this one."""
        return sum(other < entry for other in self._heap)

"""An edge server: a bounded queue in front of one image engine, and questions that it answers while it works."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import count

from lad_rllib.edge.clock import ScaledClock
from lad_rllib.edge.engines.engine import Engine
from lad_rllib.edge.errors import (
    GenerationFailed,
    InvalidRequest,
    ModelLoadFailed,
    QueueFull,
    ServerUnavailable,
    TaskCancelled,
)
from lad_rllib.edge.fit import LEAST_STEP_COUNTS, DelayFit, fit_delay
from lad_rllib.edge.questions import Questions
from lad_rllib.edge.queue import QueuedTask, link_delay_s
from lad_rllib.edge.record import TaskResult
from lad_rllib.edge.recovery import MAX_FAILURES_IN_ROW
from lad_rllib.edge.task import ImageTask
from lad_rllib.errors import ConfigurationError

MAX_QUEUE_LIMIT = 4096
"""Most tasks that may wait at one server: as an actor it keeps a thread for each."""


def check_queue_limit(queue_limit: int) -> None:
    """Raise ``ConfigurationError`` for a queue limit below 1 or above :data:`MAX_QUEUE_LIMIT`."""
    if not 1 <= queue_limit <= MAX_QUEUE_LIMIT:
        raise ConfigurationError(
            f"queue_limit must be 1 to {MAX_QUEUE_LIMIT}, got {queue_limit}; a dispatcher holds further tasks back"
        )


class EdgeServer(Questions):
    """Serves image requests one at a time, in order of arrival.

    All methods may be called from any thread. Only ``generate``, ``warm_up``, ``profile`` and ``drain`` wait for
    images; everything else answers at once, also while an image is generated. Use it as a context manager, or call
    ``close``: a server has a thread of its own.

    Args:
        name: Name of the server in records and messages.
        engine: Makes the images. Its ``load`` runs in the server's thread.
        queue_limit: Tasks that may wait beside the running one; further ones get ``QueueFull``.
        link_rate_mbit_per_s: Rate of an emulated link to and from the server [Mbit/s]: the input arrives, and the image
            is delivered, so much later, while the server works on other tasks. None: no link is emulated.
        home_station: Base station at which the server stands; its tasks need no upload (as in the simulator).
        allowed_sizes: Sizes (width, height) [pixel] that are served; None: all that the engine can.
        time_scale: Wall seconds per second of the server; None takes the engine's. Must agree with the engine's.
        warm_up_sizes: Sizes that run once before the server reports ready; None: the engine's default size; ``()``:
            none, so that the first user pays.
        load_at_start: Load the model now (default), or when the first task comes: that task then pays ``load_s``.
        stall_s: ``health`` calls a server unhealthy whose running task did no step for so long [s].
        make_engine: Builds the engine anew after failures that its present one cannot get over; None: it is kept.
        max_failures_in_row: So many tasks that fail one after the other, or one error after which the device is lost,
            and the server goes into state ``recovering``: it sends its tasks away (``ServerUnavailable``), builds its
            engine anew where the old one cannot make a small probe image, and is ready when a probe succeeds.
        restart: Ends the process after an error that no new engine can heal, where something starts it again.
        probe_at_start: Show with a probe image that it is well, before it is ready; if not, recover.

    Raises:
        ConfigurationError: for a queue limit out of range, a rate that is not positive, or contradicting time scales.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        *,
        queue_limit: int = 64,
        link_rate_mbit_per_s: float | None = None,
        home_station: int | None = None,
        allowed_sizes: Sequence[tuple[int, int]] | None = None,
        time_scale: float | None = None,
        warm_up_sizes: Sequence[tuple[int, int]] | None = None,
        load_at_start: bool = True,
        stall_s: float = 300.0,
        make_engine: Callable[[], Engine] | None = None,
        max_failures_in_row: int = MAX_FAILURES_IN_ROW,
        restart: Callable[[], None] | None = None,
        probe_at_start: bool = False,
    ) -> None:
        check_queue_limit(queue_limit)
        if max_failures_in_row < 1:
            raise ConfigurationError(f"max_failures_in_row must be at least 1, got {max_failures_in_row}")
        if link_rate_mbit_per_s is not None and not link_rate_mbit_per_s > 0:
            raise ConfigurationError(f"link_rate_mbit_per_s must be positive or None, got {link_rate_mbit_per_s}")
        if time_scale is not None and time_scale != engine.time_scale:
            raise ConfigurationError(
                f"server {name} has time_scale {time_scale} but its engine {engine.time_scale}; give both the same"
            )
        self.queue_limit = queue_limit
        self.home_station = home_station
        self.allowed_sizes = None if allowed_sizes is None else {tuple(size) for size in allowed_sizes}
        self.stall_s = stall_s
        self._orders = count()
        clock = ScaledClock(engine.time_scale)
        super().__init__(
            name,
            engine,
            clock,
            link_rate_mbit_per_s,
            warm_up_sizes,
            load_at_start,
            make_engine,
            max_failures_in_row,
            restart,
            probe_at_start,
        )

    def __enter__(self) -> EdgeServer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # Tasks.

    def submit(self, task: ImageTask) -> Future[TaskResult]:
        """Hand in a task; never waits and never raises.

        Returns:
            Future of the result. It fails with one of the named :class:`~lad_rllib.edge.errors.EdgeError`; a task that
            is refused (``InvalidRequest``, ``QueueFull``, ``ServerUnavailable``, ``ModelLoadFailed``) fails at once.
        """
        try:
            return self._enqueue(task).future
        except Exception as error:  # an engine's check may raise anything
            refused: Future[TaskResult] = Future()
            named = self._named(error, GenerationFailed)
            named.task_id = task.task_id
            refused.set_exception(named)
            return refused

    def generate(self, task: ImageTask) -> TaskResult:
        """Hand in a task and wait for its image.

        Raises:
            EdgeError: one of its kinds, see :mod:`lad_rllib.edge.errors`.
        """
        return self.submit(task).result()

    def cancel(self, task_id: str) -> bool:
        """Cancel a task: a waiting one at once, the running one at its next denoising step.

        Returns:
            Whether it was waiting or running; its future then fails with ``TaskCancelled``.
        """
        error = TaskCancelled(f"task {task_id} was cancelled", server=self.name, task_id=task_id)
        with self._changed:
            if self._running is not None and self._running.task.task_id == task_id:
                self._running.stop = self._running.stop or error
                return True
            entry = self._queue.find(task_id)
            if entry is None:
                return False
            self._queue.remove(entry)
        if entry.future.set_running_or_notify_cancel():
            self._fail(entry, error)
        return True

    # Life.

    def warm_up(self, sizes: Sequence[tuple[int, int]] | None = None) -> None:
        """Run each size once, before the tasks that wait, and return when done; None: the default size.

        Raises:
            EdgeError: if the server does not serve, or the engine fails.
        """

        def job() -> None:
            self._load()
            self.engine.warm_up(sizes)
            self._cold = False

        done: Future[None] = Future()
        with self._changed:
            self._check_serving()
            self._jobs.append((job, done))
            self._changed.notify_all()
        done.result()

    def profile(
        self, step_counts: Sequence[int] = (1, 2, 4, 8), size: tuple[int, int] | None = None, repeats: int = 1
    ) -> DelayFit:
        """Measure the delay model: images of several step counts, one after the other, behind the tasks that wait.

        Args:
            step_counts: At least three different numbers of denoising steps; all are raised alike if the model needs
                more steps than the fewest of them.
            size: Width and height [pixel]; None: the engine's default.
            repeats: Images per step count.

        Raises:
            ConfigurationError: for fewer than three different step counts.
            EdgeError: if an image fails.
        """
        if len(set(step_counts)) < LEAST_STEP_COUNTS:
            raise ConfigurationError(f"profile needs at least {LEAST_STEP_COUNTS} step counts, got {list(step_counts)}")
        if self._cold:
            self.warm_up(None if size is None else [size])
        width, height = size or (None, None)
        more = max(0, self.engine.describe().least_steps - min(step_counts))
        steps = [n + more for _ in range(repeats) for n in step_counts]
        tasks = (ImageTask(f"profile-{uuid.uuid4().hex}", "a grey cat", n, width, height) for n in steps)
        return fit_delay(steps, [self.generate(task).record.computing_s for task in tasks])

    def drain(self, timeout_s: float | None = None) -> bool:
        """Refuse new tasks, finish those that are here, and return when all are delivered.

        Args:
            timeout_s: Longest wait [wall seconds]; None: as long as it takes.

        Returns:
            Whether everything was delivered in time. The server stays in state ``draining``; ``close`` ends it.
        """
        with self._changed:
            if self._state in ("starting", "ready", "recovering"):
                self._state = "draining"
                self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._is_busy(), timeout_s)

    def close(self, timeout_s: float = 10.0) -> None:
        """End the server: waiting and running tasks fail with ``ServerUnavailable``. May be called twice.

        Args:
            timeout_s: Longest wait for the running image's next step [wall seconds].
        """
        self._shut_down(timeout_s)

    # Inside.

    def _is_busy(self) -> bool:
        return bool(self._queue or self._running or self._sending or self._delivering)

    def _enqueue(self, task: ImageTask) -> QueuedTask:
        self._check_size(task)
        with self._changed:
            self._check_serving()
            if self._queue.find(task.task_id) or (self._running and self._running.task.task_id == task.task_id):
                raise InvalidRequest(f"task_id {task.task_id} is already on {self.name}; give each task its own")
            if len(self._queue) + (self._running is not None) > self.queue_limit:
                raise QueueFull(f"{self.name} has {self.queue_limit} tasks waiting, its limit; send to another server")
            upload_s = 0.0
            if task.station != self.home_station:
                upload_s = link_delay_s(task.upload_mbit, self.link_rate_mbit_per_s)
            now_s = self.clock.now_s()
            entry = QueuedTask(task, now_s, now_s + upload_s, next(self._orders))
            entry.predicted_delay_s = self._predicted_delay_s(task, upload_s)
            entry.met_cold_server = not self._loaded
            self._queue.put(entry)
            self._changed.notify_all()
        entry.future.add_done_callback(lambda _: self._withdraw(entry))
        return entry

    def _withdraw(self, entry: QueuedTask) -> None:
        """Take a task out of the queue whose owner has cancelled its future."""
        with self._changed:
            if entry.future.cancelled() and self._queue.find(entry.task.task_id) is entry:
                self._queue.remove(entry)
                self._note(entry, TaskCancelled.name)

    def _check_size(self, task: ImageTask) -> None:
        size = self._size_of(task)
        if self.allowed_sizes is not None and size not in self.allowed_sizes:
            allowed = ", ".join(f"{width}x{height}" for width, height in sorted(self.allowed_sizes))
            raise InvalidRequest(f"{self.name} does not serve size {size[0]}x{size[1]}; ask for one of {allowed}")
        self.engine.check(task)

    def _check_serving(self) -> None:
        if self._state == "failed":
            raise ModelLoadFailed(f"{self.name} has no model: {self._reason}")
        if self._state not in ("starting", "ready"):
            why = f" ({self._reason})" if self._reason else ""
            raise ServerUnavailable(f"edge server {self.name} is {self._state}{why}; send the task to another server")

    def _predicted_delay_s(self, task: ImageTask, upload_s: float) -> float | None:
        queued_s, computing_s = self._work_queued_s(), self.predict_computing_s(task)
        if queued_s is None or computing_s is None:
            return None
        return max(upload_s, queued_s) + computing_s + link_delay_s(self._image_mbit, self.link_rate_mbit_per_s)

"""An edge server: a bounded queue in front of one image engine."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import count
from typing import Any

from lad_rllib.edge.clock import ScaledClock
from lad_rllib.edge.engines.engine import Engine, EngineDescription
from lad_rllib.edge.errors import GenerationFailed, InvalidRequest, QueueFull, TaskCancelled
from lad_rllib.edge.failures import named_error
from lad_rllib.edge.fit import MIN_STEP_COUNTS, DelayFit, fit_delay
from lad_rllib.edge.forecast import QueueForecast
from lad_rllib.edge.prediction import Prediction
from lad_rllib.edge.queue import QueuedTask, TaskQueue, link_delay_s
from lad_rllib.edge.record import TaskResult
from lad_rllib.edge.recovery import MAX_FAILURES_IN_ROW, ManagedEngine
from lad_rllib.edge.settings import ServerSettings
from lad_rllib.edge.status import ServerHealth, ServerStatus, TaskProgress
from lad_rllib.edge.task import ImageTask
from lad_rllib.edge.worker import Worker
from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator.order import make_order, order_spec


class EdgeServer:
    """Serves image requests one at a time, in an order of service.

    All methods may be called from any thread. Only ``generate``, ``warm_up``, ``profile`` and ``drain`` wait for
    images; everything else answers at once, also while an image is generated. Use it as a context manager, or call
    ``close``: a server has a thread of its own.

    Args:
        name: Name of the server in records and messages.
        engine: Makes the images. Its ``load`` runs in the server's thread.
        home_station: Base station at which the server stands; its tasks need no upload (as in the simulator).
        time_scale: Wall seconds per second of the server; None takes the engine's. Must agree with the engine's.
        load_at_start: Load the model now (default), or when the first task comes: that task then pays ``load_s``.
        make_engine: Builds the engine anew after failures that its present one cannot get over; None: it is kept.
        max_failures_in_row: So many tasks that fail one after the other, or one error after which the device is lost,
            and the server goes into state ``recovering``: it sends its tasks away (``ServerUnavailable``), builds its
            engine anew where the old one cannot make a small probe image, and is ready when a probe succeeds.
        restart: Ends the process after an error that no new engine can heal, where something starts it again.
        probe_at_start: Make a probe image before the server is ready; recover if that fails.
        settings: Fields of :class:`~lad_rllib.edge.settings.ServerSettings`, such as ``queue_limit``.

    Raises:
        ConfigurationError: for a setting out of range, or contradicting time scales.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        *,
        home_station: int | None = None,
        time_scale: float | None = None,
        load_at_start: bool = True,
        make_engine: Callable[[], Engine] | None = None,
        max_failures_in_row: int = MAX_FAILURES_IN_ROW,
        restart: Callable[[], None] | None = None,
        probe_at_start: bool = False,
        **settings: Any,
    ) -> None:
        self.settings = ServerSettings(**settings)
        if max_failures_in_row < 1:
            raise ConfigurationError(f"max_failures_in_row must be at least 1, got {max_failures_in_row}")
        if time_scale is not None and time_scale != engine.time_scale:
            raise ConfigurationError(
                f"server {name} has time_scale {time_scale} but its engine {engine.time_scale}; give both the same"
            )
        if self.settings.preemption and not engine.describe().can_suspend:
            raise ConfigurationError(
                f"server {name} has preemption, but its engine ({engine.describe().kind}, memory profile "
                f"{engine.describe().memory_profile}) cannot suspend an image; leave it out"
            )
        self.name = name
        self.home_station = home_station
        self.clock = ScaledClock(engine.time_scale)
        self.order = make_order(self.settings.order)
        self._numbers = count()
        managed = ManagedEngine(engine, make_engine, _pairs(self.settings.warm_up_sizes))
        self._prediction = Prediction(managed)
        self._worker = Worker(
            name,
            managed,
            TaskQueue(self.order, self._prediction.service_s),
            self._prediction,
            self.clock,
            self.settings.link_rate_mbit_per_s,
            preemption=self.settings.preemption,
            load_at_start=load_at_start,
            max_failures_in_row=max_failures_in_row,
            restart=restart,
            probe_at_start=probe_at_start,
        )
        self._forecast = QueueForecast(self._worker, self.settings.link_rate_mbit_per_s)

    def __enter__(self) -> EdgeServer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def engine(self) -> Engine:
        """The engine that makes the images at present."""
        return self._worker.engine.engine

    @property
    def since(self) -> float:
        """When it was started [s since 1970, wall clock]."""
        return self._worker.lifecycle.since

    # Tasks.

    def submit(self, task: ImageTask) -> Future[TaskResult]:
        """Submit a task; never waits and never raises.

        Returns:
            Future of the result. It fails with one of the named :class:`~lad_rllib.edge.errors.EdgeError`; a task that
            is refused (``InvalidRequest``, ``QueueFull``, ``ServerUnavailable``, ``ModelLoadFailed``) fails at once.
        """
        worker = self._worker
        try:
            self._check_size(task)
            with worker.changed:
                self._check_room(task)
                away = task.station != self.home_station
                upload_s = link_delay_s(task.upload_mbit, self.settings.link_rate_mbit_per_s) if away else 0.0
                now_s = self.clock.now_s()
                entry = QueuedTask(task, now_s, now_s + upload_s, next(self._numbers))
                entry.cold_start = not worker.engine.is_loaded
                worker.queue.put(entry, now_s)
                entry.predicted_delay_s = self._forecast.delay_s(entry)
                worker.changed.notify_all()
        except Exception as error:  # an engine's check may raise anything
            refused: Future[TaskResult] = Future()
            refused.set_exception(named_error(error, GenerationFailed, self.name, task.task_id))
            return refused
        entry.future.add_done_callback(lambda _: worker.withdraw(entry))
        return entry.future

    def generate(self, task: ImageTask) -> TaskResult:
        """Submit a task and wait for its image.

        Raises:
            EdgeError: one of its kinds, see :mod:`lad_rllib.edge.errors`.
        """
        return self.submit(task).result()

    def cancel(self, task_id: str) -> bool:
        """Cancel a task: a waiting one at once, one that has begun at its next denoising step.

        Returns:
            Whether it was waiting or has begun; its future then fails with ``TaskCancelled``.
        """
        error = TaskCancelled(f"task {task_id} was cancelled", server=self.name, task_id=task_id)
        worker = self._worker
        with worker.changed:
            for entry in worker.begun:
                if entry.task.task_id == task_id:
                    entry.stop = entry.stop or error
                    return True
            waiting = worker.queue.find(task_id)
            if waiting is None:
                return False
            worker.queue.remove(waiting)
        worker.fail_waiting([waiting], error)
        return True

    # State; none of these waits for an image.

    def status(self) -> ServerStatus:
        """The server at this moment: state, queue, running task, counts and delay model."""
        worker = self._worker
        engine = self.engine.describe()
        with worker.changed:
            running = worker.running
            return ServerStatus(
                name=self.name,
                state=worker.lifecycle.state,
                reason=worker.lifecycle.reason,
                tasks_queued=len(worker.queue),
                queue_limit=self.settings.queue_limit,
                order=order_spec(self.order),
                work_queued_steps=sum(entry.steps_left for entry in (*worker.queue, *worker.begun)),
                work_queued_s=self._forecast.work_queued_s(),
                running_task_id=running.task.task_id if running else None,
                running_step=running.step if running else 0,
                running_steps=running.task.denoising_steps if running else 0,
                tasks_served=worker.outcomes.served,
                tasks_failed=worker.outcomes.failed,
                since=worker.lifecycle.since,
                time=time.time(),
                fit=self.fit(),
                resident={} if engine.residency is None else engine.residency.to_dict(),
                foreign_requests=engine.foreign_requests,
            )

    def progress(self, task_id: str) -> TaskProgress:
        """Where a task is; state ``unknown`` if the server has never seen or has forgotten it."""
        worker = self._worker
        with worker.changed:
            running, waiting = worker.running, worker.queue.find(task_id)
            for ahead, entry in enumerate(reversed(worker.begun)):
                if entry.task.task_id == task_id:
                    state = "running" if entry is running else "suspended"
                    return TaskProgress(task_id, state, ahead, entry.step, entry.task.denoising_steps)
            if waiting is not None:
                ahead = len(worker.queue.ahead_of(waiting)) + len(worker.begun)
                return TaskProgress(task_id, "queued", ahead, 0, waiting.task.denoising_steps)
            if worker.outbox.has(task_id):
                return TaskProgress(task_id, "sending")
            error = worker.outcomes.of(task_id)
        if error is None:
            return TaskProgress(task_id, "unknown")
        return TaskProgress(task_id, "failed" if error else "done", error=error)

    def health(self) -> ServerHealth:
        """Whether the server should get tasks: ready, its thread alive, and its running task not stuck."""
        worker, lifecycle = self._worker, self._worker.lifecycle
        with worker.changed:
            running = worker.running
            idle_s = 0.0 if running is None else self.clock.now_s() - running.progress_s
            reason = ""
            if lifecycle.state != "ready":
                reason = f"{self.name} is {lifecycle.state}" + (f": {lifecycle.reason}" if lifecycle.reason else "")
            elif not worker.thread.is_alive():
                reason = f"{self.name} has lost its thread; restart it"
            elif running is not None and idle_s > self.settings.stall_s:
                reason = f"{self.name}: task {running.task.task_id} did no step for {idle_s:.0f} s; restart the server"
            return ServerHealth(not reason, reason, idle_s, lifecycle.since)

    def describe(self) -> EngineDescription:
        """What the server's engine is."""
        return self.engine.describe()

    def fit(self, size: tuple[int, int] | None = None) -> DelayFit | None:
        """Computing delay as learned from the images served so far; None for the size: the engine's default."""
        kind = self._prediction.describe().kind_of(ImageTask("fit", "fit", 1, *(size or (None, None))))
        return self._prediction.delays.fit(kind)

    def predict_computing_s(self, task: ImageTask) -> float | None:
        """Predicted computing delay of a task served next on this server [s]; None before anything is known."""
        work_s = self._prediction.work_s([task])
        return None if work_s is None else work_s[0]

    # Life.

    def warm_up(self, sizes: Sequence[tuple[int, int]] | None = None) -> None:
        """Run each size once, before the tasks that wait, and return when done; None: the default size.

        Raises:
            EdgeError: if the server does not serve, or the engine fails.
        """
        self._worker.warm_up(sizes).result()

    def profile(
        self, step_counts: Sequence[int] = (1, 2, 4, 8), size: tuple[int, int] | None = None, repeats: int = 1
    ) -> DelayFit:
        """Measure the delay model: images of several step counts, one after the other, in the queue as other tasks are.

        Args:
            step_counts: At least three different numbers of denoising steps; all are raised by the same number if the
                model needs more steps than the fewest of them.
            size: Width and height [pixel]; None: the engine's default.
            repeats: Images per step count.

        Raises:
            ConfigurationError: for fewer than three different step counts.
            EdgeError: if an image fails.
        """
        if len(set(step_counts)) < MIN_STEP_COUNTS:
            raise ConfigurationError(f"profile needs at least {MIN_STEP_COUNTS} step counts, got {list(step_counts)}")
        if self._worker.engine.is_cold:
            self.warm_up(None if size is None else [size])
        width, height = size or (None, None)
        raised = max(0, self.engine.describe().min_steps - min(step_counts))
        steps = [n + raised for _ in range(repeats) for n in step_counts]
        tasks = (ImageTask(f"profile-{uuid.uuid4().hex}", "a grey cat", n, width, height) for n in steps)
        return fit_delay(steps, [self.generate(task).record.drawing_s for task in tasks])

    def drain(self, timeout_s: float | None = None) -> bool:
        """Refuse new tasks, finish those that are queued, and return when all are delivered.

        Args:
            timeout_s: Longest wait [wall seconds]; None: as long as it takes.

        Returns:
            Whether everything was delivered in time. The server stays in state ``draining``; ``close`` ends it.
        """
        worker = self._worker
        with worker.changed:
            if worker.lifecycle.state in ("starting", "ready", "recovering"):
                worker.lifecycle.state = "draining"
                worker.changed.notify_all()
            return worker.changed.wait_for(lambda: not worker.is_busy(), timeout_s)

    def close(self, timeout_s: float = 10.0) -> None:
        """End the server: waiting and running tasks fail with ``ServerUnavailable``. May be called twice.

        Args:
            timeout_s: Longest wait for the running image's next step [wall seconds].
        """
        self._worker.close(timeout_s)

    # Inside.

    def _check_room(self, task: ImageTask) -> None:
        worker, limit = self._worker, self.settings.queue_limit
        worker.lifecycle.check_serving()
        if worker.queue.find(task.task_id) or any(entry.task.task_id == task.task_id for entry in worker.begun):
            raise InvalidRequest(f"task_id {task.task_id} is already on {self.name}; give each task its own")
        if len(worker.queue) + len(worker.begun) > limit:
            raise QueueFull(f"{self.name} has {limit} tasks waiting, its limit; send to another server")

    def _check_size(self, task: ImageTask) -> None:
        kind = self._prediction.describe(task.model).kind_of(task)
        size = kind.width, kind.height
        sizes = _pairs(self.settings.allowed_sizes)
        if sizes is not None and size not in sizes:
            allowed = ", ".join(f"{width}x{height}" for width, height in sorted(set(sizes)))
            raise InvalidRequest(f"{self.name} does not serve size {size[0]}x{size[1]}; ask for one of {allowed}")
        self.engine.check(task)


def _pairs(sizes: list[list[int]] | None) -> list[tuple[int, int]] | None:
    return None if sizes is None else [(width, height) for width, height in sizes]

"""The thread behind an edge server: it takes tasks from the queue, has their images made and delivers them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

from lad_rllib.edge.clock import ScaledClock
from lad_rllib.edge.engines.engine import EngineOutput
from lad_rllib.edge.engines.residency import Swap
from lad_rllib.edge.errors import EdgeError, GenerationFailed, ModelLoadFailed, ServerUnavailable, TaskCancelled
from lad_rllib.edge.failures import named_error
from lad_rllib.edge.lifecycle import Lifecycle
from lad_rllib.edge.outbox import Outbox, Outcomes
from lad_rllib.edge.prediction import Prediction
from lad_rllib.edge.queue import QueuedTask, TaskQueue
from lad_rllib.edge.recovery import ManagedEngine

MAX_SUSPENDED = 8
"""Images that may be suspended at a time; each keeps its latents on the device, and its place on the thread's stack."""


class Worker:
    """State and thread of a server; :class:`~lad_rllib.edge.server.EdgeServer` is what others use.

    One lock, that of ``changed``, guards all state; the thread holds it only between images. Futures are resolved
    outside of it, since their callbacks are foreign code. Whatever engines and callbacks raise ends the task that it is
    about, never the thread.

    Args:
        name: Name of the server.
        engine: Makes the images.
        queue: Tasks that wait.
        prediction: What the server knows of its own speed.
        clock: The server's.
        link_rate_mbit_per_s: As for ``EdgeServer``, and so are the others.

    Attributes:
        changed: The condition whose lock guards the state.
        lifecycle: Whether the server serves.
        suspended: Tasks whose images were begun and let others go first; the last one goes on next.
        outbox: Images on their way to those who asked for them.
        outcomes: How tasks ended.
        prediction: What the server knows of its own speed.
    """

    def __init__(
        self,
        name: str,
        engine: ManagedEngine,
        queue: TaskQueue,
        prediction: Prediction,
        clock: ScaledClock,
        link_rate_mbit_per_s: float | None,
        *,
        preemption: bool,
        load_at_start: bool,
        max_failures_in_row: int,
        restart: Callable[[], None] | None,
        probe_at_start: bool,
    ) -> None:
        self.name, self.engine, self.queue, self.clock = name, engine, queue, clock
        self.changed = threading.Condition(threading.RLock())
        self._current: QueuedTask | None = None
        self.suspended: list[QueuedTask] = []
        self._preemption = preemption
        self.outcomes = Outcomes()
        self.outbox = Outbox(name, clock, link_rate_mbit_per_s, self.changed, self.outcomes, self._fail)
        self.prediction = prediction
        self.lifecycle = Lifecycle(
            name,
            engine,
            queue,
            self.changed,
            self.fail_waiting,
            load_at_start=load_at_start,
            max_failures_in_row=max_failures_in_row,
            restart=restart,
            probe_at_start=probe_at_start,
        )
        self._warm_ups: deque[tuple[Sequence[tuple[int, int]] | None, Future[None]]] = deque()
        self.thread = threading.Thread(target=self._run, name=f"edge-server-{name}", daemon=True)
        self.thread.start()

    # What the server calls.

    @property
    def running(self) -> QueuedTask | None:
        """The task whose image is being made."""
        return self._current if self._current is not None and self._current.output is None else None

    @property
    def begun(self) -> list[QueuedTask]:
        """The suspended tasks, and the running one last."""
        return [*self.suspended, *([] if self.running is None else [self.running])]

    def is_busy(self) -> bool:
        """Whether any task has not ended."""
        return bool(self.queue or self.begun or self.outbox.is_busy)

    def withdraw(self, entry: QueuedTask) -> None:
        """Take a task out of the queue whose owner has cancelled its future."""
        with self.changed:
            if entry.future.cancelled() and self.queue.find(entry.task.task_id) is entry:
                self.queue.remove(entry)
                self.outcomes.add(entry.task.task_id, TaskCancelled.name)

    def fail_waiting(self, entries: Sequence[QueuedTask], error: EdgeError) -> None:
        """End tasks that were taken out of the queue, except those whose owner has cancelled the future."""
        for entry in entries:
            if entry.future.set_running_or_notify_cancel():
                self._fail(entry, error)

    def warm_up(self, sizes: Sequence[tuple[int, int]] | None) -> Future[None]:
        """Have the thread warm up before the tasks that wait."""
        done: Future[None] = Future()
        with self.changed:
            self.lifecycle.check_serving()
            self._warm_ups.append((sizes, done))
            self.changed.notify_all()
        return done

    def close(self, timeout_s: float) -> None:
        """Stop everything: waiting and running tasks fail, images on their way are delivered at once."""
        closed = ServerUnavailable(f"edge server {self.name} was closed; send the task to another server")
        with self.changed:
            self.lifecycle.state = "closed"
            waiting = self.queue.clear()
            warm_ups = [done for _, done in self._warm_ups]
            self._warm_ups.clear()
            for entry in self.begun:
                entry.stop = entry.stop or closed
            self.changed.notify_all()
        self.fail_waiting(waiting, closed)
        for done in warm_ups:
            done.set_exception(named_error(closed, ServerUnavailable, self.name))
        self.outbox.close()
        if threading.current_thread() is not self.thread:
            self.thread.join(timeout_s)

    # The thread.

    def _run(self) -> None:
        self.lifecycle.start()
        while (step := self._next()) is not None:
            step()

    def _next(self) -> Callable[[], None] | None:
        """Wait for something to do; None once the server is closed."""
        with self.changed:
            while self.lifecycle.state != "closed":
                if self._warm_ups:
                    return partial(self._warm_up, *self._warm_ups.popleft())
                entry = self.queue.pop(self.clock.now_s())
                if entry is None:
                    wait_s = self.queue.seconds_to_next(self.clock.now_s())
                    self.changed.wait(None if wait_s is None else self.clock.wall_s(wait_s))
                elif entry.future.set_running_or_notify_cancel():
                    self._current = entry
                    return partial(self._serve, entry)
                else:
                    self.outcomes.add(entry.task.task_id, TaskCancelled.name)
            return None

    def _warm_up(self, sizes: Sequence[tuple[int, int]] | None, done: Future[None]) -> None:
        try:
            self.engine.warm_up(sizes)
        except BaseException as error:
            done.set_exception(named_error(error, GenerationFailed, self.name))
        else:
            done.set_result(None)

    # One task.

    def _serve(self, entry: QueuedTask) -> None:
        """Make the task's image and send it, or end the task with its error and see whether the server is at fault."""
        try:
            entry.started_s, entry.started = self.clock.now_s(), time.time()
            entry.advance(0, entry.started_s, self.name)
            self._load(entry)
            engine = self.engine.engine
            if entry.cold_start:
                engine.check(entry.task)  # which knows more than before the model was loaded
            swap = self.prediction.swap(entry.task)
            output = engine.generate(entry.task, partial(self._after_step, entry))
            self._count(entry, output, swap)
            self.outbox.send(entry, output)
        except BaseException as error:
            self.lifecycle.failed(self._fail(entry, error))
        if not self.suspended:  # which go on first, as far as they can
            self.lifecycle.recover_if_due()

    def _after_step(self, entry: QueuedTask, step: int) -> float:
        """Note a step that is done, and let tasks go first whose keys are less; returns how long they took [s]."""
        begin_s = self.clock.now_s()
        entry.advance(step, begin_s, self.name)
        if not self._preemption or not 0 < step < entry.task.denoising_steps:
            return 0.0
        others = 0
        while (other := self._take_before(entry)) is not None:
            others += 1
            self._serve(other)
            with self.changed:
                self._current = self.suspended.pop()
        if not others:
            return 0.0
        now_s = self.clock.now_s()
        entry.suspended_s += now_s - begin_s
        entry.interruptions += 1
        entry.advance(step, now_s, self.name)
        return now_s - begin_s

    def _take_before(self, entry: QueuedTask) -> QueuedTask | None:
        """The task to suspend the running one for, which is the running one then; None: go on."""
        with self.changed:
            while self.lifecycle.state in ("ready", "draining") and len(self.suspended) < MAX_SUSPENDED:
                other = self.queue.pop_before(entry, self.clock.now_s(), lambda task: not self.prediction.swap(task))
                if other is None:
                    return None
                if other.future.set_running_or_notify_cancel():
                    self.suspended.append(entry)
                    self._current = other
                    return other
                self.outcomes.add(other.task.task_id, TaskCancelled.name)
            return None

    def _count(self, entry: QueuedTask, output: EngineOutput, swap: Swap) -> None:
        """Note that the engine has made an image, and learn its delay unless the engine was cold."""
        if not isinstance(output, EngineOutput):
            raise GenerationFailed(f"the engine of {self.name} gave {type(output).__name__}, not an EngineOutput")
        entry.finished_s, entry.model = self.clock.now_s(), output.model or self.engine.engine.describe().model
        entry.cold_start |= self.engine.is_cold
        self.lifecycle.served()
        if not self.engine.is_cold:
            knew_nothing = self.prediction.line(entry.task) is None
            away_s = entry.load_s + entry.suspended_s
            self.prediction.learn(entry.task, output, swap, entry.finished_s - entry.started_s - away_s)
            if knew_nothing:
                with self.changed:
                    self.queue.take_keys_anew()
        self.engine.is_cold = False

    def _load(self, entry: QueuedTask) -> None:
        if self.engine.is_loaded:
            return
        try:
            self.engine.load()
        except BaseException as error:
            self.lifecycle.give_up(error)
            raise named_error(error, ModelLoadFailed) from error
        entry.load_s = self.clock.now_s() - entry.started_s

    def _fail(self, entry: QueuedTask, error: BaseException) -> EdgeError:
        """End a task with an error, which is returned under its name."""
        named = named_error(error, GenerationFailed, self.name, entry.task.task_id)
        with self.changed:
            if self._current is entry:
                self._current = None
            self.outcomes.failed += 1
            self.outcomes.add(entry.task.task_id, named.name)
            self.changed.notify_all()
        entry.resolve(named)
        return named

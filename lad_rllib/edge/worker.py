"""The inside of an edge server: one thread that takes tasks from the queue and sees them through to delivery."""

from __future__ import annotations

import gc
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

from lad_rllib.edge.clock import ScaledClock
from lad_rllib.edge.engines.engine import Engine, EngineOutput
from lad_rllib.edge.errors import (
    DeadlineExceeded,
    EdgeError,
    GenerationFailed,
    ModelLoadFailed,
    ServerUnavailable,
    one_line,
)
from lad_rllib.edge.failures import failure_kind
from lad_rllib.edge.fit import DelayModel
from lad_rllib.edge.queue import QueuedTask, TaskQueue, link_delay_s
from lad_rllib.edge.record import TaskRecord, TaskResult
from lad_rllib.edge.recovery import MAX_FAILURES_IN_ROW, FailureCount, probe, waits_s

REMEMBERED_TASKS = 1000


class ServingLoop:
    """State and worker thread of a server; :class:`~lad_rllib.edge.server.EdgeServer` is what others use.

    One lock guards all state; the worker holds it only between images. Futures are resolved outside of it, since their
    callbacks are foreign code. Whatever engines and callbacks raise ends the task that it is about, never the thread.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        clock: ScaledClock,
        link_rate_mbit_per_s: float | None,
        warm_up_sizes: Sequence[tuple[int, int]] | None,
        load_at_start: bool,
        make_engine: Callable[[], Engine] | None = None,
        max_failures_in_row: int = MAX_FAILURES_IN_ROW,
        restart: Callable[[], None] | None = None,
        probe_at_start: bool = False,
    ) -> None:
        self.name = name
        self.engine = engine
        self.clock = clock
        self.link_rate_mbit_per_s = link_rate_mbit_per_s
        self._warm_up_sizes = warm_up_sizes
        self._load_at_start = load_at_start
        self._make_engine, self._restart, self._probe_at_start = make_engine, restart, probe_at_start
        self._failures = FailureCount(max_failures_in_row)
        self._changed = threading.Condition(threading.RLock())
        self._queue = TaskQueue()
        self._jobs: deque[tuple[Callable[[], None], Future[None]]] = deque()
        self._running: QueuedTask | None = None
        self._sending: dict[QueuedTask, tuple[threading.Timer, Callable[[], None]]] = {}
        self._delivering = 0
        self._outcomes: OrderedDict[str, str] = OrderedDict()
        self._delays = DelayModel(engine.describe().expected)
        self._image_mbit = 0.0  # of the latest image
        self._state = "starting" if load_at_start else "ready"
        self._reason = ""
        self._loaded = False
        self._cold = True  # no image and no warm-up yet
        self._served = self._failed = 0
        self._since = time.time()
        self._worker = threading.Thread(target=self._work, name=f"edge-server-{name}", daemon=True)
        self._worker.start()

    def _work(self) -> None:
        if self._load_at_start:
            self._start_up()
        while (step := self._next()) is not None:
            step()

    def _next(self) -> Callable[[], None] | None:
        """Wait for something to do; None once the server is closed."""
        with self._changed:
            while self._state != "closed":
                if self._jobs:
                    return partial(self._do_job, *self._jobs.popleft())
                wait_s = self._queue.seconds_to_first(self.clock.now_s())
                if wait_s == 0.0:
                    entry = self._queue.pop()
                    if entry.future.set_running_or_notify_cancel():
                        self._running = entry
                        return partial(self._serve, entry)
                    self._note(entry, "cancelled")
                    continue
                self._changed.wait(None if wait_s is None else self.clock.wall_s(wait_s))
            return None

    def _do_job(self, job: Callable[[], None], future: Future[None]) -> None:
        try:
            job()
        except BaseException as error:
            future.set_exception(self._named(error, GenerationFailed))
        else:
            future.set_result(None)

    def _start_up(self) -> None:
        try:
            self._load()
            if self._warm_up_sizes is None or self._warm_up_sizes:
                self.engine.warm_up(self._warm_up_sizes)
                self._cold = False
            if self._probe_at_start:
                probe(self.engine)
        except BaseException as error:
            if self._probe_at_start:
                return self._recover(f"it was started again and fails: {one_line(error)}")
            return self._give_up(error)
        self._become_ready("starting")

    def _become_ready(self, before: str) -> None:
        with self._changed:
            if self._state == before:
                self._state, self._reason = "ready", ""
            self._changed.notify_all()

    def _recover(self, reason: str, restart: bool = False) -> None:
        """Serve nothing, send away who waits, and go on once a probe image succeeds."""
        closed = ServerUnavailable(f"edge server {self.name} recovers: {reason}; send the task to another server")
        with self._changed:
            if self._state not in ("starting", "ready"):
                return
            self._state, self._reason = "recovering", reason
            waiting = self._queue.clear()
            self._changed.notify_all()
        self._fail_waiting(waiting, closed)
        if restart and self._restart is not None:
            return self._restart()
        anew = restart or not self._failures.served_since_recovery
        for wait_s in waits_s():
            if self._is_well(anew):
                break
            anew = True
            with self._changed:
                if self._changed.wait_for(lambda: self._state != "recovering", wait_s):
                    return
        self._failures.recovered()
        self._become_ready("recovering")

    def _is_well(self, anew: bool) -> bool:
        """Whether a probe image succeeds, with a new engine if wanted."""
        try:
            if anew and self._make_engine is not None:
                self.engine = self._make_engine()
                self._loaded, self._cold = False, True
                gc.collect()  # the former engine's memory, before the new one takes some
            self._load()
            if self._cold and (self._warm_up_sizes is None or self._warm_up_sizes):
                self.engine.warm_up(self._warm_up_sizes)
                self._cold = False
            probe(self.engine)
        except BaseException as error:
            with self._changed:
                self._reason = f"its probe image fails: {one_line(error)}"
            return False
        return True

    def _load(self) -> float:
        """Load the model if that has not happened yet; seconds that it took."""
        if self._loaded:
            return 0.0
        begin_s = self.clock.now_s()
        self.engine.load()
        self._loaded = True
        return self.clock.now_s() - begin_s

    def _give_up(self, error: BaseException) -> None:
        """The model cannot be loaded: serve nothing, and tell everyone who waits."""
        named = self._named(error, ModelLoadFailed)
        with self._changed:
            if self._state != "closed":
                self._state, self._reason = "failed", str(named)
            waiting = self._queue.clear()
            self._changed.notify_all()
        self._fail_waiting(waiting, named)

    def _serve(self, entry: QueuedTask) -> None:
        """See a task through to its delivery or its error."""
        try:
            self._generate(entry)
        except BaseException as error:
            if not entry.future.done():  # else a callback of its future raised
                self._serve_failed(entry, self._named(error, GenerationFailed, entry))

    def _generate(self, entry: QueuedTask) -> None:
        entry.started_s = entry.progress_s = self.clock.now_s()
        started = time.time()
        cold = self._cold
        self._check(entry)
        try:
            load_s = self._load()
        except BaseException as error:
            self._give_up(error)
            raise self._named(error, ModelLoadFailed, entry) from error
        self.engine.check(entry.task)
        output = self.engine.generate(entry.task, partial(self._on_step, entry))
        self._failures.served()
        finished_s = self.clock.now_s()
        self._cold = False
        if not cold:
            size = (output.width, output.height)
            self._delays.add(size, entry.task.denoising_steps, finished_s - entry.started_s)
        self._send(entry, output, started, finished_s, load_s, cold or entry.met_cold_server)

    def _serve_failed(self, entry: QueuedTask, error: EdgeError) -> None:
        """End the task, and see whether it is the server that fails."""
        self._fail(entry, error)
        reason = self._failures.reason_to_recover(error)
        if reason:
            self._recover(reason, restart=error.needs_restart)

    def _on_step(self, entry: QueuedTask, step: int) -> None:
        entry.step, entry.progress_s = step, self.clock.now_s()
        self._check(entry)

    def _check(self, entry: QueuedTask) -> None:
        """Raise if the task has been cancelled or its deadline has passed."""
        if entry.stop is not None:
            raise entry.stop
        deadline_s, age_s = entry.task.deadline_s, self.clock.now_s() - entry.submitted_s
        if deadline_s is not None and age_s > deadline_s:
            raise DeadlineExceeded(
                f"task {entry.task.task_id} was {age_s:.3g} s old, beyond its deadline of {deadline_s:g} s, after "
                f"{entry.step} of {entry.task.denoising_steps} steps on {self.name}; give more time or ask fewer steps"
            )

    def _send(
        self, entry: QueuedTask, output: EngineOutput, started: float, finished_s: float, load_s: float, cold: bool
    ) -> None:
        """Deliver after the download; the worker goes on with the next task meanwhile."""
        deliver = partial(self._deliver, entry, output, started, finished_s, load_s, cold)
        download_s = link_delay_s(output.image_mbit, self.link_rate_mbit_per_s)
        timer = threading.Timer(self.clock.wall_s(download_s), deliver)
        timer.daemon = True
        with self._changed:
            if entry.stop is not None:  # cancelled after its last step
                return self._fail(entry, self._named(entry.stop, GenerationFailed, entry))
            self._image_mbit = output.image_mbit
            self._running = None
            at_once = download_s == 0 or self._state == "closed"
            self._sending[entry] = (timer, deliver)
            if not at_once:
                timer.start()
        if at_once:
            deliver()

    def _deliver(
        self, entry: QueuedTask, output: EngineOutput, started: float, finished_s: float, load_s: float, cold: bool
    ) -> None:
        with self._changed:
            if self._sending.pop(entry, None) is None:
                return  # closing the server has delivered it
            self._delivering += 1
        try:
            record = self._record(entry, output, started, finished_s, load_s, cold)
        except BaseException as error:
            with self._changed:
                self._delivering -= 1
            return self._fail(entry, self._named(error, GenerationFailed, entry))
        with self._changed:
            self._delivering -= 1
            self._served += 1
            self._note(entry, "")
        entry.future.set_result(TaskResult(record, output.png))

    def _record(
        self, entry: QueuedTask, output: EngineOutput, started: float, finished_s: float, load_s: float, cold: bool
    ) -> TaskRecord:
        """The record of a task that is delivered now."""
        delivered_s = self.clock.now_s()
        task = entry.task
        return TaskRecord(
            task_id=task.task_id,
            server=self.name,
            model=self.engine.describe().model,
            width=output.width,
            height=output.height,
            seed=task.seed,
            steps_asked=task.denoising_steps,
            steps_done=output.steps_done,
            denoiser_calls=output.denoiser_calls,
            dtype=output.dtype,
            attempt=output.attempt,
            prompt_tokens_cut=output.prompt_tokens_cut,
            prompt_cut_by=output.prompt_cut_by,
            negative_prompt_tokens_cut=output.negative_prompt_tokens_cut,
            negative_prompt_cut_by=output.negative_prompt_cut_by,
            safety_check=output.safety_check,
            cold_start=cold,
            predicted_delay_s=entry.predicted_delay_s,
            peak_memory_mib=output.peak_memory_mib,
            upload_s=entry.arrives_s - entry.submitted_s,
            waiting_s=entry.started_s - entry.arrives_s,
            load_s=load_s,
            encode_s=output.encode_s,
            denoise_s=output.denoise_s,
            per_step_s=output.denoise_s / max(1, output.steps_done),
            decode_s=output.decode_s,
            png_s=output.png_s,
            computing_s=finished_s - entry.started_s,
            download_s=delivered_s - finished_s,
            total_s=delivered_s - entry.submitted_s,
            started=started,
            finished=time.time(),
        )

    def _fail(self, entry: QueuedTask, error: EdgeError) -> None:
        with self._changed:
            if self._running is entry:
                self._running = None
            self._sending.pop(entry, None)
            self._failed += 1
            self._note(entry, error.name)
        entry.future.set_exception(error)

    def _fail_waiting(self, entries: Sequence[QueuedTask], error: EdgeError) -> None:
        for entry in entries:
            if entry.future.set_running_or_notify_cancel():  # else its owner has cancelled the future
                self._fail(entry, self._named(error, GenerationFailed, entry))

    def _note(self, entry: QueuedTask, error: str) -> None:
        """Remember how a task ended: an error's name, or nothing."""
        self._outcomes[entry.task.task_id] = error
        self._outcomes.move_to_end(entry.task.task_id)
        while len(self._outcomes) > REMEMBERED_TASKS:
            self._outcomes.popitem(last=False)
        self._changed.notify_all()

    def _named(self, error: BaseException, otherwise: type[EdgeError], entry: QueuedTask | None = None) -> EdgeError:
        """The error under one of the room's names, with server and task filled in; one object per task."""
        task_id = entry.task.task_id if entry else None
        if isinstance(error, EdgeError):
            return type(error)(str(error), server=self.name, task_id=task_id)
        named = (failure_kind(error) or otherwise)(one_line(error), server=self.name, task_id=task_id)
        named.__cause__ = error
        return named

    def _shut_down(self, wait_s: float) -> None:
        """Stop everything: waiting and running tasks fail, images on their way are delivered at once."""
        closed = ServerUnavailable(f"edge server {self.name} was closed; send the task to another server")
        with self._changed:
            self._state = "closed"
            waiting, sending = self._queue.clear(), list(self._sending.values())
            jobs = [future for _, future in self._jobs]
            self._jobs.clear()
            if self._running is not None and self._running.stop is None:
                self._running.stop = closed
            self._changed.notify_all()
        self._fail_waiting(waiting, closed)
        for future in jobs:
            future.set_exception(self._named(closed, ServerUnavailable))
        for timer, deliver in sending:
            timer.cancel()
            deliver()
        if threading.current_thread() is not self._worker:
            self._worker.join(wait_s)

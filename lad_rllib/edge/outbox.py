"""The way of images back to those who asked for them, and how tasks ended."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from lad_rllib.edge.clock import ScaledClock
from lad_rllib.edge.engines.engine import EngineOutput
from lad_rllib.edge.queue import QueuedTask, link_delay_s
from lad_rllib.edge.record import TaskRecord, TaskResult

MAX_OUTCOMES = 1000
"""Ended tasks that a server remembers."""


class Outcomes:
    """How the tasks of a server ended.

    Attributes:
        served: Images delivered.
        failed: Tasks that ended otherwise.
    """

    def __init__(self) -> None:
        self.served = self.failed = 0
        self._latest: OrderedDict[str, str] = OrderedDict()

    def add(self, task_id: str, error: str) -> None:
        """Remember how a task ended: an error's name, or empty for an image."""
        self._latest[task_id] = error
        self._latest.move_to_end(task_id)
        while len(self._latest) > MAX_OUTCOMES:
            self._latest.popitem(last=False)

    def of(self, task_id: str) -> str | None:
        """How a task ended; None if that is not known."""
        return self._latest.get(task_id)


class Outbox:
    """Images on their way to those who asked for them, over the server's emulated link.

    Args:
        server: Name of the server.
        clock: The server's.
        link_rate_mbit_per_s: Rate of the link, or None [Mbit/s].
        changed: Guards the state of the server.
        outcomes: Of the server.
        fail: Ends a task with an error.

    Attributes:
        image_mbit: Size of the latest image [Mbit].
    """

    def __init__(
        self,
        server: str,
        clock: ScaledClock,
        link_rate_mbit_per_s: float | None,
        changed: threading.Condition,
        outcomes: Outcomes,
        fail: Callable[[QueuedTask, BaseException], object],
    ) -> None:
        self._server, self._clock, self._link_rate = server, clock, link_rate_mbit_per_s
        self._changed, self._outcomes, self._fail = changed, outcomes, fail
        self.image_mbit = 0.0
        self._timers: dict[QueuedTask, threading.Timer | None] = {}
        self._delivering = 0
        self._is_closed = False

    @property
    def is_busy(self) -> bool:
        """Whether any image is on its way."""
        return bool(self._timers or self._delivering)

    def has(self, task_id: str) -> bool:
        """Whether a task's image is on its way."""
        return any(entry.task.task_id == task_id for entry in self._timers)

    def send(self, entry: QueuedTask, output: EngineOutput) -> None:
        """Deliver a task's image after its download, for which the caller does not wait.

        Raises:
            EdgeError: if the task was cancelled after its last step.
        """
        download_s = link_delay_s(output.image_mbit, self._link_rate)
        with self._changed:
            if entry.stop is not None:
                raise entry.stop
            entry.output, self.image_mbit, timer = output, output.image_mbit, None
            if download_s > 0 and not self._is_closed:
                timer = threading.Timer(self._clock.wall_s(download_s), self._deliver, [entry])
                timer.daemon = True
                timer.start()
            self._timers[entry] = timer
        if timer is None:
            self._deliver(entry)

    def close(self) -> None:
        """Deliver what is on its way at once."""
        with self._changed:
            self._is_closed, timers = True, dict(self._timers)
        for entry, timer in timers.items():
            if timer is not None:
                timer.cancel()
            self._deliver(entry)

    def _deliver(self, entry: QueuedTask) -> None:
        with self._changed:
            if entry not in self._timers:
                return  # closing the server has delivered it
            del self._timers[entry]
            self._delivering += 1
        try:
            result = self._result(entry)
        except BaseException as error:
            self._fail(entry, error)
        else:
            with self._changed:
                self._outcomes.served += 1
                self._outcomes.add(entry.task.task_id, "")
            entry.resolve(result)
        with self._changed:
            self._delivering -= 1
            self._changed.notify_all()

    def _result(self, entry: QueuedTask) -> TaskResult:
        """What the owner of a task gets that is delivered now."""
        assert entry.output is not None
        task, output, delivered_s = entry.task, entry.output, self._clock.now_s()
        record = TaskRecord(
            **output.record() | {"model": entry.model},
            task_id=task.task_id,
            server=self._server,
            seed=task.seed,
            steps_asked=task.denoising_steps,
            cold_start=entry.cold_start,
            predicted_delay_s=entry.predicted_delay_s,
            upload_s=entry.arrives_s - entry.submitted_s,
            waiting_s=entry.started_s - entry.arrives_s + entry.suspended_s,
            suspended_s=entry.suspended_s,
            interruptions=entry.interruptions,
            load_s=entry.load_s,
            per_step_s=output.denoise_s / max(1, output.steps_done),
            computing_s=entry.finished_s - entry.started_s - entry.suspended_s,
            download_s=delivered_s - entry.finished_s,
            total_s=delivered_s - entry.submitted_s,
            started=entry.started,
            finished=time.time(),
        )
        return TaskResult(record, output.png, output.more_pngs)

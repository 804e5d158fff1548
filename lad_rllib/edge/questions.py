"""What an edge server answers while it works: status, progress, health, and what it expects of itself."""

from __future__ import annotations

import time
from collections import Counter

from lad_rllib.edge.engines.engine import EngineDescription
from lad_rllib.edge.fit import DelayFit
from lad_rllib.edge.status import ServerHealth, ServerStatus, TaskProgress
from lad_rllib.edge.task import ImageTask
from lad_rllib.edge.worker import ServingLoop


class Questions(ServingLoop):
    """The questions of :class:`~lad_rllib.edge.server.EdgeServer`. None of them waits for an image."""

    queue_limit: int
    stall_s: float

    def status(self) -> ServerStatus:
        """The server at this moment: state, queue, running task, counts and delay model."""
        with self._changed:
            running = self._running
            steps = sum(entry.task.denoising_steps for entry in self._queue)
            if running is not None:
                steps += max(0, running.task.denoising_steps - running.step)
            return ServerStatus(
                name=self.name,
                state=self._state,
                reason=self._reason,
                tasks_queued=len(self._queue),
                queue_limit=self.queue_limit,
                work_queued_steps=steps,
                work_queued_s=self._work_queued_s(),
                running_task_id=running.task.task_id if running else None,
                running_step=running.step if running else 0,
                running_steps=running.task.denoising_steps if running else 0,
                tasks_served=self._served,
                tasks_failed=self._failed,
                since=self._since,
                time=time.time(),
                fit=self.fit(),
            )

    def progress(self, task_id: str) -> TaskProgress:
        """Where a task is; state ``unknown`` if the server does not know it (any more)."""
        with self._changed:
            running = self._running
            if running is not None and running.task.task_id == task_id:
                return TaskProgress(task_id, "running", 0, running.step, running.task.denoising_steps)
            entry = self._queue.find(task_id)
            if entry is not None:
                ahead = self._queue.ahead_of(entry) + (running is not None)
                return TaskProgress(task_id, "queued", ahead, 0, entry.task.denoising_steps)
            if any(entry.task.task_id == task_id for entry in self._sending):
                return TaskProgress(task_id, "sending")
            if task_id not in self._outcomes:
                return TaskProgress(task_id, "unknown")
            error = self._outcomes[task_id]
            return TaskProgress(task_id, "failed" if error else "done", error=error)

    def health(self) -> ServerHealth:
        """Whether the server should get tasks: ready, its thread alive, and its running task not stuck."""
        with self._changed:
            running = self._running
            idle_s = 0.0 if running is None else self.clock.now_s() - running.progress_s
            if self._state != "ready":
                reason = f"{self.name} is {self._state}" + (f": {self._reason}" if self._reason else "")
            elif not self._worker.is_alive():
                reason = f"{self.name} has lost its thread; restart it"
            elif running is not None and idle_s > self.stall_s:
                reason = f"{self.name}: task {running.task.task_id} did no step for {idle_s:.0f} s; restart the server"
            else:
                reason = ""
            return ServerHealth(not reason, reason, idle_s, self._since)

    def describe(self) -> EngineDescription:
        """What the server's engine is."""
        return self.engine.describe()

    def fit(self, size: tuple[int, int] | None = None) -> DelayFit | None:
        """Computing delay as learned from the images served so far; for the engine's default size if none is named."""
        return self._delays.fit(size or self._size_of(None))

    def predict_computing_s(self, task: ImageTask) -> float | None:
        """Predicted computing delay of a task on this server [s]; None before anything is known."""
        fit = self.fit(self._size_of(task))
        return None if fit is None else fit.predict_s(task.denoising_steps)

    def _size_of(self, task: ImageTask | None) -> tuple[int, int]:
        """Width and height [pixel] with the engine's defaults filled in; 0 where even the engine knows none yet."""
        return self._filled_in(None, None) if task is None else self._filled_in(task.width, task.height)

    def _filled_in(self, width: int | None, height: int | None) -> tuple[int, int]:
        engine = self.engine.describe()
        return (width or engine.width or 0, height or engine.height or 0)

    def _work_queued_s(self) -> float | None:
        alike = Counter((entry.task.width, entry.task.height, entry.task.denoising_steps) for entry in self._queue)
        waiting: list[float | None] = []
        for (width, height, steps), number in alike.items():  # few kinds of tasks, however long the queue is
            fit = self.fit(self._filled_in(width, height))
            waiting.append(None if fit is None else number * fit.predict_s(steps))
        running = self._running
        if running is not None:
            rest_s = self.predict_computing_s(running.task)
            elapsed_s = self.clock.now_s() - running.started_s if running.started_s else 0.0
            waiting.append(None if rest_s is None else max(0.0, rest_s - elapsed_s))
        return None if None in waiting else sum((s for s in waiting if s is not None), 0.0)

"""When the tasks at a server will be done."""

from __future__ import annotations

from lad_rllib.edge.queue import QueuedTask, link_delay_s
from lad_rllib.edge.worker import Worker


class QueueForecast:
    """Predicted times of the tasks that a server has now. Whoever asks holds the lock of the worker's ``changed``.

    Args:
        worker: The server's.
        link_rate_mbit_per_s: Rate of the server's link, or None [Mbit/s].
    """

    def __init__(self, worker: Worker, link_rate_mbit_per_s: float | None) -> None:
        self._worker, self._link_rate = worker, link_rate_mbit_per_s

    def work_queued_s(self) -> float | None:
        """Time until all are done [s]; None before anything is known."""
        work_s = self._worker.prediction.work_s([entry.task for entry in self._worker.queue.in_order()])
        return None if work_s is None else self._begun_s() + work_s[0]

    def delay_s(self, entry: QueuedTask) -> float | None:
        """Service delay of a task that has just been submitted, if no other comes that is served before it [s]."""
        ahead = [other.task for other in self._worker.queue.ahead_of(entry)]
        work_s = self._worker.prediction.work_s([*ahead, entry.task])
        if work_s is None:
            return None
        all_s, own_s = work_s
        download_s = link_delay_s(self._worker.outbox.image_mbit, self._link_rate)
        return max(entry.arrives_s - entry.submitted_s, self._begun_s() + all_s - own_s) + own_s + download_s

    def _begun_s(self) -> float:
        """Time that the running task and the suspended ones still take [s]."""
        service_s, running = self._worker.prediction.service_s, self._worker.running
        suspended_s = sum(service_s(entry.task, entry.steps_left) for entry in self._worker.suspended)
        if running is None:
            return suspended_s
        now_s = self._worker.clock.now_s()
        elapsed_s = now_s - running.started_s - running.suspended_s if running.started_s else 0.0
        return suspended_s + max(0.0, service_s(running.task, running.task.denoising_steps) - elapsed_s)

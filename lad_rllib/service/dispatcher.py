"""Sends each task to the server that a scheduler chooses, and sees to it that every task ends exactly once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from lad_rllib.edge.status import ServerHealth
from lad_rllib.edge.task import ImageTask
from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling import Scheduler
from lad_rllib.service.delivery import Delivery
from lad_rllib.service.desk import Desk
from lad_rllib.service.health import HealthWatch
from lad_rllib.service.pending import PendingTask, Server
from lad_rllib.service.slots import checked_servers
from lad_rllib.service.work_model import WorkModel
from lad_rllib.simulator import EdgeNetwork


class Dispatcher:
    """Dispatches image tasks over edge servers.

    Tasks handed in together are one slot: the scheduler decides for all of them on the servers' predicted queues. A
    server that does not answer is taken out of the choice within two seconds, and its tasks are sent to another server,
    once; it is a choice again as soon as it says that it is well. The first answer to a task ends it, and what comes
    later is dropped: nothing is lost, and nothing is delivered twice.

    If a server is chosen that is out, the task goes to the living one that would be done with it first.

    One thread does all the bookkeeping; methods may be called from any thread. Close it, or use it in a ``with``.

    Args:
        servers: The edge servers, in the order of the network's.
        network: The fleet in the simulator's units (:func:`~lad_rllib.service.work_model.fit_fleet`).
        work: Work of a task in the same units.
        scheduler: Chooses servers. One that has ``num_tasks`` decides for at most so many tasks per station at a time.
            None: whoever hands in tasks names their servers.
        seed: Seed of the scheduler's randomness; None draws one.
        time_scale: Wall seconds per second of the fleet, as its servers have it.
        slots_per_episode: Number the slots modulo this, for policies that remember by slot; None: number on.
        health_period_s: Time between two questions to a server how it is [s, wall clock]; None asks none.
        patience_s: How long a task that cannot go elsewhere waits for a server that does not answer [s, wall clock].
    """

    def __init__(
        self,
        servers: Sequence[Server],
        network: EdgeNetwork,
        work: WorkModel,
        scheduler: Scheduler | None,
        *,
        seed: int | None = None,
        time_scale: float = 1.0,
        slots_per_episode: int | None = None,
        health_period_s: float | None = 0.3,
        patience_s: float = 10.0,
    ) -> None:
        if len(servers) != network.num_servers:
            raise ConfigurationError(
                f"{len(servers)} edge servers were given, the network has {network.num_servers}; make them equal"
            )
        self.servers, self.network, self.work, self.scheduler = list(servers), network, work, scheduler
        self.time_scale = time_scale
        self._closed = False
        self._events: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._errands = ThreadPoolExecutor(4, thread_name_prefix="cancel")
        self._desk = Desk(
            self.servers,
            network,
            work,
            scheduler,
            seed=seed,
            time_scale=time_scale,
            slots_per_episode=slots_per_episode,
            patience_s=patience_s,
            post=self._events.put,
            run_errand=self._errands.submit,
        )
        self._thread = threading.Thread(target=self._work, name="dispatcher", daemon=True)
        if scheduler is not None:
            scheduler.reset(1)
        self._thread.start()
        self._watch = HealthWatch(servers, self._heard, health_period_s) if health_period_s is not None else None

    def __enter__(self) -> Dispatcher:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # Tasks.

    def submit(self, tasks: Sequence[ImageTask], servers: Sequence[int] | None = None) -> list[Future[Delivery]]:
        """Hand in the tasks of a slot; never waits.

        Args:
            tasks: The tasks.
            servers: Index of the server that each is to go to; None: the scheduler chooses.

        Returns:
            A future of each task's :class:`Delivery`, in the same order. It never fails: errors are in the delivery.

        Raises:
            ConfigurationError: for servers that do not fit the tasks or the fleet, or if nobody chooses them.
        """
        if servers is None and self.scheduler is None:
            raise ConfigurationError("the dispatcher has no scheduler; give it one, or name a server for each task")
        named = [None] * len(tasks) if servers is None else checked_servers(servers, len(tasks), len(self.servers))
        now_s = self._desk.now_s()
        pending = [PendingTask(task, now_s, server) for task, server in zip(tasks, named, strict=True)]
        for entry in pending:
            entry.future.set_running_or_notify_cancel()  # a future that is cancelled would not stop the task
        if pending:
            self._do(lambda: self._desk.dispatch(pending))
        return [entry.future for entry in pending]

    def run(
        self, tasks: Sequence[ImageTask], timeout_s: float | None = None, servers: Sequence[int] | None = None
    ) -> list[Delivery]:
        """Hand in the tasks of a slot and wait for all of them, at most ``timeout_s`` for each [s, wall clock]."""
        return [future.result(timeout_s) for future in self.submit(tasks, servers)]

    def cancel(self, task_id: str) -> None:
        """Cancel a task, wherever it is; it ends with ``TaskCancelled`` unless its image is there first."""
        self._do(lambda: self._desk.cancel(task_id))

    @property
    def queue_s(self) -> np.ndarray:
        """Predicted time until a task sent now would start on each server [s], shape (A,)."""
        return self._ask(self._desk.queue_s)

    @property
    def alive(self) -> list[bool]:
        """Which servers are a choice at present."""
        return [book.alive for book in self._desk.books]

    @property
    def duplicates_dropped(self) -> int:
        """Images that came for tasks that had ended."""
        return self._desk.duplicates_dropped

    def close(self) -> None:
        """Stop. Tasks that have not ended end with ``ServerUnavailable``; the servers are left as they are."""
        if self._closed:
            return
        self._closed = True
        if self._watch is not None:
            self._watch.close()
        self._events.put(self._desk.give_up_all)
        self._events.put(None)
        self._thread.join()
        self._errands.shutdown(wait=False, cancel_futures=True)

    def _heard(self, server: int, health: ServerHealth) -> None:
        """How a server is; called from the watch's threads."""
        self._events.put(lambda: self._desk.judge(server, health))

    def _work(self) -> None:
        """What the bookkeeping thread does."""
        while (event := self._events.get()) is not None:
            event()

    def _do(self, event: Callable[[], None]) -> None:
        """Have it done by the thread; called from any."""
        if self._closed:
            raise ConfigurationError("the dispatcher is closed; make another one")
        self._events.put(event)

    def _ask(self, question: Callable[[], Any]) -> Any:
        if threading.current_thread() is self._thread:  # from a callback of a delivery
            return question()
        answer: Future[Any] = Future()
        self._do(lambda: answer.set_result(question()))
        return answer.result()

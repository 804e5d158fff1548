"""Sends each task to the server that a scheduler chooses, and sees to it that every task ends exactly once."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import numpy as np

from lad_rllib.edge.errors import ServerUnavailable
from lad_rllib.edge.status import ServerHealth
from lad_rllib.edge.task import ImageTask
from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling import Scheduler
from lad_rllib.service.delivery import Delivery
from lad_rllib.service.dispatch_loop import DispatchLoop
from lad_rllib.service.health import HealthWatch
from lad_rllib.service.in_flight import PendingTask, Server, TaskHandle
from lad_rllib.service.server_load import ServerView
from lad_rllib.service.slots import checked_servers, warm_up
from lad_rllib.service.work_model import WorkModel
from lad_rllib.simulator import EdgeNetwork

TICK_S = 0.1
"""Time between two looks at tasks that wait at the dispatcher [s, wall clock]."""

CLOSE_S = 2.0
"""Longest wait for the thread, and for servers to hear that their tasks are cancelled, when closing [s, wall clock]."""

_LOG = logging.getLogger("lad_rllib.service")


class Dispatcher:
    """Dispatches image tasks over edge servers.

    Tasks handed in together are one slot: the scheduler decides for all of them on the servers' predicted queues. A
    server that does not answer is marked down within two seconds, and its tasks go to other servers, until each that is
    up has been tried or the deadline has passed; it is back up on its next healthy reply. A task that fails for a
    reason that may be its own is sent to one other server. The first answer to a task ends it, and what comes later is
    dropped: nothing is lost, and nothing is delivered twice.

    If the chosen server is down, the task goes to the one that would be done with it first. If its queue is full, the
    task waits here until there is room. If no server is up, tasks wait for ``patience_s``.

    A server whose latest images took other than the expected time (``DRIFT_FACTOR``) is named in a warning, and its
    measured speed takes the place of the network's.

    Clients that share servers may name their tasks alike: at the servers a task has its name and a random suffix
    (``task-0@9f2c61ab``).

    One thread does all the bookkeeping; methods may be called from any thread. Close it, or use it in a ``with``.

    Args:
        servers: The edge servers, in the order of the network's.
        network: The fleet in the simulator's units (:func:`~lad_rllib.service.work_model.fit_fleet`).
        work: Work of a task in the same units.
        scheduler: Chooses servers. One that has ``num_tasks`` decides for at most so many tasks per station at a time.
            It decides for a made-up slot first, so that no task waits for what it loads or compiles. None: whoever
            hands in tasks names their servers.
        seed: Seed of the scheduler's randomness; None draws one.
        time_scale: Wall seconds per second of the fleet, as its servers have it.
        slots_per_episode: Number the slots modulo this, for policies that remember by slot; None: number on.
        health_period_s: Time between two questions to a server how it is [s, wall clock]; None asks none.
        patience_s: How long a task waits while no server is up that it may go to [s, wall clock].
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
        self._gate = threading.Lock()  # nothing is handed in once the dispatcher is closed
        self._open: set[PendingTask] = set()
        self._events: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._errands = ThreadPoolExecutor(4, thread_name_prefix="cancel")
        self._loop = DispatchLoop(
            self.servers,
            network,
            work,
            scheduler,
            seed=seed,
            time_scale=time_scale,
            slots_per_episode=slots_per_episode,
            patience_s=patience_s,
            post=self._events.put,
            run_errand=self._run_errand,
        )
        self._thread = threading.Thread(target=self._work, name="dispatcher", daemon=True)
        if scheduler is not None:
            warm_up(scheduler, network, work)
        self._thread.start()
        self._watch = HealthWatch(servers, self._heard, health_period_s) if health_period_s is not None else None

    def __enter__(self) -> Dispatcher:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # Tasks.

    def submit(self, tasks: Sequence[ImageTask], servers: Sequence[int] | None = None) -> list[TaskHandle]:
        """Hand in the tasks of a slot; never waits.

        Args:
            tasks: The tasks.
            servers: Index of the server that each is to go to; None: the scheduler chooses.

        Returns:
            A future of each task's :class:`Delivery`, in the same order. It never fails: errors are in the delivery.
            Its ``cancel`` cancels the task.

        Raises:
            ConfigurationError: for servers that do not fit the tasks or the fleet, or if nobody chooses them.
        """
        if servers is None and self.scheduler is None:
            raise ConfigurationError("the dispatcher has no scheduler; give it one, or name a server for each task")
        named = [None] * len(tasks) if servers is None else checked_servers(servers, len(tasks), len(self.servers))
        wrong = [task for task in tasks if not isinstance(task, ImageTask)]
        if wrong:
            raise ConfigurationError(f"tasks must be ImageTasks, got {type(wrong[0]).__name__}")
        now_s = self._loop.now_s()
        pending = [
            PendingTask(task, now_s, named=server, future=TaskHandle(self._canceller(task.task_id)))
            for task, server in zip(tasks, named, strict=True)
        ]
        if pending:
            self._do(lambda: self._dispatch(pending), pending)
        return [entry.future for entry in pending]

    def _canceller(self, task_id: str) -> Callable[[], None]:
        def call_off() -> None:
            with contextlib.suppress(ConfigurationError):  # closing has ended it
                self.cancel(task_id)

        return call_off

    def _dispatch(self, pending: list[PendingTask]) -> None:
        try:
            self._loop.dispatch(pending)
        except BaseException as error:
            self._loop.abandon(pending, error)
            raise

    def run(
        self, tasks: Sequence[ImageTask], timeout_s: float | None = None, servers: Sequence[int] | None = None
    ) -> list[Delivery]:
        """Hand in the tasks of a slot and wait for all of them, at most ``timeout_s`` for each [s, wall clock].

        Raises:
            TimeoutError: if that is not enough; the tasks are cancelled then.
        """
        futures = self.submit(tasks, servers)
        try:
            return [future.result(timeout_s) for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    def cancel(self, task_id: str) -> None:
        """Cancel a task, wherever it is; it ends with ``TaskCancelled`` unless its image is there first."""
        self._do(lambda: self._loop.cancel(task_id))

    @property
    def queue_s(self) -> np.ndarray:
        """Predicted time until a task sent now would start on each server [s], shape (A,)."""
        return self._ask(self._loop.queue_s)

    @property
    def alive(self) -> list[bool]:
        """Which servers are up at present."""
        return [load.alive for load in self._loop.loads]

    def server_views(self) -> list[ServerView]:
        """Each server as it is seen from here: up or down, tasks out and held, measured over expected delay."""
        return self._loop.views()

    @property
    def duplicates_dropped(self) -> int:
        """Images that came for tasks that had ended."""
        return self._loop.duplicates_dropped

    def close(self) -> None:
        """Stop. Tasks that have not ended end with ``ServerUnavailable``, and their servers are told to drop them."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
            self._events.put(self._give_up_all)
            self._events.put(None)
        if self._watch is not None:
            self._watch.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_S)  # foreign code may hold it for good
        for entry in list(self._open):
            closed = ServerUnavailable("the dispatcher was closed before the task ended", task_id=entry.task.task_id)
            entry.end("", self._loop.now_s(), None, closed)
        self._errands.shutdown(wait=False, cancel_futures=True)

    def _give_up_all(self) -> None:
        """End every task, and have the servers drop what they still have: nobody wants it any more."""
        told = [self._errands.submit(server.cancel, task_id) for server, task_id in self._loop.give_up_all()]
        wait(told, CLOSE_S / 2)

    def _run_errand(self, function: Callable[..., object], *arguments: object) -> None:
        """Have a call made by another thread; none any more once the dispatcher is closed."""
        with contextlib.suppress(RuntimeError):  # of a pool that was shut down
            self._errands.submit(function, *arguments)

    def _heard(self, server: int, health: ServerHealth) -> None:
        """How a server is; called from the watch's threads."""
        self._events.put(lambda: self._loop.judge(server, health))

    def _work(self) -> None:
        """What the bookkeeping thread does."""
        looked = time.monotonic()
        while True:
            event: Callable[[], None] | None
            try:
                event = self._events.get(timeout=TICK_S if self._loop.is_waiting else None)
                if event is None:
                    return
                self._guard(event)
            except queue.Empty:
                pass
            if self._loop.is_waiting and time.monotonic() - looked > TICK_S:
                self._guard(self._loop.tick)
                looked = time.monotonic()

    def _guard(self, event: Callable[[], None]) -> None:
        """Do one thing; whatever it raises, the thread goes on with the next."""
        try:
            event()
        except BaseException:
            _LOG.exception("the dispatcher goes on after an error")

    def _do(self, event: Callable[[], None], entries: Sequence[PendingTask] = ()) -> None:
        """Have it done by the thread; called from any. Tasks that it is about will end, whatever happens."""
        with self._gate:
            if self._closed:
                raise ConfigurationError("the dispatcher is closed; make another one")
            for entry in entries:
                self._open.add(entry)
                entry.future.add_done_callback(partial(self._ended, entry))
            self._events.put(event)

    def _ended(self, entry: PendingTask, _: Future[Delivery]) -> None:
        self._open.discard(entry)

    def _ask(self, question: Callable[[], Any]) -> Any:
        if threading.current_thread() is self._thread:  # from a callback of a delivery
            return question()
        answer: Future[Any] = Future()

        def reply() -> None:
            try:
                answer.set_result(question())
            except BaseException as error:
                answer.set_exception(error)

        self._do(reply)
        while True:
            try:
                return answer.result(CLOSE_S)
            except TimeoutError:
                if self._closed:
                    raise ConfigurationError("the dispatcher is closed; make another one") from None

"""Sends each task to the server that a scheduler chooses; every task ends exactly once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from lad_rllib.edge.errors import ServerUnavailable
from lad_rllib.edge.task import ImageTask
from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling import Scheduler
from lad_rllib.service.cancelling import Canceller
from lad_rllib.service.delivery import Delivery
from lad_rllib.service.dispatch_loop import DispatchLoop
from lad_rllib.service.event_thread import EventThread
from lad_rllib.service.fleet_load import FleetLoad
from lad_rllib.service.health import HealthWatch
from lad_rllib.service.in_flight import InFlightTask, Server, TaskHandle
from lad_rllib.service.intake import Intake
from lad_rllib.service.offer import Offer
from lad_rllib.service.progress import Progress, asked
from lad_rllib.service.request_model import RequestModel
from lad_rllib.service.roster import Roster, order_of
from lad_rllib.service.server_load import ServerLoad
from lad_rllib.service.slots import checked_servers
from lad_rllib.service.work_model import WorkModel
from lad_rllib.simulator import EdgeNetwork
from lad_rllib.simulator.requests import Requests, RequestServer
from lad_rllib.simulator.requests.view import View

if TYPE_CHECKING:
    from lad_rllib.scheduling.request_scheduler import RequestScheduler

Answer = TypeVar("Answer")

CLOSE_S = 2.0
"""Longest wait for the thread, and for servers to hear that their tasks are cancelled, when closing [s, wall clock]."""


class Dispatcher(contextlib.AbstractContextManager["Dispatcher"]):
    """Dispatches image tasks over edge servers.

    A scheduler of slots decides for all tasks that were handed in together, on the servers' predicted queues; one of
    requests for each of them in turn, on what is known then. A server that does not answer is marked down within two
    seconds, and its tasks go to other servers; it is back up on its next healthy reply, and may get them again. They
    end without an image when their deadline has passed, when they were sent twice as often as there are servers, or
    when none that they may go to came up for ``patience_s``. A task that fails for a reason that may be its own is sent
    to one other server. The first answer to a task ends it, and later ones are dropped: no task is lost, and none is
    delivered twice.

    If the chosen server is down, or does not have the task's image model, the task goes to the one that would be done
    with it first. If its queue is full, the task waits here until there is room, in the server's order of service. If
    no server is up that has the model, tasks wait for ``patience_s``; if none has it at all, they end with
    ``InvalidRequest``.

    A server whose latest images took other than the expected time (``DRIFT_FACTOR``) is named in a warning, and its
    measured speed takes the place of the network's.

    Servers may come and go while it serves (:meth:`add`, :meth:`drain`, :meth:`remove`), and the scheduler may be
    swapped. A scheduler of requests begins anew on the fleet as it is then; one that is tied to the servers at the
    start, as those of slots are, is left for least-work-left with a warning.

    Clients that share servers may give their tasks the same names: at the servers a task has its name and a random
    suffix (``task-0@9f2c61ab``).

    One thread does all the bookkeeping; methods may be called from any thread. Close it, or use it in a ``with``.

    Args:
        servers: The edge servers, in the order of the network's, each with a name of its own if others come and go.
        network: The fleet in the simulator's units (:func:`~lad_rllib.service.work_model.fit_fleet`).
        work: Work of a task in the same units.
        scheduler: Chooses servers: a scheduler of slots, or a
            :class:`~lad_rllib.scheduling.request_scheduler.RequestScheduler`. One of slots that has ``num_tasks``
            decides for at most that many per station at a time. It decides for made-up tasks first, so that no task
            waits for what it loads or compiles. None: the caller names the server of each task.
        seed: Seed of the scheduler's randomness; None draws one.
        time_scale: Wall seconds per second of the fleet, as its servers have it.
        slots_per_episode: Number the slots modulo this, for policies that remember by slot; None: number on.
        health_period_s: Time between two health checks of a server [s, wall clock]; None: there are none.
        patience_s: How long a task waits while no server is up that it may go to [s, wall clock].
        requests: What is known of single tasks, from which their delays are predicted, by pixels, images, guidance,
            model and LoRAs, too; a scheduler of requests needs it with a past. None: ``network`` and ``work`` say all.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        network: EdgeNetwork,
        work: WorkModel,
        scheduler: Scheduler | RequestScheduler | None,
        *,
        seed: int | None = None,
        time_scale: float = 1.0,
        slots_per_episode: int | None = None,
        health_period_s: float | None = 0.3,
        patience_s: float = 10.0,
        requests: RequestModel | None = None,
    ) -> None:
        if len(servers) != network.num_servers:
            raise ConfigurationError(
                f"{len(servers)} edge servers were given, the network has {network.num_servers}; make them equal"
            )
        self.network, self.work, self.time_scale = network, work, time_scale
        names, orders = [server.name for server in servers], [order_of(server) for server in servers]
        self._fleet = FleetLoad(names, network, work, time_scale, orders, requests)
        self._in_flight: dict[str, InFlightTask] = {}
        self._thread = EventThread("dispatcher")
        numbered = dict(enumerate(servers))
        self._roster = Roster(numbered, self._fleet, scheduler, np.random.default_rng(seed), slots_per_episode)
        self._loop = DispatchLoop(
            numbered,
            self._fleet,
            self._roster.decider,
            self._in_flight,
            patience_s=patience_s,
            post=self._thread.post,
            canceller=Canceller(numbered),
        )
        self._intake = Intake(
            self._fleet,
            network.num_stations,
            self._in_flight,
            thread=self._thread,
            dispatch=self._loop.dispatch,
            cancel=self._loop.cancel,
        )
        self._thread.begin(self._loop.tick, self._loop.is_waiting)
        on_health = partial(self._thread.post, self._loop.on_health)
        self._watch = HealthWatch(numbered, on_health, health_period_s) if health_period_s is not None else None
        self._roster.begin(self._loop, self._intake.ask, self._watch)

    def __exit__(self, *error: object) -> None:
        self.close()

    def submit(self, tasks: Sequence[ImageTask], servers: Sequence[int] | None = None) -> list[TaskHandle]:
        """Hand in the tasks of a slot; never waits.

        Args:
            tasks: The tasks.
            servers: Position among :attr:`loads` of the server that each is to go to; None: the scheduler chooses.

        Returns:
            A future of each task's :class:`Delivery`, in the same order. It never fails: errors are in the delivery.
            Its ``cancel`` cancels the task.

        Raises:
            ConfigurationError: for servers that do not fit the tasks or the fleet, or if nothing chooses them.
        """
        if servers is None and self.scheduler is None:
            raise ConfigurationError("the dispatcher has no scheduler; give it one, or name a server for each task")
        members = self._fleet.members
        named: list[int | None] = [None] * len(tasks)
        if servers is not None:
            named = [members[position] for position in checked_servers(servers, len(tasks), len(members))]
        wrong = [task for task in tasks if not isinstance(task, ImageTask)]
        if wrong:
            raise ConfigurationError(f"tasks must be ImageTasks, got {type(wrong[0]).__name__}")
        return self._intake.take(tasks, named)

    def admit(self, task: ImageTask, check: Callable[[TaskHandle, View], Answer]) -> Future[Answer]:
        """Hand in a task unless a function refuses it; never waits.

        Args:
            task: The task.
            check: Called in the thread that does the bookkeeping, so it must be quick, with the task's future and with
                what it would meet; that counts all tasks so far. Whatever it raises refuses the task.

        Returns:
            A future of what ``check`` returns, done when the task is on its way, or of what it raises.

        Raises:
            ConfigurationError: if nothing chooses servers.
        """
        if self.scheduler is None:
            raise ConfigurationError("the dispatcher has no scheduler; give it one, or name a server for each task")
        return self._intake.admit(task, check)

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
        """Cancel a task, wherever it is; it ends with ``TaskCancelled`` unless its image arrives first."""
        self._intake.check_open()
        self._thread.post(self._loop.cancel, task_id)

    def progress(self, task_id: str) -> Progress:
        """Where a task is; asks the server that has it, so it may take as long as that server's answers."""
        return asked(*self._intake.ask(partial(self._loop.whereabouts, task_id)))

    def add(self, server: Server, profile: RequestServer, offer: Offer | None = None) -> None:
        """Let a server join the fleet; it gets tasks from the next decision on.

        Args:
            server: The server.
            profile: How long it should take, as the simulator has it.
            offer: What it draws; None: an ordinary image of any model.

        Raises:
            ConfigurationError: if another one has its name.
        """
        self._roster.add(server, profile, offer)

    def drain(self, name: str) -> Future[None]:
        """Send a server no new tasks; what it has it serves.

        Tasks that wait here for room in its queue go to others, if there are any that may get them.

        Returns:
            A future that is done when the server has nothing to do any more.

        Raises:
            ConfigurationError: if there is no such server.
        """
        return self._roster.drain(name)

    def remove(self, name: str) -> Server:
        """Take a server out of the fleet at once; its tasks go to others, and it is told to drop them.

        Returns:
            The server, which still runs.

        Raises:
            ConfigurationError: if there is no such server, or no other.
        """
        return self._roster.remove(name)

    def swap(self, scheduler: Scheduler | RequestScheduler) -> None:
        """Let another scheduler decide from the next decision on.

        Raises:
            ConfigurationError: if it cannot decide for the fleet as it is; the present one goes on then.
        """
        self._roster.swap(scheduler)

    def learn(self, history: Requests) -> None:
        """Let a scheduler of requests begin anew, with other requests of the past; one of slots knows none.

        Args:
            history: Requests from which it knows sizes, models and rate of what comes, the latest last.
        """
        self._roster.learn(history)

    @property
    def scheduler(self) -> Scheduler | RequestScheduler | None:
        """What decides now; None: the caller names the server of each task."""
        return self._roster.scheduler

    @property
    def queue_s(self) -> NDArray[np.float64]:
        """Predicted time until each server is done with what it has [s], shape (A,); counts all tasks so far."""
        return self._intake.ask(self._fleet.queue_s)

    def view(self, task: ImageTask) -> View:
        """What a task that is handed in now would meet on each server; counts all tasks so far."""
        return self._intake.ask(partial(self._fleet.view, task))

    @property
    def now_s(self) -> float:
        """The fleet's clock, by which tasks arrive [s]."""
        return self._fleet.now_s()

    @property
    def servers_up(self) -> list[bool]:
        """Which servers are up at present."""
        return [load.is_up for load in self._fleet.present]

    @property
    def loads(self) -> list[ServerLoad]:
        """Each server as it is seen from here, by the servers' order: read them, and leave them as they are."""
        return list(self._fleet.present)

    @property
    def duplicates_dropped(self) -> int:
        """Images that came for tasks that had ended."""
        return self._loop.duplicates_dropped

    def close(self) -> None:
        """Stop. Tasks that have not ended end with ``ServerUnavailable``, and their servers are told to drop them."""
        if not self._intake.close():
            return
        self._thread.post(self._loop.end_all, CLOSE_S / 2)
        if self._watch is not None:
            self._watch.close()
        self._thread.close(CLOSE_S)
        for entry in list(self._in_flight.values()):  # foreign code hangs in the thread
            closed = ServerUnavailable("the dispatcher was closed before the task ended", task_id=entry.task.task_id)
            entry.end("", self._fleet.now_s(), error=closed)

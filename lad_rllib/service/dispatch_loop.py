"""The dispatcher's own bookkeeping: where each task is, which servers are up, and what happens next."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace

import numpy as np

from lad_rllib.edge.errors import (
    DeadlineExceeded,
    EdgeError,
    GenerationFailed,
    InvalidRequest,
    ModelLoadFailed,
    QueueFull,
    ServerUnavailable,
    TaskCancelled,
    one_line,
)
from lad_rllib.edge.record import TaskResult
from lad_rllib.edge.status import ServerHealth
from lad_rllib.edge.task import ImageTask
from lad_rllib.scheduling import Scheduler
from lad_rllib.service.held_tasks import HeldTasks
from lad_rllib.service.in_flight import PendingTask, Server, call_off
from lad_rllib.service.server_load import ServerLoad, ServerView
from lad_rllib.service.slots import check_station, checked_decision, rounds_of, slot_tasks
from lad_rllib.service.work_model import WorkModel
from lad_rllib.simulator import EdgeNetwork

SAY_AGAIN_S = 60.0
"""Time before a server that still drifts is named again [s, wall clock]."""

MOST_LIVES = 2
"""A task is sent at most so many times the number of servers, however often they are started again."""

_LOG = logging.getLogger("lad_rllib.service")


class DispatchLoop:
    """Decides, sends, hears answers, and sees to it that every task ends exactly once. All calls from one thread.

    Servers, network, work, scheduler, seed, time_scale, slots_per_episode and patience_s are those of
    :class:`~lad_rllib.service.dispatcher.Dispatcher`. What a server, a scheduler or a callback raises ends the tasks
    that it was about, never the loop.

    Args:
        post: Has something done in the loop's thread, called from any.
        run_errand: Has a function done in another thread, with arguments: calls that may wait.

    Attributes:
        loads: What is known of each server.
        duplicates_dropped: Images that came for tasks that had ended.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        network: EdgeNetwork,
        work: WorkModel,
        scheduler: Scheduler | None,
        *,
        seed: int | None,
        time_scale: float,
        slots_per_episode: int | None,
        patience_s: float,
        post: Callable[[Callable[[], None]], None],
        run_errand: Callable[..., object],
    ) -> None:
        self.servers, self.network, self.work, self.scheduler = servers, network, work, scheduler
        self.loads = [ServerLoad(server.name) for server in servers]
        self.duplicates_dropped = 0
        self._time_scale, self._patience_s, self._slots_per_episode = time_scale, patience_s, slots_per_episode
        self._post, self._run_errand = post, run_errand
        self._rng = np.random.default_rng(seed)
        self._pending: dict[str, PendingTask] = {}
        self._by_ticket: dict[int, PendingTask] = {}
        self._held = HeldTasks(self.loads)
        self._tickets, self._numbers = itertools.count(), itertools.count()
        self._slot = 0
        self._drift_said = [float("-inf")] * len(servers)

    def now_s(self) -> float:
        """The fleet's clock [s]."""
        return time.perf_counter() / self._time_scale

    def queue_s(self) -> np.ndarray:
        """Predicted time until a task sent now would start on each server [s], shape (A,)."""
        now_s = self.now_s()
        return np.array([load.queue_s(now_s) for load in self.loads])

    def views(self) -> list[ServerView]:
        """The servers as they are seen from here."""
        return [
            ServerView(
                name=load.name,
                alive=load.alive,
                reason=load.reason,
                tasks_out=len(load.work_s),
                tasks_held=self._held.length(server),
                over_expected=load.speed.over_expected,
                has_drifted=load.speed.has_drifted,
            )
            for server, load in enumerate(self.loads)
        ]

    # A slot's tasks.

    def dispatch(self, pending: list[PendingTask]) -> None:
        """Send the tasks of a slot where they are to go; without named servers decide first, round by round."""
        good = [entry for entry in pending if self._admit(entry)]
        if not good or good[0].named is not None:
            self._send_round(good, [entry.named for entry in good if entry.named is not None])
            return
        tasks, most = [entry.task for entry in good], getattr(self.scheduler, "num_tasks", None)
        for places in rounds_of(tasks, self.network.num_stations, most):
            entries = [good[position] for position, _, _ in places]
            try:
                chosen = self._decide(tasks, places)
            except BaseException as error:  # foreign code: a scheduler that fails must not lose tasks
                for entry in entries:
                    self._end(entry, error=GenerationFailed(f"the scheduler failed: {one_line(error)}"))
            else:
                self._send_round(entries, chosen)

    def _admit(self, entry: PendingTask) -> bool:
        """Whether a task may go on its way; one that may not is ended."""
        try:
            check_station(entry.task, self.network.num_stations)
            if entry.task.task_id in self._pending:
                raise InvalidRequest(f"task_id {entry.task.task_id} is already on its way; give each its own")
        except EdgeError as error:
            self._end(entry, error=error)
            return False
        self._pending[entry.task.task_id], entry.number = entry, next(self._numbers)
        return True

    def _decide(self, tasks: list[ImageTask], places: list[tuple[int, int, int]]) -> list[int]:
        """The scheduler's server for each task of a round."""
        assert self.scheduler is not None  # submit has seen to it
        slot = self._slot if self._slots_per_episode is None else self._slot % self._slots_per_episode
        observed = slot_tasks(tasks, places, slot, self._network_now(), self.work, self.queue_s())
        return checked_decision(self.scheduler.decide(observed, self._rng), places, observed)

    def _network_now(self) -> EdgeNetwork:
        """The fleet as schedulers see it: servers that have drifted with the capacity that was measured."""
        if not any(load.speed.has_drifted for load in self.loads):
            return self.network
        over = [load.speed.over_expected if load.speed.has_drifted else 1.0 for load in self.loads]
        return replace(self.network, capacity_gcycles_per_s=self.network.capacity_gcycles_per_s / over)

    def _send_round(self, entries: list[PendingTask], servers: list[int]) -> None:
        for entry, server in zip(entries, servers, strict=True):
            entry.slot = self._slot
            self._place(entry, server)
        self._slot += bool(entries)

    # One task.

    def _place(self, entry: PendingTask, server: int | None = None) -> None:
        """Send a task to a server, or to the best other one if that is not a choice; else keep it, or end it."""
        if self._is_over(entry):
            return
        choices = self._others(entry)
        if not choices:
            if self._may_wait(entry):
                self._held.park(entry)
            else:
                self._end(entry, error=entry.last_error or ServerUnavailable(f"no edge server is left ({self._why()})"))
            return
        if server not in choices:
            server = self._soonest(entry, choices)
        if self._held.length(server) or not self.loads[server].has_room:
            self._held.hold(entry, server, self._computing_s(entry.task, server))
            self._fill(server)
        else:
            self._send(entry, server)

    def _is_over(self, entry: PendingTask) -> bool:
        """End a task that nobody wants any more; whether it was one."""
        error: EdgeError
        left_s = entry.deadline_left_s(self.now_s())
        if entry.cancelled:
            error = TaskCancelled(f"task {entry.task.task_id} was cancelled")
        elif left_s is not None and left_s <= 0:
            error = DeadlineExceeded(f"its deadline of {entry.task.deadline_s} s passed")
        else:
            return entry.future.done()
        self._end(entry, error=error)
        return True

    def _others(self, entry: PendingTask) -> list[int]:
        """Servers that are up and have not had the task, unless it was sent often enough."""
        if entry.attempts >= MOST_LIVES * len(self.servers):
            return []
        return [i for i, load in enumerate(self.loads) if load.alive and i not in entry.tried]

    def _may_wait(self, entry: PendingTask) -> bool:
        """Whether a server that the task has not tried may be up again in time."""
        waited_s = 0.0 if entry.parked_at is None else time.monotonic() - entry.parked_at
        untried = len(entry.tried) < len(self.servers) and entry.attempts < MOST_LIVES * len(self.servers)
        return untried and waited_s < self._patience_s

    def _why(self) -> str:
        return "; ".join(load.reason for load in self.loads if load.reason) or "all were tried"

    def _soonest(self, entry: PendingTask, choices: list[int]) -> int:
        """The server of these that would be done with the task first."""
        now_s = self.now_s()
        return min(choices, key=lambda i: self.loads[i].queue_s(now_s) + self._computing_s(entry.task, i))

    def _send(self, entry: PendingTask, server: int) -> None:
        entry.attempts += 1
        entry.server, entry.ticket, entry.parked_at = server, next(self._tickets), None
        entry.tried.add(server)
        ticket = entry.ticket
        self._by_ticket[ticket] = entry
        self.loads[server].sent(ticket, self._computing_s(entry.task, server), self.now_s())

        def forward(answer: Future[TaskResult]) -> None:
            self._post(lambda: self._answered(ticket, server, answer))

        try:
            self.servers[server].submit(entry.task_to_send(self.now_s())).add_done_callback(forward)
        except BaseException as error:  # foreign code: it ends this task alone
            raised: Future[TaskResult] = Future()
            raised.set_exception(error if isinstance(error, EdgeError) else GenerationFailed(one_line(error)))
            forward(raised)

    def _expected_s(self, task: ImageTask, server: int) -> float:
        """Computing delay as the fleet's model has it [s]."""
        workload = self.work.workload_gcycles(task.denoising_steps)
        return workload / float(self.network.capacity_gcycles_per_s[server])

    def _computing_s(self, task: ImageTask, server: int) -> float:
        """The same at the speed that the server's latest images had [s]."""
        return self._expected_s(task, server) * self.loads[server].speed.over_expected

    # Answers.

    def _answered(self, ticket: int, server: int, answer: Future[TaskResult]) -> None:
        """A server answered an attempt, maybe one that was given up."""
        entry = self._by_ticket.pop(ticket, None)
        if entry is None:
            return  # it answered twice
        self.loads[server].answered(ticket, self.now_s())
        result, error = _outcome(answer)
        if result is not None:
            self._measure(entry.task, server, result)
        if entry.future.done():
            self.duplicates_dropped += result is not None
        elif result is not None:
            if ticket != entry.ticket:  # the attempt that was given up came through: the other one is not needed
                self._run_errand(self.servers[entry.server].cancel, entry.name_at_servers)
            self._end(entry, result=result, server=server)
        elif error is not None and ticket == entry.ticket:
            self._failed(entry, server, error)
        self._fill(server)

    def _failed(self, entry: PendingTask, server: int, error: EdgeError) -> None:
        """The present attempt of a task failed: send it to another server, or end it.

        An error of the server sends it on until every server that is up has been tried; one that may be the task's own
        fault once; one that surely is ends it.
        """
        entry.ticket, entry.last_error = -1, error
        if isinstance(error, QueueFull):
            self._refused(entry, server)
        elif isinstance(error, (ServerUnavailable, ModelLoadFailed)) or error.needs_restart:
            if self.loads[server].alive:
                self._lose(server, str(error))
            self._place(entry)
        elif error.of_engine and not entry.own_failures and self._others(entry):
            entry.own_failures += 1
            self._place(entry)
        elif not entry.cancelled or not self._is_over(entry):
            self._end(entry, error=error, server=server)

    def _refused(self, entry: PendingTask, server: int) -> None:
        """A server had no room for a task: it counts as not tried, and waits its turn."""
        entry.attempts -= 1
        entry.tried.discard(server)
        entry.last_error = None
        self.loads[server].refused()
        self._place(entry, None)

    def _fill(self, server: int) -> None:
        """Give a server that has room the tasks that wait for it."""
        load = self.loads[server]
        while load.has_room and (entry := self._held.next_for(server)) is not None:
            if not self._is_over(entry):
                self._send(entry, server)
        if not self._held.length(server) and not load.work_s:
            load.room = None  # nobody waits, so nothing is known to be full

    def _measure(self, task: ImageTask, server: int, result: TaskResult) -> None:
        """Learn from an image how fast its server is at present, and say if that is not what was expected."""
        if result.record.cold_start:
            return
        load = self.loads[server]
        load.speed.add(result.record.computing_s - result.record.load_s, self._expected_s(task, server))
        if load.speed.has_drifted and time.monotonic() - self._drift_said[server] > SAY_AGAIN_S:
            self._drift_said[server] = time.monotonic()
            _LOG.warning(
                "edge server %s takes %.2g times as long as expected; its measured speed is used from now on. "
                "Calibrate the fleet again if that lasts",
                load.name,
                load.speed.over_expected,
            )

    # Servers.

    def judge(self, server: int, health: ServerHealth) -> None:
        """A server said how it is, or did not answer."""
        load = self.loads[server]
        restarted = 0 < load.since != health.since > 0  # so quickly, maybe, that no question went without an answer
        load.since = health.since or load.since
        lost = f"edge server {load.name} was started again and has lost its tasks"
        if restarted:
            self._allow_again(server)
            self._lose(server, lost) if load.alive else self._give_up_kept(server, lost)
            load.given_up.clear()  # nothing is left there to be cancelled
        elif health.healthy:
            self._take_back(server)
        elif load.alive:
            self._lose(server, health.reason, may_return=True)

    def _allow_again(self, server: int) -> None:
        """Tasks may be sent to a server that was started again, but not for ever: they may be the cause."""
        for entry in self._pending.values():
            entry.tried.discard(server)

    def _kept(self, server: int) -> list[PendingTask]:
        """Tasks that nobody but a server that is down can still answer."""
        given_up = self.loads[server].given_up
        return [entry for entry in self._held.parked if entry.server == server and entry.ticket in given_up]

    def _give_up_kept(self, server: int, reason: str) -> None:
        for entry in self._kept(server):
            self._held.remove(entry)
            self._failed(entry, server, ServerUnavailable(reason, server=self.loads[server].name))

    def _take_back(self, server: int) -> None:
        """A server is up, maybe again; it need not work through what others do or have done meanwhile."""
        load = self.loads[server]
        was_down, load.alive, load.reason = not load.alive, True, ""
        if was_down:
            kept = {entry.ticket: entry for entry in self._kept(server)}
            for ticket, name in load.given_up.items():
                if ticket in kept:
                    self._held.remove(kept[ticket])
                    kept[ticket].parked_at = None
                    load.sent(ticket, self._computing_s(kept[ticket].task, server), self.now_s())
                else:
                    self._run_errand(self.servers[server].cancel, name)
            load.given_up.clear()
            self._place_parked()
        self._fill(server)

    def _place_parked(self) -> None:
        """Place the tasks for which there is a server now."""
        for entry in self._held.parked:
            if self._others(entry):
                self._held.remove(entry)
                self._place(entry)

    def _lose(self, server: int, reason: str, may_return: bool = False) -> None:
        """Mark a server down, and send elsewhere what it owes.

        What cannot go elsewhere ends, or, if the server may return, stays with it for some time.
        """
        load = self.loads[server]
        load.alive, load.reason, load.room = False, reason, None
        for ticket in load.forget():
            entry = self._by_ticket[ticket]
            load.given_up[ticket] = entry.name_at_servers
            if entry.ticket != ticket or entry.future.done():
                continue
            if may_return and not entry.cancelled and not self._others(entry):
                self._held.park(entry)
            else:
                self._failed(entry, server, ServerUnavailable(reason, server=load.name, task_id=entry.task.task_id))
        for entry in self._held.line_of(server):
            self._place(entry)

    # Time.

    @property
    def is_waiting(self) -> bool:
        """Whether something is to be done when time passes, even if nobody says anything."""
        return bool(self._held)

    def tick(self) -> None:
        """Time has passed: end what has waited too long, and try whether full servers have room again."""
        for entry in list(self._held):
            left_s = entry.deadline_left_s(self.now_s())
            if left_s is not None and left_s <= 0:
                self._is_over(entry)
        for entry in self._held.parked:
            if time.monotonic() - (entry.parked_at or 0.0) > self._patience_s:
                waited = f"no edge server was up for {self._patience_s:g} s ({self._why()})"
                self._end(entry, error=entry.last_error or ServerUnavailable(waited))
        for server, load in enumerate(self.loads):
            load.try_more()
            self._fill(server)

    # Ends.

    def abandon(self, entries: Sequence[PendingTask], error: BaseException) -> None:
        """End the tasks among these that got nowhere, since handing them in failed."""
        for entry in entries:
            if entry.ticket < 0 and not self._held.has(entry) and not entry.future.done():
                self._end(entry, error=GenerationFailed(f"the dispatcher failed: {one_line(error)}"))

    def cancel(self, task_id: str) -> None:
        """Call a task off, wherever it is."""
        entry = self._pending.get(task_id)
        if entry is None:
            return
        entry.cancelled = True  # in case its server is lost before it hears of it
        if entry.ticket in self.loads[entry.server].work_s:
            self._run_errand(call_off, entry, self.servers)
        else:
            self._is_over(entry)

    def give_up_all(self) -> list[tuple[Server, str]]:
        """End every task; returns the server of each that is still at one and its name there, to be cancelled."""
        at_servers = [
            (self.servers[server], self._by_ticket[ticket].name_at_servers)
            for server, load in enumerate(self.loads)
            for ticket in load.work_s
        ]
        for entry in list(self._pending.values()):
            self._end(entry, error=ServerUnavailable("the dispatcher was closed before the task ended"))
        return at_servers

    def _end(
        self,
        entry: PendingTask,
        *,
        result: TaskResult | None = None,
        error: EdgeError | None = None,
        server: int | None = None,
    ) -> None:
        """The one end of a task."""
        if self._pending.get(entry.task.task_id) is entry:
            del self._pending[entry.task.task_id]
        if self._held:
            self._held.remove(entry)
        answered_by = entry.server if server is None else server
        name = self.servers[answered_by].name if answered_by >= 0 else ""
        if error is not None:
            error.server, error.task_id = error.server or name or None, entry.task.task_id
            error.args = (str(error).replace(entry.name_at_servers, entry.task.task_id),)
        entry.end(name, self.now_s(), result, error)


def _outcome(answer: Future[TaskResult]) -> tuple[TaskResult | None, EdgeError | None]:
    """The result of an answer, or its error by one of the names; whatever else a server may give is a failure."""
    try:
        result = answer.result()
    except EdgeError as error:
        return None, error
    except BaseException as error:  # foreign code; a future that was cancelled, too
        return None, GenerationFailed(one_line(error))
    if isinstance(result, TaskResult):
        return result, None
    return None, GenerationFailed(f"the server answered {type(result).__name__}, not a TaskResult")

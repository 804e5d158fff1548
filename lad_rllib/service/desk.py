"""The dispatcher's own bookkeeping: where each task is, which servers are a choice, and what happens next."""

from __future__ import annotations

import itertools
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
    ServerUnavailable,
    TaskCancelled,
    one_line,
)
from lad_rllib.edge.record import TaskResult
from lad_rllib.edge.status import ServerHealth
from lad_rllib.edge.task import ImageTask
from lad_rllib.scheduling import Scheduler
from lad_rllib.service.books import ServerBook
from lad_rllib.service.pending import PendingTask, Server, call_off
from lad_rllib.service.slots import check_station, rounds_of, slot_tasks
from lad_rllib.service.work_model import WorkModel
from lad_rllib.simulator import EdgeNetwork

MOST_ATTEMPTS = 2
"""A task is sent to one server, and once more to another if that one fails it."""


class Desk:
    """Decides, sends, hears answers, and sees to it that every task ends exactly once. All calls from one thread.

    Servers, network, work, scheduler, seed, time_scale, slots_per_episode and patience_s are those of
    :class:`~lad_rllib.service.dispatcher.Dispatcher`.

    Args:
        post: Has something done in the desk's thread, called from any.
        run_errand: Has a function done in another thread, with arguments: calls that may wait.

    Attributes:
        books: What is known of each server.
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
        self.books = [ServerBook(server.name) for server in servers]
        self.duplicates_dropped = 0
        self._time_scale, self._patience_s, self._slots_per_episode = time_scale, patience_s, slots_per_episode
        self._post, self._run_errand = post, run_errand
        self._rng = np.random.default_rng(seed)
        self._pending: dict[str, PendingTask] = {}
        self._by_ticket: dict[int, PendingTask] = {}
        self._tickets = itertools.count()
        self._slot = 0

    def now_s(self) -> float:
        """The fleet's clock [s]."""
        return time.perf_counter() / self._time_scale

    def queue_s(self) -> np.ndarray:
        """Predicted time until a task sent now would start on each server [s], shape (A,)."""
        now_s = self.now_s()
        return np.array([book.queue_s(now_s) for book in self.books])

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
            except Exception as error:  # a scheduler that fails must not lose tasks
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
        self._pending[entry.task.task_id] = entry
        return True

    def _decide(self, tasks: list[ImageTask], places: list[tuple[int, int, int]]) -> list[int]:
        """The scheduler's server for each task of a round."""
        assert self.scheduler is not None  # submit has seen to it
        slot = self._slot if self._slots_per_episode is None else self._slot % self._slots_per_episode
        observed = slot_tasks(tasks, places, slot, self.network, self.work, self.queue_s())
        chosen = self.scheduler.decide(observed, self._rng)[0]
        return [range(len(self.servers))[chosen[station, index]] for _, station, index in places]

    def _send_round(self, entries: list[PendingTask], servers: list[int]) -> None:
        for entry, server in zip(entries, servers, strict=True):
            entry.slot = self._slot
            self._send(entry, server)
        self._slot += bool(entries)

    def _send(self, entry: PendingTask, server: int) -> None:
        """Send a task to a server, or to another one if it is out."""
        if server in entry.tried or not self.books[server].alive:
            others = self._others(entry)
            if not others:
                reasons = "; ".join(book.reason for book in self.books if book.reason) or "all were tried"
                self._end(entry, error=ServerUnavailable(f"no edge server is left for the task ({reasons})"))
                return
            waits = self.queue_s()
            server = min(others, key=lambda i: waits[i] + self._computing_s(entry.task, i))
        left_s = entry.deadline_left_s(self.now_s())
        if left_s is not None and left_s <= 0:
            self._end(entry, error=DeadlineExceeded(f"its deadline of {entry.task.deadline_s} s passed"))
            return
        entry.attempts += 1
        entry.server, entry.ticket = server, next(self._tickets)
        entry.tried.add(server)
        self._by_ticket[entry.ticket] = entry
        self.books[server].sent(entry.ticket, self._computing_s(entry.task, server), self.now_s())
        task = entry.task if left_s is None else replace(entry.task, deadline_s=left_s)
        future = self.servers[server].submit(task)
        ticket = entry.ticket
        future.add_done_callback(lambda answer: self._post(lambda: self._answered(ticket, server, answer)))

    def _computing_s(self, task: ImageTask, server: int) -> float:
        workload = self.work.workload_gcycles(task.denoising_steps)
        return workload / float(self.network.capacity_gcycles_per_s[server])

    def _answered(self, ticket: int, server: int, answer: Future[TaskResult]) -> None:
        """A server answered an attempt, maybe one that was given up."""
        self.books[server].answered(ticket, self.now_s())
        entry = self._by_ticket.pop(ticket)
        error = answer.exception()
        if entry.future.done():
            self.duplicates_dropped += error is None
        elif error is None:
            if ticket != entry.ticket:  # the attempt that was given up came through: the other one is not needed
                self._run_errand(self.servers[entry.server].cancel, entry.task.task_id)
            self._end(entry, result=answer.result(), server=server)
        elif ticket == entry.ticket:
            if isinstance(error, (ServerUnavailable, ModelLoadFailed)):
                self._lose(server, str(error))
            self._failed(entry, server, error if isinstance(error, EdgeError) else GenerationFailed(one_line(error)))

    def _failed(self, entry: PendingTask, server: int, error: EdgeError) -> None:
        """The present attempt of a task failed: send it to another server, or end it."""
        if entry.cancelled:
            error = TaskCancelled(f"task {entry.task.task_id} was cancelled")
        elsewhere = error.retryable or isinstance(error, ModelLoadFailed)  # others have one
        if elsewhere and self._may_try_again(entry):
            self._send(entry, server)
        else:
            self._end(entry, error=error, server=server)

    def _may_try_again(self, entry: PendingTask) -> bool:
        return entry.attempts < MOST_ATTEMPTS and bool(self._others(entry))

    def _others(self, entry: PendingTask) -> list[int]:
        """Living servers that a task was not yet sent to."""
        return [i for i, book in enumerate(self.books) if book.alive and i not in entry.tried]

    def judge(self, server: int, health: ServerHealth) -> None:
        """A server said how it is, or did not answer."""
        book = self.books[server]
        restarted = 0 < book.since != health.since > 0  # so quickly, maybe, that no question went without an answer
        book.since = health.since or book.since
        lost = f"edge server {book.name} was started again and has lost its tasks"
        if restarted and book.alive:
            self._lose(server, lost)
        elif restarted:
            self._end_kept(server, lost)
        elif health.healthy:
            self._take_back(server)
        elif book.alive:
            self._lose(server, health.reason, may_return=True)
        elif time.monotonic() - book.out_since > self._patience_s:
            self._end_kept(server, health.reason)

    def _kept(self, server: int) -> list[PendingTask]:
        """Tasks that nobody but a server that is out can still answer."""
        entries = [self._pending.get(task_id) for task_id in self.books[server].given_up]
        return [entry for entry in entries if entry is not None and entry.server == server]

    def _end_kept(self, server: int, reason: str) -> None:
        for entry in self._kept(server):
            self._end(entry, error=ServerUnavailable(reason, server=self.books[server].name))

    def _take_back(self, server: int) -> None:
        """A server is a choice, maybe again; it need not work through what others do or have done meanwhile."""
        book = self.books[server]
        kept = {entry.task.task_id: entry for entry in self._kept(server)}
        for task_id in book.given_up:
            if task_id in kept:
                ticket, task = kept[task_id].ticket, kept[task_id].task
                book.sent(ticket, self._computing_s(task, server), self.now_s())
            else:
                self._run_errand(self.servers[server].cancel, task_id)
        book.given_up.clear()
        book.alive, book.reason = True, ""

    def _lose(self, server: int, reason: str, may_return: bool = False) -> None:
        """Take a server out of the choice, and send elsewhere what it owes.

        What cannot go elsewhere ends, or, if the server may return, stays with it for some time.
        """
        book = self.books[server]
        book.alive, book.reason, book.out_since = False, reason, time.monotonic()
        for ticket in book.forget():
            entry = self._by_ticket[ticket]
            book.given_up.append(entry.task.task_id)
            stays = may_return and not entry.cancelled and not self._may_try_again(entry)
            if entry.ticket == ticket and not entry.future.done() and not stays:
                self._failed(entry, server, ServerUnavailable(reason, server=book.name, task_id=entry.task.task_id))

    def cancel(self, task_id: str) -> None:
        """Call a task off, wherever it is."""
        entry = self._pending.get(task_id)
        if entry is not None:
            entry.cancelled = True  # in case its server is lost before it hears of it
            self._run_errand(call_off, entry, self.servers)

    def give_up_all(self) -> None:
        """End every task."""
        for entry in list(self._pending.values()):
            self._end(entry, error=ServerUnavailable("the dispatcher was closed before the task ended"))

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
        answered_by = entry.server if server is None else server
        name = self.servers[answered_by].name if answered_by >= 0 else ""
        if error is not None:
            error.server, error.task_id = error.server or name or None, entry.task.task_id
        entry.end(name, self.now_s(), result, error)

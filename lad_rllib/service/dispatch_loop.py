"""The dispatch loop: where each task goes next, as tasks, answers and health reports come in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial

from lad_rllib.edge.errors import (
    DeadlineExceeded,
    EdgeError,
    GenerationFailed,
    ModelLoadFailed,
    QueueFull,
    ServerUnavailable,
    TaskCancelled,
    one_line,
)
from lad_rllib.edge.record import TaskResult
from lad_rllib.edge.status import ServerHealth
from lad_rllib.service.cancelling import Canceller
from lad_rllib.service.deciders import Decider
from lad_rllib.service.held_tasks import HeldTasks
from lad_rllib.service.in_flight import Attempt, InFlightTask, Server
from lad_rllib.service.server_load import FleetLoad


class DispatchLoop:
    """Chooses servers, sends tasks, and takes answers, so that every task ends exactly once.

    It has no thread; all calls come from one. What a server, a scheduler or a callback raises ends the tasks concerned,
    never the loop.

    Args:
        servers: The edge servers.
        fleet: What is known of them.
        decider: Chooses servers; None: each task names its own.
        in_flight: The tasks that have not ended, by their ids; the loop removes those that end.
        patience_s: See :class:`~lad_rllib.service.dispatcher.Dispatcher`.
        post: Has a call made from the loop's thread, ``post(function, *arguments)``; from any thread.
        canceller: Has servers drop attempts.

    Attributes:
        duplicates_dropped: Images that came for tasks that had ended.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        fleet: FleetLoad,
        decider: Decider | None,
        in_flight: dict[str, InFlightTask],
        *,
        patience_s: float,
        post: Callable[..., None],
        canceller: Canceller,
    ) -> None:
        self.duplicates_dropped = 0
        self._servers, self._fleet, self._loads, self._decider = servers, fleet, fleet.servers, decider
        self._in_flight, self._held = in_flight, HeldTasks(fleet.servers)
        self._patience_s, self._post, self._canceller = patience_s, post, canceller
        self._slot = 0

    # A slot's tasks.

    def dispatch(self, entries: Sequence[InFlightTask]) -> None:
        """Send the tasks of a slot to the servers that they name, or that the scheduler chooses round by round."""
        try:
            for together, servers in self._rounds(entries):
                for entry, server in zip(together, servers, strict=True):
                    entry.slot = self._slot
                    self._place(entry, server)
                self._slot += 1
        except BaseException as error:
            for entry in entries:
                if entry.attempt is None and entry not in self._held and not entry.future.done():
                    self._end(entry, error=GenerationFailed(f"the dispatcher failed: {one_line(error)}"))
            raise

    def _rounds(self, entries: Sequence[InFlightTask]) -> Iterator[tuple[Sequence[InFlightTask], list[int]]]:
        """The tasks of each decision round with their servers; each is decided when those before have been sent."""
        if entries[0].named is not None:
            yield entries, [entry.named for entry in entries if entry.named is not None]
            return
        assert self._decider is not None  # else tasks name their servers
        for together, decide in self._decider.rounds(entries):
            try:
                servers = decide(self._slot)
            except BaseException as error:  # foreign code
                for entry in together:
                    self._end(entry, error=GenerationFailed(f"the scheduler failed: {one_line(error)}"))
            else:
                yield together, servers

    # One task.

    def _place(self, entry: InFlightTask, server: int | None = None) -> None:
        """Send a task to a server, or to the best one that may get it; else hold it, or end it."""
        if self._is_over(entry):
            return
        if server is None or not self._fleet.may_get(entry, server):
            choices = self._fleet.choices(entry)
            if not choices:
                self._park_or_end(entry)
                return
            server = self._fleet.soonest(entry.task, choices)
        if self._loads[server].tasks_held or not self._loads[server].has_room:
            self._held.hold(entry, server, *self._fleet.work_s(entry.task, server))
            self._fill(server)
        else:
            self._send(entry, server)

    def _is_over(self, entry: InFlightTask) -> bool:
        """Whether a task has ended; one that was cancelled, or is past its deadline, ends now."""
        error: EdgeError
        left_s = entry.deadline_left_s(self._fleet.now_s())
        if entry.cancelled:
            error = TaskCancelled(f"task {entry.task.task_id} was cancelled")
        elif left_s is not None and left_s <= 0:
            error = DeadlineExceeded(f"its deadline of {entry.task.deadline_s} s passed")
        else:
            return entry.future.done()
        self._end(entry, error=error)
        return True

    def _park_or_end(self, entry: InFlightTask) -> None:
        """Keep a task while a server that has not had it may come up in time; else end it."""
        waited_s = 0.0 if entry.parked_at is None else time.monotonic() - entry.parked_at
        is_untried = len(entry.tried) < len(self._loads) and self._fleet.has_attempts_left(entry)
        if is_untried and waited_s < self._patience_s:
            self._held.park(entry)
        else:
            none_left = ServerUnavailable(f"no edge server is left ({self._fleet.why_down()})")
            self._end(entry, error=entry.last_error or none_left)

    def _send(self, entry: InFlightTask, server: int) -> None:
        attempt = Attempt(entry, server)
        entry.attempts += 1
        entry.attempt, entry.server, entry.parked_at = attempt, server, None
        entry.tried.add(server)
        now_s = self._fleet.now_s()
        computing_s, swap_s = self._fleet.work_s(entry.task, server)
        self._loads[server].sent(attempt, computing_s, now_s, swap_s)
        answered = partial(self._post, self.on_answer, attempt)
        try:
            self._servers[server].submit(entry.task_to_send(now_s)).add_done_callback(answered)
        except BaseException as error:  # foreign code
            raised: Future[TaskResult] = Future()
            raised.set_exception(error)
            answered(raised)

    # Answers.

    def on_answer(self, attempt: Attempt, answer: Future[TaskResult]) -> None:
        """A server answered an attempt, maybe one that was given up."""
        if attempt.is_answered:
            return
        attempt.is_answered = True
        entry, server = attempt.entry, attempt.server
        result, error = _outcome(answer)
        self._loads[server].answered(attempt, self._fleet.now_s(), with_image=result is not None)
        if result is not None:
            self._fleet.measure(entry.task, server, result.record)
        if entry.future.done():
            self.duplicates_dropped += result is not None
        elif result is not None:
            if entry.attempt is not None and not attempt.is_current:
                self._canceller.cancel(entry.attempt)  # another server need not finish
            self._end(entry, result=result, server=server)
        elif error is not None and attempt.is_current:
            self._fail(attempt, error)
        self._fill(server)

    def _fail(self, attempt: Attempt, error: EdgeError) -> None:
        """The current attempt of a task failed: send it to another server, or end it.

        After an error of the server, a task is sent on until every server that is up has been tried; after one that may
        be the task's own fault, once; after one that certainly is, it ends.
        """
        entry, load = attempt.entry, self._loads[attempt.server]
        entry.attempt, entry.last_error = None, error
        self._held.remove(entry)
        if isinstance(error, QueueFull):  # counts as not tried
            entry.attempts -= 1
            entry.tried.discard(attempt.server)
            entry.last_error = None
            load.refused()
            self._place(entry)
        elif isinstance(error, (ServerUnavailable, ModelLoadFailed)) or error.needs_restart:
            if load.is_up:
                self._mark_down(attempt.server, str(error))
            self._place(entry)
        elif error.of_engine and not entry.own_failures and self._fleet.choices(entry):
            entry.own_failures += 1
            self._place(entry)
        elif not entry.cancelled or not self._is_over(entry):
            self._end(entry, error=error, server=attempt.server)

    def _fill(self, server: int) -> None:
        """Give a server that has room the tasks that wait for it."""
        load = self._loads[server]
        while load.has_room and (entry := self._held.next_for(server)) is not None:
            if not self._is_over(entry):
                self._send(entry, server)
        if not load.tasks_held and not load.work_s:
            load.room = None  # nothing waits or is in flight, so no limit is known

    # Servers.

    def on_health(self, server: int, health: ServerHealth) -> None:
        """A server reported its health, or did not answer."""
        load = self._loads[server]
        if load.has_restarted(health):  # perhaps so quickly that it was never seen down
            self._on_restart(server, f"edge server {load.name} was started again and has lost its tasks")
        elif health.healthy:
            self._mark_up(server)
        elif load.is_up:
            self._mark_down(server, health.reason, may_return=True)

    def _on_restart(self, server: int, reason: str) -> None:
        """A server has lost its tasks; they may be sent to it again, but not for ever: they may be the cause."""
        for entry in list(self._in_flight.values()):
            entry.tried.discard(server)
        load = self._loads[server]
        if load.is_up:
            self._mark_down(server, reason)
        else:
            for attempt in load.given_up:
                if attempt.is_current:
                    self._fail(attempt, ServerUnavailable(reason, server=load.name))
        load.given_up.clear()  # there is nothing left to be cancelled
        load.forget()

    def _mark_down(self, server: int, reason: str, may_return: bool = False) -> None:
        """Send no tasks to a server, and what it has to others.

        A task that no other server may get ends or, if the server may return, stays with it for some time.
        """
        load = self._loads[server]
        for attempt in load.mark_down(reason):
            entry = attempt.entry
            if not attempt.is_current:
                continue
            if may_return and not entry.cancelled and not self._fleet.choices(entry):
                self._held.park(entry)
            else:
                self._fail(attempt, ServerUnavailable(reason, server=load.name, task_id=entry.task.task_id))
        for entry in self._held.take_line(server):
            self._place(entry)

    def _mark_up(self, server: int) -> None:
        """Send tasks to a server again; it drops those that others have or have done, and keeps the others."""
        load = self._loads[server]
        if not load.is_up:
            for attempt in load.mark_up():
                if attempt.is_current:
                    entry = attempt.entry
                    self._held.remove(entry)
                    entry.parked_at = None
                    computing_s, swap_s = self._fleet.work_s(entry.task, server)
                    load.sent(attempt, computing_s, self._fleet.now_s(), swap_s)
                else:
                    self._canceller.cancel(attempt)
            for entry in self._held.parked:
                if self._fleet.choices(entry):
                    self._held.remove(entry)
                    self._place(entry)
        self._fill(server)

    # Time.

    def is_waiting(self) -> bool:
        """Whether :meth:`tick` has something to do."""
        return bool(self._held)

    def tick(self) -> None:
        """Time has passed: end what has waited too long, and try whether full servers have room again."""
        for entry in list(self._held):
            self._is_over(entry)
        for entry in self._held.parked:
            if time.monotonic() - (entry.parked_at or 0.0) > self._patience_s:
                waited = f"no edge server was up for {self._patience_s:g} s ({self._fleet.why_down()})"
                self._end(entry, error=entry.last_error or ServerUnavailable(waited))
        for server, load in enumerate(self._loads):
            load.expect_more_room()
            self._fill(server)

    # Ends.

    def cancel(self, task_id: str) -> None:
        """Cancel a task, wherever it is."""
        entry = self._in_flight.get(task_id)
        if entry is None:
            return
        entry.cancelled = True  # in case its server is lost before it hears of it
        if entry.attempt is not None and entry.attempt in self._loads[entry.server].work_s:
            self._canceller.cancel(entry.attempt, retry=True)
        else:
            self._is_over(entry)

    def end_all(self, timeout_s: float) -> None:
        """End every task, and have the servers drop theirs; wait at most ``timeout_s`` for them [s, wall clock]."""
        at_servers = [attempt for load in self._loads for attempt in load.work_s]
        for entry in list(self._in_flight.values()):
            self._end(entry, error=ServerUnavailable("the dispatcher was closed before the task ended"))
        self._canceller.cancel_all(at_servers, timeout_s)

    def _end(
        self,
        entry: InFlightTask,
        *,
        result: TaskResult | None = None,
        error: EdgeError | None = None,
        server: int | None = None,
    ) -> None:
        """The one end of a task."""
        if self._in_flight.get(entry.task.task_id) is entry:
            del self._in_flight[entry.task.task_id]
        self._held.remove(entry)
        entry.attempt = None
        answered_by = entry.server if server is None else server
        name = self._servers[answered_by].name if answered_by >= 0 else ""
        if error is not None:
            error.server, error.task_id = error.server or name or None, entry.task.task_id
            error.args = (str(error).replace(entry.name_at_servers, entry.task.task_id),)
        entry.end(name, self._fleet.now_s(), result=result, error=error)


def _outcome(answer: Future[TaskResult]) -> tuple[TaskResult | None, EdgeError | None]:
    """The result of an answer, or its error by one of the names; whatever else a server may give is a failure."""
    try:
        result = answer.result()
    except EdgeError as error:
        return None, error
    except BaseException as error:  # foreign code; also a future that was cancelled
        return None, GenerationFailed(one_line(error))
    if isinstance(result, TaskResult):
        return result, None
    return None, GenerationFailed(f"the server answered {type(result).__name__}, not a TaskResult")

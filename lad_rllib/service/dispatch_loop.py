"""The dispatch loop: what happens as tasks, answers and health reports come in, and as servers come and go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial

from lad_rllib.edge.errors import (
    EdgeError,
    GenerationFailed,
    ModelLoadFailed,
    QueueFull,
    ServerUnavailable,
    one_line,
)
from lad_rllib.edge.record import TaskResult
from lad_rllib.edge.status import ServerHealth
from lad_rllib.service.cancelling import Canceller
from lad_rllib.service.deciders import Decider
from lad_rllib.service.fleet_load import FleetLoad
from lad_rllib.service.in_flight import Attempt, InFlightTask, Server
from lad_rllib.service.progress import Progress
from lad_rllib.service.request_model import RequestModel
from lad_rllib.service.sending import Sender
from lad_rllib.service.server_load import ServerLoad


class DispatchLoop:
    """Has servers chosen and tasks sent, and takes answers, so that every task ends exactly once.

    It has no thread; all calls come from one. What a server, a scheduler or a callback raises ends the tasks concerned,
    never the loop.

    Args:
        servers: The edge servers by their numbers; the loop adds those that join, and removes those that have left.
        fleet: What is known of them.
        decider: Chooses servers; None: each task names its own.
        in_flight: The tasks that have not ended, by their ids; the loop removes those that end.
        patience_s: See :class:`~lad_rllib.service.dispatcher.Dispatcher`.
        post: Has a call made from the loop's thread, ``post(function, *arguments)``; from any thread.
        canceller: Has servers drop attempts.

    Attributes:
        decider: See above; it may be another one from one decision to the next.
        duplicates_dropped: Images that came for tasks that had ended.
    """

    def __init__(
        self,
        servers: dict[int, Server],
        fleet: FleetLoad,
        decider: Decider | None,
        in_flight: dict[str, InFlightTask],
        *,
        patience_s: float,
        post: Callable[..., None],
        canceller: Canceller,
    ) -> None:
        self.decider, self.duplicates_dropped = decider, 0
        self._servers, self._fleet, self._loads, self._in_flight = servers, fleet, fleet.loads, in_flight
        self._sender = Sender(servers, fleet, in_flight, patience_s, partial(post, self.on_answer))
        self._held, self._canceller = self._sender.held, canceller
        self._slot = 0

    # A slot's tasks.

    def dispatch(self, entries: Sequence[InFlightTask]) -> None:
        """Send the tasks of a slot to the servers that they name, or that the scheduler chooses round by round."""
        try:
            for together, servers in self._rounds(entries):
                decided_s = self._fleet.now_s()
                for entry, server in zip(together, servers, strict=True):
                    entry.slot, entry.decided_s = self._slot, decided_s
                    entry.future.chosen = self._loads[server].name
                    self._sender.place(entry, server)
                self._slot += 1
        except BaseException as error:
            for entry in entries:
                if entry.attempt is None and entry not in self._held and not entry.future.done():
                    self._sender.end(entry, error=GenerationFailed(f"the dispatcher failed: {one_line(error)}"))
            raise

    def _rounds(self, entries: Sequence[InFlightTask]) -> Iterator[tuple[Sequence[InFlightTask], list[int]]]:
        """The tasks of each decision round with their servers; each is decided when those before have been sent."""
        if entries[0].named is not None:
            yield entries, [entry.named for entry in entries if entry.named is not None]
            return
        assert self.decider is not None  # else tasks name their servers
        for together, decide in self.decider.rounds(entries):
            try:
                servers = [self._fleet.members[position] for position in decide(self._slot)]
            except BaseException as error:  # foreign code
                for entry in together:
                    self._sender.end(entry, error=GenerationFailed(f"the scheduler failed: {one_line(error)}"))
            else:
                yield together, servers

    # Answers.

    def on_answer(self, attempt: Attempt, answer: Future[TaskResult]) -> None:
        """A server answered an attempt, maybe one that was given up."""
        if attempt.is_answered:
            return
        attempt.is_answered = True
        entry, server, load = attempt.entry, attempt.server, self._loads[attempt.server]
        result, error = _outcome(answer)
        if error is not None:
            error.args = (str(error).replace(attempt.name, entry.task.task_id),)
        load.backlog.answered(attempt, self._fleet.now_s(), with_image=result is not None)
        load.unanswered -= 1
        if result is not None:
            self._fleet.measure(entry.task, server, result.record)
        if entry.future.done():
            self.duplicates_dropped += result is not None
        elif result is not None:
            if entry.attempt is not None and not attempt.is_current:
                self._canceller.cancel(entry.attempt)  # another server need not finish
            self._sender.end(entry, result=result, server=server)
        elif error is not None and attempt.is_current:
            self._fail(attempt, error)
        if self._fleet.has_left(server):
            self._forget(server)
        else:
            self._sender.fill(server)

    def _fail(self, attempt: Attempt, error: EdgeError) -> None:
        """The current attempt of a task failed: send it to another server, or end it.

        After an error of the server, a task is sent on until every server that is up has been tried, to one that came
        back again; after one that may be the task's own fault, once; after one that certainly is, it ends.
        """
        entry, load = attempt.entry, self._loads[attempt.server]
        entry.attempt, entry.last_error = None, error
        self._held.remove(entry)
        if isinstance(error, QueueFull):  # counts as not tried
            entry.attempts -= 1
            entry.tried.discard(attempt.server)
            entry.last_error = None
            load.refused()
            self._sender.place(entry)
        elif isinstance(error, (ServerUnavailable, ModelLoadFailed)) or error.needs_restart:
            if load.is_up:
                self._mark_down(attempt.server, str(error))
            self._sender.place(entry)
        elif error.of_engine and not entry.own_failures and self._fleet.choices(entry):
            entry.own_failures += 1
            self._sender.place(entry)
        elif not entry.cancelled or not self._sender.is_over(entry):
            self._sender.end(entry, error=error, server=attempt.server)

    # Health of servers.

    def on_health(self, server: int, health: ServerHealth) -> None:
        """A server reported its health, or did not answer."""
        if self._fleet.has_left(server):
            return
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
        self._give_up(server, reason)
        load = self._loads[server]
        load.given_up.clear()  # there is nothing left to be cancelled
        load.backlog.forget()

    def _give_up(self, server: int, reason: str) -> None:
        """What a server has will not come, whether it is up or was marked down before."""
        load = self._loads[server]
        if load.is_up:
            self._mark_down(server, reason)
            return
        for attempt in load.given_up:
            if attempt.is_current:
                self._fail(attempt, ServerUnavailable(reason, server=load.name))

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
            self._sender.place(entry)
        load.note_idle()

    def _mark_up(self, server: int) -> None:
        """Send tasks to a server again; it drops those that others have or have done, and keeps the others."""
        load = self._loads[server]
        if not load.is_up:
            for entry in list(self._in_flight.values()):
                if entry.attempt is None or entry.server != server:  # it was given up, and may be sent here again
                    entry.tried.discard(server)
            for attempt in load.mark_up():
                if attempt.is_current:
                    entry = attempt.entry
                    self._held.remove(entry)
                    entry.parked_at = None
                    computing_s, swap_s = self._fleet.work_s(entry.task, server)
                    load.backlog.sent(attempt, computing_s, self._fleet.now_s(), swap_s)
                else:
                    self._canceller.cancel(attempt)
            self._sender.place_parked()
        self._sender.fill(server)

    # Servers that come and go.

    def join(
        self, number: int, server: Server, load: ServerLoad, requests: RequestModel, decider: Decider | None
    ) -> None:
        """A server joins the fleet; ``requests`` and ``decider`` are those of the fleet with it."""
        self._servers[number] = server
        self._fleet.join(number, load, requests)
        self.decider = decider
        self._sender.place_parked()

    def know(self, requests: RequestModel, decider: Decider | None) -> None:
        """Other requests of the past are known; arguments as of :meth:`join`."""
        self._fleet.requests, self.decider = requests, decider

    def drain(self, server: int) -> Future[None]:
        """Send a server no new tasks; those that it has, or that no other server may get, it serves."""
        load = self._loads[server]
        idle = load.drain()
        for entry in self._held.take_line(server):
            if self._fleet.choices(entry):
                self._sender.place(entry)
            else:
                self._sender.hold(entry, server)
        self._sender.fill(server)
        return idle

    def leave(self, server: int, requests: RequestModel, decider: Decider | None) -> None:
        """A server leaves the fleet, and what it has goes to others; arguments as of :meth:`join`."""
        load = self._loads[server]
        self._fleet.leave(server, requests)
        self.decider = decider
        self._give_up(server, f"edge server {load.name} was taken out of the fleet")
        for attempt in load.given_up:
            self._canceller.cancel(attempt)
        load.note_idle()
        self._forget(server)

    def _forget(self, server: int) -> None:
        """Forget a server that has left once it has answered all."""
        if not self._loads[server].unanswered:
            del self._loads[server], self._servers[server]
            self._held.forget(server)

    # Questions.

    def is_waiting(self) -> bool:
        """Whether :meth:`tick` has something to do."""
        return bool(self._held)

    def tick(self) -> None:
        """Time has passed."""
        self._sender.tick()

    def whereabouts(self, task_id: str) -> tuple[Progress, Server | None, str]:
        """Where a task is as far as known here; the server that knows more, and the task's name there."""
        entry = self._in_flight.get(task_id)
        if entry is None:
            return Progress(task_id, "unknown"), None, ""
        attempt, steps = entry.attempt, entry.task.denoising_steps
        load = None if attempt is None else self._loads.get(attempt.server)
        if attempt is None or load is None or attempt not in load.backlog.work_s:
            return Progress(task_id, "waiting", of=steps), None, ""
        begun = attempt is load.backlog.running
        ahead, start_s = (0, 0.0) if begun else load.backlog.ahead_of(entry, self._fleet.now_s())
        known = Progress(task_id, "running" if begun else "queued", load.name, ahead, 0, steps, start_s)
        return known, self._servers[attempt.server], attempt.name

    # Ends.

    def cancel(self, task_id: str) -> None:
        """Cancel a task, wherever it is."""
        entry = self._in_flight.get(task_id)
        if entry is None:
            return
        entry.cancelled = True  # in case its server is lost before it hears of it
        if entry.attempt is not None and entry.attempt in self._loads[entry.server].backlog.work_s:
            self._canceller.cancel(entry.attempt, retry=True)
        else:
            self._sender.is_over(entry)

    def end_all(self, timeout_s: float) -> None:
        """End every task, and have the servers drop theirs; wait at most ``timeout_s`` for them [s, wall clock]."""
        at_servers = [attempt for load in self._loads.values() for attempt in load.backlog.work_s]
        for entry in list(self._in_flight.values()):
            self._sender.end(entry, error=ServerUnavailable("the dispatcher was closed before the task ended"))
        self._canceller.cancel_all(at_servers, timeout_s)


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

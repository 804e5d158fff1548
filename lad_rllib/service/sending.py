"""The way of a task: to a server, into a line, to the next server, and to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial

from lad_rllib.declared import shown, suggestion
from lad_rllib.edge.errors import DeadlineExceeded, EdgeError, InvalidRequest, ServerUnavailable, TaskCancelled
from lad_rllib.edge.record import TaskResult
from lad_rllib.service.fleet_load import FleetLoad
from lad_rllib.service.held_tasks import HeldTasks
from lad_rllib.service.in_flight import Attempt, InFlightTask, Server


class Sender:
    """Sends tasks to servers, holds those that must wait, and ends them.

    Args:
        servers: The edge servers by their numbers.
        fleet: What is known of them.
        in_flight: The tasks that have not ended, by their ids; those that end are removed.
        patience_s: See :class:`~lad_rllib.service.dispatcher.Dispatcher`.
        on_answer: Called with an attempt and its answer, from any thread.

    Attributes:
        held: The tasks that wait here.
    """

    def __init__(
        self,
        servers: Mapping[int, Server],
        fleet: FleetLoad,
        in_flight: dict[str, InFlightTask],
        patience_s: float,
        on_answer: Callable[[Attempt, Future[TaskResult]], None],
    ) -> None:
        self.held = HeldTasks(fleet.loads)
        self._servers, self._fleet, self._in_flight = servers, fleet, in_flight
        self._patience_s, self._on_answer = patience_s, on_answer

    def place(self, entry: InFlightTask, server: int | None = None) -> None:
        """Send a task to a server, or to the best one that may get it; else hold it, or end it."""
        if self.is_over(entry):
            return
        if server is None or not self._fleet.may_get(entry, server):
            choices = self._fleet.choices(entry)
            if not choices:
                self._park_or_end(entry)
                return
            server = self._fleet.soonest(entry.task, choices)
        load = self._fleet.loads[server]
        if load.backlog.tasks_held or not load.has_room:
            self.hold(entry, server)
            self.fill(server)
        else:
            self._send(entry, server)

    def hold(self, entry: InFlightTask, server: int) -> None:
        """Let a task wait here for room in a server's queue."""
        self.held.hold(entry, server, *self._fleet.work_s(entry.task, server))

    def fill(self, server: int) -> None:
        """Give a server that has room the tasks that wait for it."""
        load = self._fleet.loads[server]
        while load.has_room and (entry := self.held.next_for(server)) is not None:
            if not self.is_over(entry):
                self._send(entry, server)
        if not load.backlog:
            load.room = None  # nothing waits or is in flight, so no limit is known
        load.note_idle()

    def place_parked(self) -> None:
        """A server may be there for tasks that were parked."""
        for entry in self.held.parked:
            if self._fleet.choices(entry):
                self.held.remove(entry)
                self.place(entry)

    def tick(self) -> None:
        """Time has passed: end what has waited too long, and try whether full servers have room again."""
        for entry in list(self.held):
            self.is_over(entry)
        for entry in self.held.parked:
            if time.monotonic() - (entry.parked_at or 0.0) > self._patience_s:
                waited = f"no edge server was up for {self._patience_s:g} s ({self._fleet.why_down()})"
                self.end(entry, error=entry.last_error or ServerUnavailable(waited))
        for server in self._fleet.members:
            self._fleet.loads[server].expect_more_room()
            self.fill(server)

    def is_over(self, entry: InFlightTask) -> bool:
        """Whether a task has ended; one that was cancelled, or is past its deadline, ends now."""
        error: EdgeError
        left_s = entry.deadline_left_s(self._fleet.now_s())
        if entry.cancelled:
            error = TaskCancelled(f"task {entry.task.task_id} was cancelled")
        elif left_s is not None and left_s <= 0:
            error = DeadlineExceeded(f"its deadline of {entry.task.deadline_s} s passed")
        else:
            return entry.future.done()
        self.end(entry, error=error)
        return True

    def end(
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
        self.held.remove(entry)
        entry.attempt = None
        answered_by = self._fleet.loads.get(entry.server if server is None else server)
        name = "" if answered_by is None else answered_by.name
        if error is not None:
            error.server, error.task_id = error.server or name or None, entry.task.task_id
        entry.end(name, self._fleet.now_s(), result=result, error=error)

    def _park_or_end(self, entry: InFlightTask) -> None:
        """Keep a task while a server that it may be sent to may come up in time; else end it."""
        waited_s = 0.0 if entry.parked_at is None else time.monotonic() - entry.parked_at
        if not self._fleet.able(entry.task):
            known = dict.fromkeys(model for load in self._fleet.present for model in load.offer.models)
            problem = f"no server has model {shown(entry.task.model)}; {suggestion(str(entry.task.model), known)}"
            self.end(entry, error=entry.last_error or InvalidRequest(problem))
            return
        if self._fleet.may_find_another(entry) and waited_s < self._patience_s:
            self.held.park(entry)
        else:
            none_left = ServerUnavailable(f"no edge server is left ({self._fleet.why_down()})")
            self.end(entry, error=entry.last_error or none_left)

    def _send(self, entry: InFlightTask, server: int) -> None:
        entry.attempts += 1
        attempt = Attempt(entry, server, entry.attempts)
        entry.attempt, entry.server, entry.parked_at = attempt, server, None
        entry.tried.add(server)
        now_s, load = self._fleet.now_s(), self._fleet.loads[server]
        computing_s, swap_s = self._fleet.work_s(entry.task, server)
        load.backlog.sent(attempt, computing_s, now_s, swap_s)
        load.unanswered += 1
        answered = partial(self._on_answer, attempt)
        try:
            self._servers[server].submit(attempt.task_to_send(now_s, load.offer)).add_done_callback(answered)
        except BaseException as error:  # foreign code
            raised: Future[TaskResult] = Future()
            raised.set_exception(error)
            answered(raised)

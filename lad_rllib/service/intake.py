"""The way into a dispatcher: which tasks it takes, and until when."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from functools import partial
from typing import TypeVar

from lad_rllib.edge.errors import InvalidRequest
from lad_rllib.edge.task import ImageTask
from lad_rllib.errors import ConfigurationError
from lad_rllib.service.event_thread import EventThread
from lad_rllib.service.fleet_load import FleetLoad
from lad_rllib.service.in_flight import InFlightTask, TaskHandle
from lad_rllib.simulator.requests.view import View

Answer = TypeVar("Answer")

LOOK_S = 2.0
"""Time between two looks whether who would answer is closed meanwhile [s, wall clock]."""


class Intake:
    """Takes tasks, one batch after the other, and none once it is closed. Methods may be called from any thread.

    Args:
        fleet: What is known of the servers.
        stations: Base stations of the fleet.
        in_flight: The tasks that have not ended, by their ids; those that are taken are added.
        thread: Does the dispatcher's bookkeeping.
        dispatch: Dispatches the valid tasks of a batch; called in that thread.
        cancel: Cancels the task of an id; the same.
    """

    def __init__(
        self,
        fleet: FleetLoad,
        stations: int,
        in_flight: dict[str, InFlightTask],
        thread: EventThread,
        dispatch: Callable[[list[InFlightTask]], object],
        cancel: Callable[[str], object],
    ) -> None:
        self._fleet, self._stations, self._in_flight, self._thread = fleet, stations, in_flight, thread
        self._dispatch, self._cancel = dispatch, cancel
        self._gate = threading.Lock()
        self._is_closed = False
        self._numbers = itertools.count()

    def take(self, tasks: Sequence[ImageTask], named: Sequence[int | None]) -> list[TaskHandle]:
        """Take tasks; one that is not valid ends at once.

        Args:
            tasks: The tasks.
            named: Number of the server that each is to go to; None: the scheduler chooses.
        """
        now_s = self._fleet.now_s()
        with self._gate:
            self.check_open()
            entries = [self._entry(task, server, now_s) for task, server in zip(tasks, named, strict=True)]
            admitted = [entry for entry in entries if not entry.future.done()]
            if admitted:
                self._thread.post(self._dispatch, admitted)
        return [entry.future for entry in entries]

    def admit(self, task: ImageTask, check: Callable[[TaskHandle, View], Answer]) -> Future[Answer]:
        """See :meth:`~lad_rllib.service.dispatcher.Dispatcher.admit`."""
        now_s = self._fleet.now_s()
        with self._gate:
            self.check_open()
            return self._thread.ask(partial(self._admit, task, now_s, check))

    def ask(self, question: Callable[[], Answer]) -> Answer:
        """What a function says in the thread that does the bookkeeping."""
        self.check_open()
        answer = self._thread.ask(question)
        while not wait([answer], LOOK_S).done:  # the scheduler may take long
            self.check_open()
        return answer.result()

    def check_open(self) -> None:
        """Raise ``ConfigurationError`` once the dispatcher is closed."""
        if self._is_closed:
            raise ConfigurationError("the dispatcher is closed; make another one")

    def close(self) -> bool:
        """Take no more tasks; returns whether any could come until now."""
        with self._gate:
            was_open, self._is_closed = not self._is_closed, True
        return was_open

    def _admit(self, task: ImageTask, now_s: float, check: Callable[[TaskHandle, View], Answer]) -> Answer:
        with self._gate:
            entry = self._entry(task, None, now_s)
        entry.met = self._fleet.view(task)
        try:
            answer = check(entry.future, entry.met)
        except BaseException:
            if self._in_flight.get(task.task_id) is entry:
                del self._in_flight[task.task_id]
            raise
        if not entry.future.done():
            self._thread.guarded(partial(self._dispatch, [entry]))
        return answer

    def _entry(self, task: ImageTask, server: int | None, now_s: float) -> InFlightTask:
        """A task in flight; one that is not valid ends here."""
        handle = TaskHandle(partial(self._thread.post, self._cancel, task.task_id))
        declared_cost = self._fleet.requests.declared_cost(task)
        entry = InFlightTask(task, now_s, next(self._numbers), server, handle, declared_cost)
        if task.station >= self._stations:
            problem = (
                f"station {task.station} does not exist; the fleet has stations 0 to {self._stations - 1} "
                f"(task {task.task_id})"
            )
        elif task.task_id in self._in_flight:
            problem = f"task_id {task.task_id} is already in flight; give each another one"
        else:
            self._in_flight[task.task_id] = entry
            return entry
        entry.end("", self._fleet.now_s(), error=InvalidRequest(problem, task_id=task.task_id))
        return entry

"""The way into a dispatcher: which tasks it takes, and until when."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from functools import partial

from lad_rllib.edge.errors import InvalidRequest
from lad_rllib.edge.task import ImageTask
from lad_rllib.errors import ConfigurationError
from lad_rllib.service.fleet_load import FleetLoad
from lad_rllib.service.in_flight import InFlightTask, TaskHandle


class Intake:
    """Takes tasks, one batch after the other, and none once it is closed. Methods may be called from any thread.

    Args:
        fleet: What is known of the servers.
        stations: Base stations of the fleet.
        in_flight: The tasks that have not ended, by their ids; those that are taken are added.
        dispatch: Has the valid tasks of a batch dispatched, without waiting for that.
        cancel: Has the task of an id cancelled.
    """

    def __init__(
        self,
        fleet: FleetLoad,
        stations: int,
        in_flight: dict[str, InFlightTask],
        dispatch: Callable[[list[InFlightTask]], object],
        cancel: Callable[[str], object],
    ) -> None:
        self._fleet, self._stations, self._in_flight = fleet, stations, in_flight
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
                self._dispatch(admitted)
        return [entry.future for entry in entries]

    def check_open(self) -> None:
        """Raise ``ConfigurationError`` once the dispatcher is closed."""
        if self._is_closed:
            raise ConfigurationError("the dispatcher is closed; make another one")

    def close(self) -> bool:
        """Take no more tasks; returns whether any could come until now."""
        with self._gate:
            was_open, self._is_closed = not self._is_closed, True
        return was_open

    def _entry(self, task: ImageTask, server: int | None, now_s: float) -> InFlightTask:
        """A task in flight; one that is not valid ends here."""
        handle = TaskHandle(partial(self._cancel, task.task_id))
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

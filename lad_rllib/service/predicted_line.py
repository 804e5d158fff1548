"""The order in which a server is predicted to serve the tasks that wait for it, at the server or at the dispatcher."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator
from weakref import WeakKeyDictionary

from lad_rllib.edge.task import ImageTask
from lad_rllib.service.in_flight import InFlightTask
from lad_rllib.simulator.order import Order, QueueKeys

Place = tuple[float, float]
"""Key of a task in the order of service, and its number, which decides between equal keys; the least is served next."""


class PredictedLine:
    """Tasks that wait for one server, with their work, sorted by place.

    A task keeps the place that it got when it joined first, also if it has left meanwhile: a server that was silent
    still has its tasks, with their keys. Its arrival is when the dispatcher got it.

    Args:
        order: The server's order of service.
    """

    def __init__(self, order: Order) -> None:
        self._keys = QueueKeys(order)
        self._known: WeakKeyDictionary[InFlightTask, Place] = WeakKeyDictionary()
        self._places: list[Place] = []
        self._work_s: list[float] = []
        self._entries: list[InFlightTask] = []

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Place]:
        """Places in the order of service."""
        return iter(self._places)

    def place(self, entry: InFlightTask) -> Place:
        """Place of a task that has joined."""
        return self._known[entry]

    def join(self, entry: InFlightTask, service_s: float, swap_s: float = 0.0) -> Place:
        """Add a task that the server is predicted to work on for so long, and to load models for before [s]."""
        if entry not in self._known:
            asked = _asked(entry.task, entry.submitted_s, service_s)
            self._known[entry] = (self._keys.join(*asked), entry.number)
        place = self._known[entry]
        position = bisect.bisect_left(self._places, place)
        self._places.insert(position, place)
        self._work_s.insert(position, service_s + swap_s)
        self._entries.insert(position, entry)
        return place

    def leave(self, place: Place) -> None:
        """Take a task out."""
        position = bisect.bisect_left(self._places, place)
        del self._places[position], self._work_s[position], self._entries[position]

    def serve(self, place: Place) -> None:
        """Take a task out with which the server begins."""
        self.leave(place)
        self._keys.serve(place[0])

    def idle(self) -> None:
        """The server has nothing to do."""
        self._keys.idle()

    @property
    def work_s(self) -> float:
        """Work of all [s]."""
        return sum(self._work_s)

    @property
    def declared_cost(self) -> float:
        """Declared cost of all."""
        return sum(entry.declared_cost for entry in self._entries)

    @property
    def models(self) -> list[str]:
        """Image model of each; empty where a task names none."""
        return [entry.task.model or "" for entry in self._entries]

    def before(self, entry: InFlightTask) -> tuple[int, float]:
        """Tasks that are served before one that waits here, and their work [s]."""
        position = bisect.bisect_left(self._places, self.place(entry))
        return position, sum(self._work_s[:position])

    def met_by(self, task: ImageTask, now_s: float, service_s: float) -> tuple[float, int]:
        """Work ahead of a task that would join now [s], and the number of tasks that it would overtake."""
        key = self._keys.key(*_asked(task, now_s, service_s))
        position = bisect.bisect_left(self._places, (key, math.inf))
        return sum(self._work_s[:position]), len(self) - position


def _asked(task: ImageTask, arrival_s: float, service_s: float) -> tuple[float, float, float, int, str]:
    """What an order's key depends on."""
    return arrival_s, service_s, math.inf if task.deadline_s is None else task.deadline_s, task.priority, task.tenant

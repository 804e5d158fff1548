"""What a dispatcher knows of all servers of its fleet, and what it predicts from that."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lad_rllib.edge.errors import ServerUnavailable
from lad_rllib.edge.record import TaskRecord
from lad_rllib.edge.task import ImageTask
from lad_rllib.service.backlog import Backlog
from lad_rllib.service.in_flight import InFlightTask
from lad_rllib.service.predicted_memory import PredictedMemory
from lad_rllib.service.request_model import RequestModel
from lad_rllib.service.server_load import ServerLoad
from lad_rllib.service.work_model import WorkModel
from lad_rllib.simulator import EdgeNetwork
from lad_rllib.simulator.order import FirstInFirstOut, Order
from lad_rllib.simulator.requests.view import View

FloatArray = NDArray[np.float64]

WARN_AGAIN_S = 60.0
"""Time between two warnings about a server that drifts [s, wall clock]."""

MAX_ATTEMPTS_PER_SERVER = 2
"""A task is sent at most this many times the number of servers, however often they are started again."""

_LOG = logging.getLogger("lad_rllib.service")


class FleetLoad:
    """All servers of a fleet, and its model: how long they should take.

    Each server has a number that it keeps, and that no other server ever gets. Arrays have one value for each server
    that belongs to the fleet now, in the order of :attr:`members`.

    Args:
        names: Names of the servers, numbered from 0.
        network: The fleet in the simulator's units, as it is at first.
        work: Work of a task in the same units.
        time_scale: Wall seconds per second of the fleet.
        orders: Order of service of each server; None: first in, first out.
        requests: What is known of single tasks; None: what follows from ``network`` and ``work``.

    Attributes:
        loads: What is known of each server by its number; of one that has left until it has answered all.
        members: Numbers of the servers that belong to the fleet.
        present: What is known of these, in their order.
        requests: What is known of single tasks on these.
    """

    def __init__(
        self,
        names: Sequence[str],
        network: EdgeNetwork,
        work: WorkModel,
        time_scale: float,
        orders: Sequence[Order] | None = None,
        requests: RequestModel | None = None,
    ) -> None:
        orders = orders or [FirstInFirstOut()] * len(names)
        self.requests = RequestModel.of_work(network, work) if requests is None else requests
        self.loads = {
            number: ServerLoad(name, Backlog(order, PredictedMemory(server)), offer)
            for number, (name, order, server, offer) in enumerate(
                zip(names, orders, self.requests.world.servers, self.requests.offers, strict=True)
            )
        }
        self.members, self.present = tuple(self.loads), tuple(self.loads.values())
        self.network, self.work = network, work
        self._time_scale = time_scale
        self._began_s = self.now_s()

    def join(self, server: int, load: ServerLoad, requests: RequestModel) -> None:
        """A server joins the fleet as its last one; ``requests`` is what is known of tasks on all of them."""
        self.loads[server], self.requests = load, requests
        self.members, self.present = (*self.members, server), (*self.present, load)

    def leave(self, server: int, requests: RequestModel) -> None:
        """A server leaves the fleet; ``requests`` is what is known of tasks on the others."""
        self.members, self.requests = tuple(other for other in self.members if other != server), requests
        self.present = tuple(self.loads[other] for other in self.members)

    def has_left(self, server: int) -> bool:
        """Whether a server has left the fleet."""
        return server not in self.members

    def now_s(self) -> float:
        """The fleet's clock [s]."""
        return time.perf_counter() / self._time_scale

    def queue_s(self) -> FloatArray:
        """Predicted time until each server is done with what it has [s], shape (A,)."""
        now_s = self.now_s()
        return np.array([load.backlog.queue_s(now_s) for load in self.present])

    def view(self, task: ImageTask) -> View:
        """What a task that is handed in now would meet on each server; its clock began with this object.

        It may get one that is up, does not drain, and has its model.
        """
        now_s, backlogs = self.now_s(), [load.backlog for load in self.present]
        service_s = self.computing_s(task)
        met = [one.line.met_by(task, now_s, own_s) for one, own_s in zip(backlogs, service_s.tolist(), strict=True)]
        remaining_s = np.array([backlog.running_left_s(now_s) for backlog in backlogs])
        waiting = [(backlog.memory, backlog.line.models) for backlog in backlogs]
        return View(
            now_s=now_s - self._began_s,
            service_s=service_s,
            swap_s=np.array([memory.swap_s(task, models) for memory, models in waiting]),
            way_s=self.requests.way_s(task),
            remaining_s=remaining_s,
            work_left_s=remaining_s + [backlog.line.work_s for backlog in backlogs],
            ahead_s=remaining_s + [ahead_s for ahead_s, _ in met],
            overtaken=np.array([overtaken for _, overtaken in met], dtype=np.int64),
            tasks=np.array([len(backlog) for backlog in backlogs], dtype=np.int64),
            makes_room=self.requests.model_numbers([memory.makes_room(task, models) for memory, models in waiting]),
            declared=np.array([backlog.declared_cost for backlog in backlogs]),
            up=np.array([load.may_get(task) for load in self.present], dtype=bool),
            facts=self.requests.facts(task),
        )

    def computing_s(self, task: ImageTask) -> FloatArray:
        """Computing delay of a task on each server at the speed that its latest images had [s], shape (A,)."""
        return self.requests.service_s(task) * [load.speed.over_expected for load in self.present]

    def work_s(self, task: ImageTask, server: int) -> tuple[float, float]:
        """Computing delay of a task that joins a server now, and that of loading its model there before [s]."""
        return float(self.computing_s(task)[self.members.index(server)]), self.loads[server].backlog.swap_s(task)

    def has_attempts_left(self, entry: InFlightTask) -> bool:
        """Whether a task may be sent again."""
        return entry.attempts < MAX_ATTEMPTS_PER_SERVER * max(len(self.members), len(entry.tried))

    def may_get(self, entry: InFlightTask, server: int) -> bool:
        """Whether a task may be sent to a server: it belongs to the fleet, may get such tasks, has not had this one."""
        is_open = server in self.members and self.loads[server].may_get(entry.task)
        return is_open and server not in entry.tried and self.has_attempts_left(entry)

    def choices(self, entry: InFlightTask) -> list[int]:
        """The servers that a task may be sent to."""
        return [server for server in self.members if self.may_get(entry, server)]

    def may_find_another(self, entry: InFlightTask) -> bool:
        """Whether a task may be sent to some server once that is up: one that has not had it, or was lost with it."""
        was_lost = isinstance(entry.last_error, ServerUnavailable) and not all(load.is_up for load in self.present)
        return (was_lost or not entry.tried.issuperset(self.able(entry.task))) and self.has_attempts_left(entry)

    def able(self, task: ImageTask) -> list[int]:
        """The servers that have a task's model, up or not."""
        return [server for server in self.members if self.loads[server].offer.has(task.model)]

    def soonest(self, task: ImageTask, choices: Sequence[int]) -> int:
        """The server of these that would be done with a task first."""
        seen = self.view(task)
        delay_s = dict(zip(self.members, (seen.ahead_s + seen.swap_s + seen.service_s).tolist(), strict=True))
        return min(choices, key=lambda server: delay_s[server])

    def measured_network(self) -> EdgeNetwork:
        """The fleet as it is at first, as schedulers see it: servers that have drifted with their measured capacity."""
        if not any(load.speed.has_drifted for load in self.present):
            return self.network
        over = [load.speed.over_expected if load.speed.has_drifted else 1.0 for load in self.present]
        return replace(self.network, capacity_gcycles_per_s=self.network.capacity_gcycles_per_s / over)

    def measure(self, task: ImageTask, server: int, record: TaskRecord) -> None:
        """Learn from an image how fast its server is at present, and warn if it has drifted."""
        if record.cold_start or self.has_left(server):
            return
        load = self.loads[server]
        load.speed.add(record.drawing_s, float(self.requests.service_s(task)[self.members.index(server)]))
        if load.speed.has_drifted and time.monotonic() - load.warned_s > WARN_AGAIN_S:
            load.warned_s = time.monotonic()
            _LOG.warning(
                "edge server %s takes %.2g times as long as expected; its measured speed is used from now on. "
                "Calibrate the fleet again if that lasts",
                load.name,
                load.speed.over_expected,
            )

    def why_down(self) -> str:
        """Why servers get no tasks, or that none is down."""
        reasons = [load.reason or f"{load.name} drains" for load in self.present if load.state != "up"]
        return "; ".join(reasons) or "all were tried"

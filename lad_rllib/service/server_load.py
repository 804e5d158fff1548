"""What a dispatcher knows of servers without asking them: what it sent, what came back, and which are up."""

from __future__ import annotations

import logging
import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lad_rllib.edge.record import TaskRecord
from lad_rllib.edge.status import ServerHealth
from lad_rllib.edge.task import ImageTask
from lad_rllib.service.in_flight import Attempt, InFlightTask
from lad_rllib.service.predicted_line import Place, PredictedLine
from lad_rllib.service.predicted_memory import PredictedMemory
from lad_rllib.service.request_model import RequestModel
from lad_rllib.service.work_model import WorkModel
from lad_rllib.simulator import EdgeNetwork
from lad_rllib.simulator.order import FirstInFirstOut, Order
from lad_rllib.simulator.requests.view import View

FloatArray = NDArray[np.float64]

WINDOW, MIN_IMAGES = 16, 4
"""Latest images that tell how fast a server is at present, and how many are needed."""

DRIFT_FACTOR = 1.5
"""A server that takes more than this times the expected delay, or less than its inverse, has drifted: a warning names
it, and schedulers see its measured speed instead of the calibrated one."""

WARN_AGAIN_S = 60.0
"""Time between two warnings about a server that drifts [s, wall clock]."""

MAX_ATTEMPTS_PER_SERVER = 2
"""A task is sent at most this many times the number of servers, however often they are started again."""

_LOG = logging.getLogger("lad_rllib.service")


class MeasuredSpeed:
    """Computing delays of a server's latest images over those that the fleet's model expects.

    Attributes:
        over_expected: Median of measured over expected delay; 1 while too few images are known.

    >>> speed = MeasuredSpeed()
    >>> for computing_s in (3.0, 3.1, 2.9, 3.0): speed.add(computing_s, expected_s=1.0)
    >>> speed.over_expected, speed.has_drifted
    (3.0, True)
    """

    def __init__(self) -> None:
        self.over_expected = 1.0
        self._ratios: deque[float] = deque(maxlen=WINDOW)

    def add(self, computing_s: float, expected_s: float) -> None:
        """Count an image that took ``computing_s`` instead of ``expected_s`` [s]."""
        if computing_s > 0 and expected_s > 0:
            self._ratios.append(computing_s / expected_s)
            if len(self._ratios) >= MIN_IMAGES:
                self.over_expected = statistics.median(self._ratios)

    @property
    def has_drifted(self) -> bool:
        """Whether the server is slower or faster than expected by more than :data:`DRIFT_FACTOR`."""
        return not 1 / DRIFT_FACTOR <= self.over_expected <= DRIFT_FACTOR


@dataclass
class ServerLoad:
    """A server as its dispatcher sees it: whether it is up, what it works on, and who waits for it.

    Attributes:
        name: The server.
        order: Its order of service.
        memory: Which models and LoRAs it has in memory.
        is_up: Whether it gets tasks at present.
        reason: Why not, one line.
        started: Start of the server as it last said [s since 1970]; 0 before it said anything.
        room: Attempts that it takes at a time, as far as its refusals tell; None: it has refused none.
        work_s: Predicted computing delay of each attempt in flight, its model loaded [s].
        running: The attempt in flight that it works on, as far as its order and its answers tell.
        running_since_s: When it began with that [s].
        running_swap_s: How long it loaded the model of that before [s].
        line: Who waits for it: attempts in flight, and tasks that are held back until it has room.
        given_up: Attempts that were in flight when it was marked down; it may still have them.
        tasks_held: Tasks that wait at the dispatcher for room in its queue.
        speed: How fast it is at present.
    """

    name: str
    order: Order = field(default_factory=FirstInFirstOut)
    memory: PredictedMemory = field(default_factory=PredictedMemory)
    is_up: bool = True
    reason: str = ""
    started: float = 0.0
    room: int | None = None
    work_s: dict[Attempt, float] = field(default_factory=dict)
    running: Attempt | None = None
    running_since_s: float = 0.0
    running_swap_s: float = 0.0
    line: PredictedLine = field(init=False)
    given_up: list[Attempt] = field(default_factory=list)
    tasks_held: int = 0
    speed: MeasuredSpeed = field(default_factory=MeasuredSpeed)

    def __post_init__(self) -> None:
        self._waiting: dict[Place, Attempt] = {}  # those in flight
        self.forget()

    def forget(self) -> None:
        """It has lost its tasks, and what it knew of them; none is in flight or held."""
        self.line = PredictedLine(self.order)

    @property
    def has_room(self) -> bool:
        """Whether it may take another task, as far as known."""
        return self.is_up and (self.room is None or len(self.work_s) < self.room)

    def hold(self, entry: InFlightTask, computing_s: float, swap_s: float = 0.0) -> None:
        """A task waits at the dispatcher for room in its queue; arguments as of :meth:`sent`."""
        self.line.join(entry, computing_s, swap_s)
        self.tasks_held += 1

    def let_go(self, entry: InFlightTask) -> None:
        """A task waits for room no longer."""
        self.line.leave(self.line.place(entry))
        self.tasks_held -= 1

    def sent(self, attempt: Attempt, computing_s: float, now_s: float, swap_s: float = 0.0) -> None:
        """A task was sent; its computing will take ``computing_s``, and loading its model before ``swap_s``."""
        if not self.work_s and not self.line:
            self.line.idle()
        self.work_s[attempt] = computing_s
        self._waiting[self.line.join(attempt.entry, computing_s, swap_s)] = attempt
        if self.running is None:
            self._begin(attempt, now_s)

    def answered(self, attempt: Attempt, now_s: float, *, with_image: bool = True) -> None:
        """An answer came; if the server was at work on that task, it goes on with the next one by now."""
        if self.work_s.pop(attempt, None) is None:
            return
        if attempt is self.running:
            self.running = None
        else:
            self._leave(attempt)
            if with_image and self.running is not None:  # which waits, other than predicted
                place = self.line.join(self.running.entry, self.work_s[self.running], self.running_swap_s)
                self._waiting[place] = self.running
                self.running = None
        if self.running is None and self._waiting:
            self._begin(next(self._waiting[place] for place in self.line if place in self._waiting), now_s)

    def _begin(self, attempt: Attempt, now_s: float) -> None:
        place = self.line.place(attempt.entry)
        self.line.serve(place)
        del self._waiting[place]
        self.running, self.running_since_s = attempt, now_s
        self.running_swap_s = self.memory.use(attempt.entry.task)

    def _leave(self, attempt: Attempt) -> None:
        place = self.line.place(attempt.entry)
        self.line.leave(place)
        del self._waiting[place]

    def refused(self) -> None:
        """It refused a task because its queue was full: it has room for as many as are in flight."""
        in_flight = len(self.work_s)
        self.room = in_flight if self.room is None else min(self.room, in_flight)

    def expect_more_room(self) -> None:
        """Other clients' tasks may have left its queue."""
        if self.room is not None:
            self.room = max(self.room, len(self.work_s)) + 1 + self.room // 4

    def has_restarted(self, health: ServerHealth) -> bool:
        """Whether it has been started again since its health was last reported."""
        before, self.started = self.started, health.since or self.started
        return 0 < before != health.since > 0

    def mark_down(self, reason: str) -> list[Attempt]:
        """It gets no tasks; returns the attempts that were in flight, the running one first."""
        self.is_up, self.reason, self.room = False, reason, None
        attempts = sorted(self.work_s, key=lambda attempt: attempt is not self.running)
        for attempt in self._waiting.values():
            self.line.leave(self.line.place(attempt.entry))
        self.given_up += attempts
        self.work_s.clear()
        self._waiting.clear()
        self.running = None
        return attempts

    def mark_up(self) -> list[Attempt]:
        """It gets tasks again; returns the attempts that were given up."""
        self.is_up, self.reason = True, ""
        attempts, self.given_up = self.given_up, []
        return attempts

    def running_left_s(self, now_s: float) -> float:
        """Predicted time until it is done with the attempt that it works on [s]."""
        if self.running is None:
            return 0.0
        work_s = self.running_swap_s + self.work_s[self.running]
        return work_s - min(work_s, max(0.0, now_s - self.running_since_s))

    def swap_s(self, task: ImageTask) -> float:
        """Predicted time to load a task's model and LoRAs if it joined now [s]."""
        return self.memory.swap_s(task, self.line.models)

    @property
    def declared_cost(self) -> float:
        """Declared cost of all that wait for it or run there."""
        return self.line.declared_cost + (0.0 if self.running is None else self.running.entry.declared_cost)

    def queue_s(self, now_s: float) -> float:
        """Predicted time until all is done that is there now [s]; with ``fifo`` a task sent now would start then.

        >>> from lad_rllib.service.in_flight import TaskHandle
        >>> tasks = [InFlightTask(ImageTask("a", "x", 1), 0.0, i, None, TaskHandle(lambda: None)) for i in range(2)]
        >>> load = ServerLoad("s")
        >>> load.sent(Attempt(tasks[0], 0), 2.0, now_s=10.0); load.sent(Attempt(tasks[1], 0), 3.0, now_s=10.5)
        >>> load.queue_s(11.0)
        4.0
        """
        return self.running_left_s(now_s) + self.line.work_s


class FleetLoad:
    """All servers of a fleet, and its model: how long they should take.

    Args:
        names: Names of the servers.
        network: The fleet in the simulator's units.
        work: Work of a task in the same units.
        time_scale: Wall seconds per second of the fleet.
        orders: Order of service of each server; None: first in, first out.
        requests: What is known of single tasks; None: what follows from ``network`` and ``work``.

    Attributes:
        servers: What is known of each server.
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
        self.servers = [
            ServerLoad(name, order, PredictedMemory(server))
            for name, order, server in zip(names, orders, self.requests.world.servers, strict=True)
        ]
        self.network, self.work = network, work
        self._time_scale = time_scale
        self._began_s = self.now_s()
        self._warned = [float("-inf")] * len(self.servers)

    def now_s(self) -> float:
        """The fleet's clock [s]."""
        return time.perf_counter() / self._time_scale

    def queue_s(self) -> FloatArray:
        """Predicted time until each server is done with what it has [s], shape (A,)."""
        now_s = self.now_s()
        return np.array([load.queue_s(now_s) for load in self.servers])

    def view(self, task: ImageTask, up: Sequence[bool] | None = None) -> View:
        """What a task that is handed in now would meet on each server; its clock began with this object.

        Args:
            task: The task.
            up: Whether each server may get it; None: those that are up.
        """
        now_s, loads = self.now_s(), self.servers
        service_s = self.computing_s(task)
        met = [load.line.met_by(task, now_s, own_s) for load, own_s in zip(loads, service_s.tolist(), strict=True)]
        remaining_s = np.array([load.running_left_s(now_s) for load in loads])
        return View(
            now_s=now_s - self._began_s,
            service_s=service_s,
            swap_s=np.array([load.swap_s(task) for load in loads]),
            way_s=self.requests.way_s(task),
            remaining_s=remaining_s,
            work_left_s=remaining_s + [load.line.work_s for load in loads],
            ahead_s=remaining_s + [ahead_s for ahead_s, _ in met],
            overtaken=np.array([overtaken for _, overtaken in met]),
            tasks=np.array([len(load.line) + (load.running is not None) for load in loads]),
            declared=np.array([load.declared_cost for load in loads]),
            up=np.array([load.is_up for load in loads] if up is None else up),
            facts=self.requests.facts(task),
        )

    def idle_view(self) -> View:
        """What an ordinary task would meet with every server up."""
        return self.view(ImageTask("warm-up", "warm-up", 20), [True] * len(self.servers))

    def computing_s(self, task: ImageTask) -> FloatArray:
        """Computing delay of a task on each server at the speed that its latest images had [s], shape (A,)."""
        return self.requests.service_s(task) * [load.speed.over_expected for load in self.servers]

    def work_s(self, task: ImageTask, server: int) -> tuple[float, float]:
        """Computing delay of a task that joins a server now, and that of loading its model there before [s]."""
        return float(self.computing_s(task)[server]), self.servers[server].swap_s(task)

    def has_attempts_left(self, entry: InFlightTask) -> bool:
        """Whether a task may be sent again."""
        return entry.attempts < MAX_ATTEMPTS_PER_SERVER * len(self.servers)

    def may_get(self, entry: InFlightTask, server: int) -> bool:
        """Whether a task may be sent to a server: it is up, and has not had it."""
        return self.servers[server].is_up and server not in entry.tried and self.has_attempts_left(entry)

    def choices(self, entry: InFlightTask) -> list[int]:
        """The servers that a task may be sent to."""
        return [server for server in range(len(self.servers)) if self.may_get(entry, server)]

    def soonest(self, task: ImageTask, choices: Sequence[int]) -> int:
        """The server of these that would be done with a task first."""
        seen = self.view(task)
        delay_s = seen.ahead_s + seen.swap_s + seen.service_s
        return min(choices, key=lambda server: float(delay_s[server]))

    def measured_network(self) -> EdgeNetwork:
        """The fleet as schedulers see it: servers that have drifted with the capacity that was measured."""
        if not any(load.speed.has_drifted for load in self.servers):
            return self.network
        over = [load.speed.over_expected if load.speed.has_drifted else 1.0 for load in self.servers]
        return replace(self.network, capacity_gcycles_per_s=self.network.capacity_gcycles_per_s / over)

    def measure(self, task: ImageTask, server: int, record: TaskRecord) -> None:
        """Learn from an image how fast its server is at present, and warn if it has drifted."""
        if record.cold_start:
            return
        load = self.servers[server]
        load.speed.add(record.drawing_s, float(self.requests.service_s(task)[server]))
        if load.speed.has_drifted and time.monotonic() - self._warned[server] > WARN_AGAIN_S:
            self._warned[server] = time.monotonic()
            _LOG.warning(
                "edge server %s takes %.2g times as long as expected; its measured speed is used from now on. "
                "Calibrate the fleet again if that lasts",
                load.name,
                load.speed.over_expected,
            )

    def why_down(self) -> str:
        """Why servers are down, or that none is."""
        return "; ".join(load.reason for load in self.servers if load.reason) or "all were tried"

"""What a dispatcher knows of servers without asking them: what it sent, what came back, and which are up."""

from __future__ import annotations

import logging
import statistics
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lad_rllib.edge.record import TaskRecord
from lad_rllib.edge.status import ServerHealth
from lad_rllib.edge.task import ImageTask
from lad_rllib.service.in_flight import Attempt, InFlightTask
from lad_rllib.service.work_model import WorkModel
from lad_rllib.simulator import EdgeNetwork

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
    """A server as its dispatcher sees it: whether it is up, and its attempts in flight in the order they were sent.

    Attributes:
        name: The server.
        is_up: Whether it gets tasks at present.
        reason: Why not, one line.
        started: Start of the server as it last said [s since 1970]; 0 before it said anything.
        room: Attempts that it takes at a time, as far as its refusals tell; None: it has refused none.
        work_s: Predicted computing delay of each attempt in flight [s].
        given_up: Attempts that were in flight when it was marked down; it may still have them.
        head_since_s: When the server began with the first attempt in flight, as far as known [s].
        tasks_held: Tasks that wait at the dispatcher for room in its queue.
        held_s: Their predicted computing delay [s].
        speed: How fast it is at present.
    """

    name: str
    is_up: bool = True
    reason: str = ""
    started: float = 0.0
    room: int | None = None
    work_s: dict[Attempt, float] = field(default_factory=dict)
    given_up: list[Attempt] = field(default_factory=list)
    head_since_s: float = 0.0
    tasks_held: int = 0
    held_s: float = 0.0
    speed: MeasuredSpeed = field(default_factory=MeasuredSpeed)

    @property
    def has_room(self) -> bool:
        """Whether it may take another task, as far as known."""
        return self.is_up and (self.room is None or len(self.work_s) < self.room)

    def sent(self, attempt: Attempt, computing_s: float, now_s: float) -> None:
        """A task was sent, whose computing will take ``computing_s``."""
        if not self.work_s:
            self.head_since_s = now_s
        self.work_s[attempt] = computing_s

    def answered(self, attempt: Attempt, now_s: float) -> None:
        """An answer came."""
        if attempt is next(iter(self.work_s), None):
            self.head_since_s = now_s
        self.work_s.pop(attempt, None)

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
        """It gets no tasks; returns the attempts that were in flight."""
        self.is_up, self.reason, self.room = False, reason, None
        attempts = list(self.work_s)
        self.given_up += attempts
        self.work_s.clear()
        return attempts

    def mark_up(self) -> list[Attempt]:
        """It gets tasks again; returns the attempts that were given up."""
        self.is_up, self.reason = True, ""
        attempts, self.given_up = self.given_up, []
        return attempts

    def queue_s(self, now_s: float) -> float:
        """Predicted time until a task sent now would start [s]: all that is to be done, less what the first has had.

        >>> from lad_rllib.service.in_flight import TaskHandle
        >>> task = InFlightTask(ImageTask("a", "x", 1), 0.0, 0, None, TaskHandle(lambda: None))
        >>> load = ServerLoad("s")
        >>> load.sent(Attempt(task, 0), 2.0, now_s=10.0); load.sent(Attempt(task, 0), 3.0, now_s=10.5)
        >>> load.queue_s(11.0)
        4.0
        """
        if not self.work_s:
            return self.held_s
        first = next(iter(self.work_s.values()))
        return self.held_s + sum(self.work_s.values()) - min(first, max(0.0, now_s - self.head_since_s))


class FleetLoad:
    """All servers of a fleet, and its model: how long they should take.

    Args:
        names: Names of the servers.
        network: The fleet in the simulator's units.
        work: Work of a task in the same units.
        time_scale: Wall seconds per second of the fleet.

    Attributes:
        servers: What is known of each server.
    """

    def __init__(self, names: Iterable[str], network: EdgeNetwork, work: WorkModel, time_scale: float) -> None:
        self.servers = [ServerLoad(name) for name in names]
        self.network, self.work = network, work
        self._time_scale = time_scale
        self._capacity = network.capacity_gcycles_per_s.tolist()
        self._warned = [float("-inf")] * len(self.servers)

    def now_s(self) -> float:
        """The fleet's clock [s]."""
        return time.perf_counter() / self._time_scale

    def queue_s(self) -> NDArray[np.float64]:
        """Predicted time until a task sent now would start on each server [s], shape (A,)."""
        now_s = self.now_s()
        return np.array([load.queue_s(now_s) for load in self.servers])

    def computing_s(self, task: ImageTask, server: int) -> float:
        """Computing delay of a task at the speed that the server's latest images had [s]."""
        return self._expected_s(task, server) * self.servers[server].speed.over_expected

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
        now_s = self.now_s()
        return min(choices, key=lambda i: self.servers[i].queue_s(now_s) + self.computing_s(task, i))

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
        load.speed.add(record.computing_s - record.load_s, self._expected_s(task, server))
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

    def _expected_s(self, task: ImageTask, server: int) -> float:
        """Computing delay as the fleet's model has it [s]."""
        return self.work.workload_gcycles(task.denoising_steps) / self._capacity[server]

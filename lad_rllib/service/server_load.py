"""What a dispatcher knows of a server without asking it: what it sent, what came back, and whether it is up."""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass, field

WINDOW, FEWEST_IMAGES = 16, 4
"""Latest images that say how fast a server is at present, and how many it takes to say anything."""

DRIFT_FACTOR = 1.5
"""A server that takes so many times as long as expected, or as short, has drifted: it is said, and schedulers are told
its measured speed instead of the one it was calibrated with."""


@dataclass
class MeasuredSpeed:
    """Computing delays of a server's latest images over those that the fleet's model expects.

    >>> speed = MeasuredSpeed()
    >>> for computing_s in (3.0, 3.1, 2.9, 3.0): speed.add(computing_s, expected_s=1.0)
    >>> speed.over_expected, speed.has_drifted
    (3.0, True)
    """

    _ratios: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def add(self, computing_s: float, expected_s: float) -> None:
        """Count an image that took ``computing_s`` instead of ``expected_s`` [s]."""
        if computing_s > 0 and expected_s > 0:
            self._ratios.append(computing_s / expected_s)

    @property
    def over_expected(self) -> float:
        """Median of measured over expected delay; 1 while too few images are known."""
        return statistics.median(self._ratios) if len(self._ratios) >= FEWEST_IMAGES else 1.0

    @property
    def has_drifted(self) -> bool:
        """Whether the server is slower or faster than expected by more than :data:`DRIFT_FACTOR`."""
        return not 1 / DRIFT_FACTOR <= self.over_expected <= DRIFT_FACTOR


@dataclass(frozen=True)
class ServerView:
    """A server as a dispatcher sees it.

    Attributes:
        name: The server.
        alive: Whether it gets tasks at present.
        reason: Why not, one line.
        tasks_out: Tasks that it owes.
        tasks_held: Tasks that are to go to it and wait at the dispatcher for room in its queue.
        over_expected: Measured over expected computing delay of its latest images; 1 while too few are known.
        has_drifted: Whether that is beyond :data:`DRIFT_FACTOR` either way.
    """

    name: str
    alive: bool
    reason: str
    tasks_out: int
    tasks_held: int
    over_expected: float
    has_drifted: bool


@dataclass
class ServerLoad:
    """Tasks that one server still owes, in the order they were sent; a first-in-first-out server works on the first.

    Attributes:
        name: The server.
        alive: Whether it gets tasks at present.
        reason: Why not, one line.
        given_up: Tickets that it owed when it was marked down, and their tasks' names there; it may still have them.
        since: Start of the server as it last said [s since 1970]; 0 before it said anything.
        room: Tasks that it takes at a time, as far as its refusals tell; None: it has not refused any.
        work_s: Predicted computing delay of each task that is out, by ticket [s].
        head_since_s: When the server began with the first of them, as far as known [s].
        held_s: Predicted computing delay of the tasks that wait here for its room [s].
        speed: How fast it is at present.
    """

    name: str
    alive: bool = True
    reason: str = ""
    given_up: dict[int, str] = field(default_factory=dict)
    since: float = 0.0
    room: int | None = None
    work_s: dict[int, float] = field(default_factory=dict)
    head_since_s: float = 0.0
    held_s: float = 0.0
    speed: MeasuredSpeed = field(default_factory=MeasuredSpeed)

    @property
    def has_room(self) -> bool:
        """Whether it may take another task, as far as known."""
        return self.alive and (self.room is None or len(self.work_s) < self.room)

    def sent(self, ticket: int, computing_s: float, now_s: float) -> None:
        """A task was sent that will take the server so long."""
        if not self.work_s:
            self.head_since_s = now_s
        self.work_s[ticket] = computing_s

    def answered(self, ticket: int, now_s: float) -> None:
        """An answer came."""
        if ticket == next(iter(self.work_s), None):
            self.head_since_s = now_s
        self.work_s.pop(ticket, None)

    def refused(self) -> None:
        """It refused a task for want of room: it has as much as it still owes."""
        owed = len(self.work_s)
        self.room = owed if self.room is None else min(self.room, owed)

    def try_more(self) -> None:
        """Expect somewhat more room: others may have left its queue."""
        if self.room is not None:
            self.room = max(self.room, len(self.work_s)) + 1 + self.room // 4

    def forget(self) -> list[int]:
        """Give up on everything that is out; returns the tickets."""
        tickets = list(self.work_s)
        self.work_s.clear()
        return tickets

    def queue_s(self, now_s: float) -> float:
        """Predicted time until a task sent now would start [s]: all that is to be done, less what the first has had.

        >>> load = ServerLoad("a")
        >>> load.sent(1, 2.0, now_s=10.0); load.sent(2, 3.0, now_s=10.5)
        >>> load.queue_s(11.0)
        4.0
        """
        if not self.work_s:
            return self.held_s
        first = next(iter(self.work_s.values()))
        return self.held_s + sum(self.work_s.values()) - min(first, max(0.0, now_s - self.head_since_s))

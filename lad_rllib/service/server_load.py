"""What a dispatcher knows of a server without asking it: what it sent, what came back, and whether it is up."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from lad_rllib.edge.status import ServerHealth
from lad_rllib.edge.task import ImageTask
from lad_rllib.service.backlog import Backlog
from lad_rllib.service.in_flight import Attempt
from lad_rllib.service.measured_speed import MeasuredSpeed
from lad_rllib.service.offer import Offer


@dataclass
class ServerLoad:
    """A server as its dispatcher sees it: whether it is up, how fast it is, and what it has to do.

    Attributes:
        name: The server.
        backlog: What it works on, and who waits for it.
        offer: What it draws.
        is_up: Whether it answers and is healthy.
        reason: Why not, one line.
        is_draining: Whether it gets no new tasks although it may be up.
        idle: Done when a server that drains has nothing to do any more; None while it does not drain.
        unanswered: Attempts that it has not answered, given up or not.
        started: Start of the server as it last said [s since 1970]; 0 before it said anything.
        room: Attempts that it takes at a time, as far as its refusals tell; None: it has refused none.
        given_up: Attempts that were in flight when it was marked down; it may still have them.
        speed: How fast it is at present.
        warned_s: When a warning last said that its speed is other than expected [s, monotonic].
    """

    name: str
    backlog: Backlog = field(default_factory=Backlog)
    offer: Offer = field(default_factory=Offer)
    is_up: bool = True
    reason: str = ""
    is_draining: bool = False
    idle: Future[None] | None = None
    unanswered: int = 0
    started: float = 0.0
    room: int | None = None
    given_up: list[Attempt] = field(default_factory=list)
    speed: MeasuredSpeed = field(default_factory=MeasuredSpeed)
    warned_s: float = float("-inf")

    @property
    def state(self) -> Literal["up", "down", "draining"]:
        """Whether it gets new tasks (``up``), and why not."""
        return "draining" if self.is_draining else "up" if self.is_up else "down"

    def may_get(self, task: ImageTask) -> bool:
        """Whether it gets new tasks, and has this one's model."""
        return self.state == "up" and self.offer.has(task.model)

    @property
    def has_room(self) -> bool:
        """Whether it may take another task, as far as known."""
        return self.is_up and (self.room is None or len(self.backlog.work_s) < self.room)

    def refused(self) -> None:
        """It refused a task because its queue was full: it has room for as many as are in flight."""
        in_flight = len(self.backlog.work_s)
        self.room = in_flight if self.room is None else min(self.room, in_flight)

    def expect_more_room(self) -> None:
        """Other clients' tasks may have left its queue."""
        if self.room is not None:
            self.room = max(self.room, len(self.backlog.work_s)) + 1 + self.room // 4

    def drain(self) -> Future[None]:
        """It gets no new tasks; the future is done when it has nothing to do any more."""
        self.is_draining = True
        self.idle = self.idle or Future()
        return self.idle

    def note_idle(self) -> None:
        """Say so if it drains and has nothing to do any more."""
        if self.idle is not None and not self.idle.done() and not self.backlog:
            self.idle.set_result(None)

    def has_restarted(self, health: ServerHealth) -> bool:
        """Whether it has been started again since its health was last reported."""
        before, self.started = self.started, health.since or self.started
        return 0 < before != health.since > 0

    def mark_down(self, reason: str) -> list[Attempt]:
        """It gets no tasks; returns the attempts that were in flight, the running one first."""
        self.is_up, self.reason, self.room = False, reason, None
        attempts = self.backlog.give_up()
        self.given_up += attempts
        return attempts

    def mark_up(self) -> list[Attempt]:
        """It gets tasks again; returns the attempts that were given up."""
        self.is_up, self.reason = True, ""
        attempts, self.given_up = self.given_up, []
        return attempts

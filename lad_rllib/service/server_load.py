"""What a dispatcher knows of a server without asking it: what it sent, what came back, and whether it is up."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from lad_rllib.edge.status import ServerHealth
from lad_rllib.edge.task import ImageTask
from lad_rllib.service.in_flight import Attempt, InFlightTask
from lad_rllib.service.measured_speed import MeasuredSpeed
from lad_rllib.service.offer import Offer
from lad_rllib.service.predicted_line import Place, PredictedLine
from lad_rllib.service.predicted_memory import PredictedMemory
from lad_rllib.simulator.order import FirstInFirstOut, Order


@dataclass
class ServerLoad:
    """A server as its dispatcher sees it: whether it is up, what it works on, and who waits for it.

    Attributes:
        name: The server.
        order: Its order of service.
        memory: Which models and LoRAs it has in memory.
        offer: What it draws.
        is_up: Whether it answers and is healthy.
        reason: Why not, one line.
        is_draining: Whether it gets no new tasks although it may be up.
        idle: Done when a server that drains has nothing to do any more; None while it does not drain.
        unanswered: Attempts that it has not answered, given up or not.
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
        warned_s: When a warning last said that its speed is other than expected [s, monotonic].
    """

    name: str
    order: Order = field(default_factory=FirstInFirstOut)
    memory: PredictedMemory = field(default_factory=PredictedMemory)
    offer: Offer = field(default_factory=Offer)
    is_up: bool = True
    reason: str = ""
    is_draining: bool = False
    idle: Future[None] | None = None
    unanswered: int = 0
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
    warned_s: float = float("-inf")

    def __post_init__(self) -> None:
        self._waiting: dict[Place, Attempt] = {}  # those in flight
        self.forget()

    def forget(self) -> None:
        """It has lost its tasks, and what it knew of them; none is in flight or held."""
        self.line = PredictedLine(self.order)

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

    def drain(self) -> Future[None]:
        """It gets no new tasks; the future is done when it has nothing to do any more."""
        self.is_draining = True
        self.idle = self.idle or Future()
        return self.idle

    def note_idle(self) -> None:
        """Say so if it drains and has nothing to do any more."""
        if self.idle is not None and not self.idle.done() and not self.work_s and not self.tasks_held:
            self.idle.set_result(None)

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

    def ahead_of(self, entry: InFlightTask, now_s: float) -> tuple[int, float]:
        """Tasks before one that waits for it, and the predicted time until that one begins [s]."""
        tasks, work_s = self.line.before(entry)
        return tasks + (self.running is not None), self.running_left_s(now_s) + work_s

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

"""What a server has still to do, as its dispatcher predicts it."""

from __future__ import annotations

from dataclasses import dataclass, field

from lad_rllib.edge.task import ImageTask
from lad_rllib.service.in_flight import Attempt, InFlightTask
from lad_rllib.service.predicted_line import Place, PredictedLine
from lad_rllib.service.predicted_memory import PredictedMemory
from lad_rllib.simulator.order import FirstInFirstOut, Order


@dataclass
class Backlog:
    """The task that a server works on, and those that wait for it, there or at the dispatcher.

    Attributes:
        order: The server's order of service.
        memory: Which models and LoRAs it has in memory.
        work_s: Predicted computing delay of each attempt in flight, its model loaded [s].
        running: The attempt in flight that it works on, as far as its order and its answers tell.
        running_since_s: When it began with that [s].
        running_swap_s: How long it loaded the model of that before [s].
        line: Who waits for it: attempts in flight, and tasks that are held back until it has room.
        tasks_held: Tasks that wait at the dispatcher for room in its queue.
    """

    order: Order = field(default_factory=FirstInFirstOut)
    memory: PredictedMemory = field(default_factory=PredictedMemory)
    work_s: dict[Attempt, float] = field(default_factory=dict)
    running: Attempt | None = None
    running_since_s: float = 0.0
    running_swap_s: float = 0.0
    line: PredictedLine = field(init=False)
    tasks_held: int = 0

    def __post_init__(self) -> None:
        self._waiting: dict[Place, Attempt] = {}  # those in flight
        self.forget()

    def __len__(self) -> int:
        """Tasks that wait for it or run there."""
        return len(self.line) + (self.running is not None)

    def forget(self) -> None:
        """The server has lost its tasks, and what it knew of them; none is in flight or held."""
        self.line = PredictedLine(self.order)

    def hold(self, entry: InFlightTask, computing_s: float, swap_s: float = 0.0) -> None:
        """A task waits at the dispatcher for room in the server's queue; arguments as of :meth:`sent`."""
        self.line.join(entry, computing_s, swap_s)
        self.tasks_held += 1

    def let_go(self, entry: InFlightTask) -> None:
        """A task waits for room no longer."""
        self.line.leave(self.line.place(entry))
        self.tasks_held -= 1

    def sent(self, attempt: Attempt, computing_s: float, now_s: float, swap_s: float = 0.0) -> None:
        """A task was sent; its computing will take ``computing_s``, and loading its model before ``swap_s``."""
        if not self:
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

    def give_up(self) -> list[Attempt]:
        """Nothing is in flight any more; returns the attempts that were, the running one first."""
        attempts = sorted(self.work_s, key=lambda attempt: attempt is not self.running)
        for attempt in list(self._waiting.values()):
            self._leave(attempt)
        self.work_s.clear()
        self.running = None
        return attempts

    def running_left_s(self, now_s: float) -> float:
        """Predicted time until the server is done with the attempt that it works on [s]."""
        if self.running is None:
            return 0.0
        work_s = self.running_swap_s + self.work_s[self.running]
        return work_s - min(work_s, max(0.0, now_s - self.running_since_s))

    def ahead_of(self, entry: InFlightTask, now_s: float) -> tuple[int, float]:
        """Tasks before one that waits, and the predicted time until that one begins [s]."""
        tasks, work_s = self.line.before(entry)
        return tasks + (self.running is not None), self.running_left_s(now_s) + work_s

    def swap_s(self, task: ImageTask) -> float:
        """Predicted time to load a task's model and LoRAs if it joined now [s]."""
        return self.memory.swap_s(task, self.line.models)

    @property
    def declared_cost(self) -> float:
        """Declared cost of all that wait or run."""
        return self.line.declared_cost + (0.0 if self.running is None else self.running.entry.declared_cost)

    def queue_s(self, now_s: float) -> float:
        """Predicted time until all is done that is there now [s]; with ``fifo`` a task sent now would start then.

        >>> from lad_rllib.service.in_flight import TaskHandle
        >>> tasks = [InFlightTask(ImageTask("a", "x", 1), 0.0, i, None, TaskHandle(lambda: None)) for i in range(2)]
        >>> backlog = Backlog()
        >>> backlog.sent(Attempt(tasks[0], 0), 2.0, now_s=10.0); backlog.sent(Attempt(tasks[1], 0), 3.0, now_s=10.5)
        >>> backlog.queue_s(11.0)
        4.0
        """
        return self.running_left_s(now_s) + self.line.work_s

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

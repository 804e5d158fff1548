"""Tasks in flight, the attempts to have them served, and what a dispatcher needs of a server."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field, replace
from typing import Protocol

from lad_rllib.edge.errors import EdgeError
from lad_rllib.edge.record import TaskResult
from lad_rllib.edge.status import ServerHealth
from lad_rllib.edge.task import ImageTask
from lad_rllib.service.decision import DecidedBy
from lad_rllib.service.delivery import Delivery
from lad_rllib.service.offer import Offer
from lad_rllib.simulator.requests.view import View


class Server(Protocol):
    """What a dispatcher needs of an edge server: :class:`EdgeServer` in this process, or a client of an actor.

    One that does not serve first in, first out says so in an attribute ``order``.
    """

    name: str

    def submit(self, task: ImageTask) -> Future[TaskResult]:
        """Hand in a task without waiting; the future fails with a named ``EdgeError``."""
        ...

    def cancel(self, task_id: str) -> bool:
        """Cancel a task that waits or runs; False if the server does not have it."""
        ...

    def health(self) -> ServerHealth:
        """Whether it should get tasks; must return within about a second, even if the server is dead."""
        ...


class TaskHandle(Future[Delivery]):
    """The future of a task's delivery; it never fails, since errors are in the delivery.

    ``cancel`` cancels the task wherever it is; the delivery then says so (``TaskCancelled``), unless the image arrives
    first.

    Args:
        cancel: Has the task cancelled.

    Attributes:
        chosen: Name of the server that was chosen for it; empty before. If that is lost, it goes to another.
        decided_by: Who chose.
    """

    def __init__(self, cancel: Callable[[], object]) -> None:
        super().__init__()
        self._cancel = cancel
        self.chosen, self.decided_by = "", DecidedBy()
        self.set_running_or_notify_cancel()

    def cancel(self) -> bool:
        """Cancel the task; False if it has ended already."""
        if self.done():
            return False
        self._cancel()
        return True


@dataclass(eq=False)
class InFlightTask:
    """A task that has not ended.

    Attributes:
        task: What was asked for.
        submitted_s: When it was handed in, by the fleet's clock [s].
        number: Tasks that were handed in before it; decides between equal keys of the order of service.
        named: Number of the server that it is to go to; None: the scheduler chooses.
        future: Its delivery.
        declared_cost: Steps x pixels x images.
        slot: Decision round; -1 before.
        decided_s: When its server was chosen, by the fleet's clock [s]; None before.
        attempts: Attempts so far; one that a server refused because its queue was full does not count.
        attempt: The attempt whose answer counts; None while there is none.
        server: Number of the server of the latest attempt; -1 before.
        tried: Numbers of the servers of all attempts.
        cancelled: It was cancelled, and is not sent again.
        own_failures: Attempts that may have failed because of the task, not the server.
        last_error: Why the latest attempt failed.
        line: Number of the server for whose room it waits; -1: none.
        parked_at: Since when no server is up that it may go to [s, monotonic]; None: one is.
        token: Tells it from tasks of the same name that other clients send to the same servers.
        met: What it would meet on each server, where that has just been looked at; None: it has not.
    """

    task: ImageTask
    submitted_s: float
    number: int
    named: int | None
    future: TaskHandle
    declared_cost: float = 0.0
    slot: int = -1
    decided_s: float | None = None
    attempts: int = 0
    attempt: Attempt | None = None
    server: int = -1
    tried: set[int] = field(default_factory=set)
    cancelled: bool = False
    own_failures: int = 0
    last_error: EdgeError | None = None
    line: int = -1
    parked_at: float | None = None
    token: str = field(default_factory=lambda: secrets.token_hex(4))
    met: View | None = None

    def deadline_left_s(self, now_s: float) -> float | None:
        """Time until its deadline [s]; None without one."""
        return None if self.task.deadline_s is None else self.task.deadline_s - (now_s - self.submitted_s)

    def end(
        self, server: str, now_s: float, *, result: TaskResult | None = None, error: EdgeError | None = None
    ) -> None:
        """Deliver the result or the error, from the server of that name."""
        delivery = Delivery(
            task=self.task,
            slot=self.slot,
            server=server,
            attempts=self.attempts,
            arrival_s=self.submitted_s,
            service_delay_s=now_s - self.submitted_s,
            record=replace(result.record, task_id=self.task.task_id) if result else None,
            png=result.png if result else None,
            more_pngs=result.more_pngs if result else (),
            error=error,
            decision_s=None if self.decided_s is None else self.decided_s - self.submitted_s,
            decided_by=self.future.decided_by,
        )
        with contextlib.suppress(InvalidStateError):  # it has ended meanwhile
            self.future.set_result(delivery)


@dataclass(eq=False)
class Attempt:
    """One task sent to one server.

    Attributes:
        entry: The task.
        server: Number of the server.
        number: Which attempt of the task it is, from 1.
        is_answered: Whether the server has answered.
    """

    entry: InFlightTask
    server: int
    number: int = 1
    is_answered: bool = False

    @property
    def name(self) -> str:
        """The task's name at the server, which other clients share, and which may still drop an earlier attempt."""
        again = f".{self.number}" if self.number > 1 else ""
        return f"{self.entry.task.task_id}@{self.entry.token}{again}"

    def task_to_send(self, now_s: float, offer: Offer) -> ImageTask:
        """The task as the server gets it: its name there, the time that is left, and its model if that chooses."""
        left_s = self.entry.deadline_left_s(now_s)
        return replace(
            self.entry.task,
            task_id=self.name,
            deadline_s=None if left_s is None else max(left_s, 1e-6),
            model=self.entry.task.model if offer.chooses else None,
        )

    @property
    def is_current(self) -> bool:
        """Whether the task waits for this attempt: it has not ended, and this attempt was not given up."""
        return self.entry.attempt is self

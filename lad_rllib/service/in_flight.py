"""A task on its way, and what a dispatcher needs of the servers that it may go to."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field, replace
from typing import Protocol

from lad_rllib.edge.errors import EdgeError
from lad_rllib.edge.record import TaskResult
from lad_rllib.edge.status import ServerHealth
from lad_rllib.edge.task import ImageTask
from lad_rllib.service.delivery import Delivery

CALL_OFF_S, CALL_AGAIN_S = 10.0, 0.05
"""Longest time in which a server must get to know a task, and time between two calls [s, wall clock]."""


class Server(Protocol):
    """What a dispatcher needs of an edge server: :class:`EdgeServer` in this process, or a client of an actor."""

    name: str

    def submit(self, task: ImageTask) -> Future[TaskResult]:
        """Hand in a task without waiting; the future fails with a named ``EdgeError``."""
        ...

    def cancel(self, task_id: str) -> bool:
        """Cancel a task that waits or runs."""
        ...

    def health(self) -> ServerHealth:
        """How it is; must come back by itself within a second or so if the server is dead."""
        ...


class TaskHandle(Future[Delivery]):
    """The future of a task's delivery; it never fails, since errors are in the delivery.

    ``cancel`` calls the task off wherever it is; the delivery then says so (``TaskCancelled``), unless the image is
    there first.

    Args:
        call_off: Has the task cancelled.
    """

    def __init__(self, call_off: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._call_off = call_off
        self.set_running_or_notify_cancel()

    def cancel(self) -> bool:
        """Call the task off; whether it had not ended yet."""
        if self.done():
            return False
        self._call_off()
        return True


@dataclass(eq=False)
class PendingTask:
    """A task that has not ended.

    Attributes:
        task: What was asked for.
        submitted_s: When it was handed in, by the fleet's clock [s].
        number: Tasks that were handed in before it; lines are kept in this order.
        named: Index of the server that it is to go to; None: the scheduler chooses.
        future: Its one end.
        slot: Decision round; -1 before.
        attempts: Servers that took it so far; one that had no room does not count.
        server: Index of the last of them; -1 before.
        ticket: Number of the present attempt; -1 before.
        tried: Indices of all of them.
        cancelled: Somebody wants it no more; it is not sent again.
        own_failures: Attempts that may have failed for the task's own sake, not the server's.
        last_error: Why the latest attempt failed.
        line: Server for whose room it waits; -1: none.
        held_s: Predicted computing delay that it adds to that server's line [s].
        parked_at: Since when no server is up that it may go to [s, monotonic]; None: one is.
        token: Tells it from tasks of the same name that other clients send to the same servers.
    """

    task: ImageTask
    submitted_s: float
    number: int = -1
    named: int | None = None
    future: TaskHandle = field(default_factory=TaskHandle)
    slot: int = -1
    attempts: int = 0
    server: int = -1
    ticket: int = -1
    tried: set[int] = field(default_factory=set)
    cancelled: bool = False
    own_failures: int = 0
    last_error: EdgeError | None = None
    line: int = -1
    held_s: float = 0.0
    parked_at: float | None = None
    token: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def name_at_servers(self) -> str:
        """The task's name on every server, which several clients may share."""
        return f"{self.task.task_id}@{self.token}"

    def task_to_send(self, now_s: float) -> ImageTask:
        """The task as servers get it: under its name there, with the time that is left."""
        left_s = self.deadline_left_s(now_s)
        return replace(
            self.task, task_id=self.name_at_servers, deadline_s=None if left_s is None else max(left_s, 1e-6)
        )

    def deadline_left_s(self, now_s: float) -> float | None:
        """Time until the image is of no use any more [s]; None without a deadline."""
        return None if self.task.deadline_s is None else self.task.deadline_s - (now_s - self.submitted_s)

    def end(self, server: str, now_s: float, result: TaskResult | None, error: EdgeError | None) -> None:
        """Deliver the result or the error, from the server of that name."""
        delivery = Delivery(
            task=self.task,
            slot=self.slot,
            server=server,
            attempts=self.attempts,
            service_delay_s=now_s - self.submitted_s,
            record=replace(result.record, task_id=self.task.task_id) if result else None,
            png=result.png if result else None,
            error=error,
        )
        with contextlib.suppress(InvalidStateError):  # it has ended meanwhile
            self.future.set_result(delivery)


def call_off(entry: PendingTask, servers: Sequence[Server]) -> None:
    """Cancel a task at its server; over a network that may hear of it before it has the task, so call again then."""
    limit = time.monotonic() + CALL_OFF_S
    while not entry.future.done() and time.monotonic() < limit:
        with contextlib.suppress(Exception):
            if servers[entry.server].cancel(entry.name_at_servers):
                return
        time.sleep(CALL_AGAIN_S)

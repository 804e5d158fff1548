"""Tasks that wait at the dispatcher: for room in a server's queue, or for any server to be up."""

from __future__ import annotations

import bisect
import time
from collections import deque
from collections.abc import Iterator, Sequence

from lad_rllib.service.in_flight import PendingTask
from lad_rllib.service.server_load import ServerLoad


class HeldTasks:
    """One line in front of each server whose queue is full, and the tasks for which no server is up.

    Args:
        loads: The servers; their ``held_s`` is kept up to date.
    """

    def __init__(self, loads: Sequence[ServerLoad]) -> None:
        self._loads = loads
        self._lines: list[deque[PendingTask]] = [deque() for _ in loads]
        self._parked: dict[str, PendingTask] = {}

    def __iter__(self) -> Iterator[PendingTask]:
        """All of them."""
        for line in self._lines:
            yield from line
        yield from self._parked.values()

    def __len__(self) -> int:
        return sum(map(len, self._lines)) + len(self._parked)

    def length(self, server: int) -> int:
        """Tasks that wait for one server's room."""
        return len(self._lines[server])

    def hold(self, entry: PendingTask, server: int, computing_s: float) -> None:
        """Put a task into a server's line, behind those that were handed in before it."""
        entry.held_s, entry.line = computing_s, server
        self._loads[server].held_s += computing_s
        line = self._lines[server]
        if not line or line[-1].number < entry.number:
            line.append(entry)
        else:
            line.insert(bisect.bisect(line, entry.number, key=lambda other: other.number), entry)

    def next_for(self, server: int) -> PendingTask | None:
        """Take the task that a server with room should get: the first of its line, or, if it idles, of the longest."""
        if self._lines[server]:
            return self._take(server, 0)
        if self._loads[server].work_s:
            return None
        longest = max(range(len(self._lines)), key=lambda i: len(self._lines[i]))
        for position, entry in enumerate(self._lines[longest]):
            if server not in entry.tried:
                return self._take(longest, position)
        return None

    def _take(self, server: int, position: int) -> PendingTask:
        line = self._lines[server]
        entry = line[position]
        del line[position]
        entry.line = -1
        self._loads[server].held_s = self._loads[server].held_s - entry.held_s if line else 0.0
        return entry

    def line_of(self, server: int) -> list[PendingTask]:
        """Take a server's whole line."""
        return [self._take(server, 0) for _ in range(len(self._lines[server]))]

    def park(self, entry: PendingTask) -> None:
        """Keep a task until a server is up that it may go to."""
        entry.parked_at = entry.parked_at or time.monotonic()
        self._parked[entry.task.task_id] = entry

    @property
    def parked(self) -> list[PendingTask]:
        """The tasks for which no server is up."""
        return list(self._parked.values())

    def remove(self, entry: PendingTask) -> bool:
        """Take a task out, wherever it waits; whether it waited."""
        if self._parked.get(entry.task.task_id) is entry:
            del self._parked[entry.task.task_id]
            return True
        if entry.line < 0:
            return False
        position = next(i for i, other in enumerate(self._lines[entry.line]) if other is entry)
        self._take(entry.line, position)
        return True

    def has(self, entry: PendingTask) -> bool:
        """Whether a task waits here."""
        return entry.line >= 0 or self._parked.get(entry.task.task_id) is entry

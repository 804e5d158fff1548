"""Tasks that wait at the dispatcher: for room in a server's queue, or for any server to be up."""

from __future__ import annotations

import bisect
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping

from lad_rllib.service.in_flight import InFlightTask
from lad_rllib.service.server_load import ServerLoad


class HeldTasks:
    """A line in front of each server whose queue is full, and the parked tasks: no server is up that they may go to.

    Lines are in the order of service of their servers.

    Args:
        loads: The servers by their numbers; what they know of tasks that are held is kept up to date.
    """

    def __init__(self, loads: Mapping[int, ServerLoad]) -> None:
        self._loads = loads
        self._lines: defaultdict[int, list[InFlightTask]] = defaultdict(list)
        self._parked: dict[str, InFlightTask] = {}

    def __iter__(self) -> Iterator[InFlightTask]:
        """All of them."""
        for line in self._lines.values():
            yield from line
        yield from self._parked.values()

    def __contains__(self, entry: InFlightTask) -> bool:
        return entry.line >= 0 or self._parked.get(entry.task.task_id) is entry

    def __bool__(self) -> bool:
        return bool(self._parked) or any(self._lines.values())

    def hold(self, entry: InFlightTask, server: int, computing_s: float, swap_s: float = 0.0) -> None:
        """Put a task into a server's line, behind those that the server would serve before it."""
        backlog = self._loads[server].backlog
        backlog.hold(entry, computing_s, swap_s)
        bisect.insort(self._lines[server], entry, key=backlog.line.place)
        entry.line = server

    def next_for(self, server: int) -> InFlightTask | None:
        """Take the task that a server with room should get: the first of its line, or, if it idles, of the longest.

        One that drains gets those of its own line alone.
        """
        if self._lines[server]:
            return self._take(server, 0)
        load = self._loads[server]
        if load.backlog.work_s or load.is_draining or not any(self._lines.values()):
            return None
        longest = max(self._lines, key=lambda number: len(self._lines[number]))
        for position, entry in enumerate(self._lines[longest]):
            if server not in entry.tried and load.offer.has(entry.task.model):
                return self._take(longest, position)
        return None

    def take_line(self, server: int) -> list[InFlightTask]:
        """Take a server's whole line."""
        return [self._take(server, 0) for _ in range(len(self._lines[server]))]

    def forget(self, server: int) -> None:
        """A server has left, and no task waits for it."""
        self._lines.pop(server, None)

    def park(self, entry: InFlightTask) -> None:
        """Keep a task until a server is up that it may go to."""
        entry.parked_at = entry.parked_at or time.monotonic()
        self._parked[entry.task.task_id] = entry

    @property
    def parked(self) -> list[InFlightTask]:
        """The parked tasks."""
        return list(self._parked.values())

    def remove(self, entry: InFlightTask) -> None:
        """Take a task out, if it waits here."""
        if self._parked.get(entry.task.task_id) is entry:
            del self._parked[entry.task.task_id]
        elif entry.line >= 0:
            self._take(entry.line, self._lines[entry.line].index(entry))

    def _take(self, server: int, position: int) -> InFlightTask:
        entry = self._lines[server].pop(position)
        entry.line = -1
        self._loads[server].backlog.let_go(entry)
        return entry

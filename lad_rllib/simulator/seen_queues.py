"""Queues as seen by a dispatcher that does not know the work of its tasks."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray


class SeenQueues:
    """Queue of each first-in-first-out server if every task is counted at the work that it shows.

    A dispatcher sees which tasks a server has finished and for how long the present one has run, but not how much
    work is left in it. So the seen queue is the shown work of all unfinished tasks, less what the server has done of
    the present one since it began; a task that outlasts its shown work counts as 0 until it ends.

    Args:
        episodes: Episodes in lockstep E.
        servers: Edge servers A.

    Attributes:
        queue_gcycles: Seen queues [Gcycle], shape (E, A).
    """

    def __init__(self, episodes: int, servers: int) -> None:
        self.queue_gcycles = np.zeros((episodes, servers))
        # Of each server, [work left, shown work left] of its unfinished tasks in order of service.
        self._unfinished: list[list[deque[list[float]]]] = [[deque() for _ in range(servers)] for _ in range(episodes)]

    def advance(
        self,
        mask: NDArray[np.bool_],
        action: NDArray[np.integer],
        workload_gcycles: NDArray[np.float64],
        shown_workload_gcycles: NDArray[np.float64],
        done_gcycles: NDArray[np.float64],
    ) -> None:
        """Queue a slot's tasks, then let every server work for one slot.

        Args:
            mask: True where there is a task, shape (E, B, N).
            action: Server of each task, shape (E, B, N).
            workload_gcycles: Work of each task as it will turn out [Gcycle], shape (E, B, N).
            shown_workload_gcycles: Work of each task as shown [Gcycle], shape (E, B, N).
            done_gcycles: What each server can do in one slot [Gcycle], shape (A,).
        """
        for episode, servers in enumerate(self._unfinished):
            there = mask[episode]
            columns = (action[episode][there], workload_gcycles[episode][there], shown_workload_gcycles[episode][there])
            for server, work, shown in zip(*(column.tolist() for column in columns), strict=True):
                servers[server].append([work, shown])
            for server, tasks in enumerate(servers):
                _work_off(tasks, float(done_gcycles[server]))
                self.queue_gcycles[episode, server] = sum(shown for _, shown in tasks)


def _work_off(tasks: deque[list[float]], budget: float) -> None:
    while tasks and budget > 0.0:
        done = min(tasks[0][0], budget)
        budget -= done
        if done == tasks[0][0]:
            tasks.popleft()
        else:
            tasks[0] = [tasks[0][0] - done, max(tasks[0][1] - done, 0.0)]

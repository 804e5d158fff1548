"""One decision at a time: a simulated episode in which each task's delay is known as soon as it is sent."""

from __future__ import annotations

import numpy as np

from lad_rllib.simulator import delays
from lad_rllib.simulator.episode import EdgeSimulator, SlotDelays


class TaskByTask:
    """Plays a simulator's slots task by task, with the delays and queues that whole slots would give.

    A task waits for what was sent before it only, so its delay does not depend on later decisions. Tasks are decided
    in the order in which they are served (base station 0's first, then station 1's, ...); after a slot's last task
    the simulator moves on to the next slot in which a task arrives.

    Args:
        simulator: Simulator of a single episode; this class moves it.
        num_slots: Slots to decide, counted from the simulator's present one; default all.
    """

    def __init__(self, simulator: EdgeSimulator, num_slots: int | None = None) -> None:
        episodes = len(simulator.queue_gcycles)
        if episodes != 1:
            raise ValueError(f"tasks can be decided one by one in a single episode only, got {episodes} in lockstep")
        slots_left = simulator.arrivals.num_slots - simulator.slot
        if num_slots is not None and not 0 <= num_slots <= slots_left:
            raise ValueError(f"num_slots must lie between 0 and the {slots_left} slots that are left, got {num_slots}")
        self.simulator = simulator
        self._end = simulator.slot + (slots_left if num_slots is None else num_slots)
        self._total_delay_s, self._num_sent = 0.0, 0
        self._open_slot()

    @property
    def done(self) -> bool:
        """True if no task is left to decide."""
        return self.simulator.slot == self._end

    @property
    def station(self) -> int:
        """Base station of the task that is next to decide."""
        return self._stations[self._next]

    @property
    def task_mbit(self) -> float:
        """Input size of the task that is next to decide [Mbit]."""
        return self._task_mbit[self._next]

    @property
    def workload_gcycles(self) -> float:
        """Work of the task that is next to decide, as schedulers see it [Gcycle]."""
        return self._shown_workload[self._next]

    @property
    def mean_delay_s(self) -> float:
        """Mean service delay of the tasks sent so far [s]; 0 if there was none."""
        return self._total_delay_s / max(self._num_sent, 1)

    def send(self, server: int) -> SlotDelays:
        """Send the next task to a server.

        Returns:
            The delays of this task (single numbers).

        Raises:
            IndexError: if the server does not exist.
            RuntimeError: if no task is left.
        """
        if self.done:
            raise RuntimeError("all tasks of the episode are decided")
        if not 0 <= server < len(self._work_sent):
            raise IndexError(f"a task was sent to server {server}; servers are 0..{len(self._work_sent) - 1}")
        task, work = self._next, self._workload[self._next]
        # Sum and difference in the order of work_before_in_slot_gcycles, so that rounding is the same.
        self._work_sent[server] += work
        before = self._work_sent[server] - work
        sent = SlotDelays(
            upload_s=self._upload_s[task, server],
            waiting_s=delays.waiting_delay_s(self._queue_gcycles[server], before, self._capacity[server]),
            computing_s=self._computing_s[task, server],
            download_s=self._download_s[task, server],
        )
        self._total_delay_s += float(sent.total_s)
        self._num_sent += 1
        self._decisions[task] = server
        self._next += 1
        if self._next == len(self._stations):
            self._close_slot()
            self._open_slot()
        return sent

    def _open_slot(self) -> None:
        """Move on to a slot with tasks, and compute what does not depend on the slot's decisions."""
        while not self.done and not self.simulator.tasks.mask.any():
            self.simulator.step(np.zeros_like(self.simulator.tasks.mask, dtype=np.int64))
        if self.done:
            return
        shown, network = self.simulator.tasks, self.simulator.network
        tasks = shown.revealed or shown
        self._mask = tasks.mask[0]
        self._upload_s, self._computing_s, self._download_s = network.unloaded_delays_s(
            self._mask, tasks.task_mbit[0], tasks.workload_gcycles[0], tasks.result_mbit[0]
        )
        self._next = 0
        # Python numbers: single values are faster than in arrays.
        self._stations: list[int] = np.nonzero(self._mask)[0].tolist()
        self._task_mbit: list[float] = tasks.task_mbit[0][self._mask].tolist()
        self._workload: list[float] = tasks.workload_gcycles[0][self._mask].tolist()
        self._shown_workload: list[float] = shown.workload_gcycles[0][self._mask].tolist()
        self._queue_gcycles: list[float] = tasks.queue_gcycles[0].tolist()
        self._capacity: list[float] = network.capacity_gcycles_per_s.tolist()
        self._work_sent = [0.0] * network.num_servers
        self._decisions = [0] * len(self._stations)

    def _close_slot(self) -> None:
        action = np.zeros((1, *self._mask.shape), dtype=np.int64)
        action[0][self._mask] = self._decisions
        self.simulator.step(action)

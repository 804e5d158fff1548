"""The paper's environment as one loop over tasks: slow, plain, and independent of the library's formulas.

It repeats the arithmetic of ``lad_rllib.simulator`` on purpose; only tests and benchmarks use it. One episode, no
episode axis.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lad_rllib.simulator import Arrivals, EdgeNetwork

Decide = Callable[[int, int, int, list[float]], int]


class LiteralServers:
    """Queues of the edge servers, and what was sent to them in the present slot [Gcycle]."""

    def __init__(self, network: EdgeNetwork) -> None:
        self.capacity = network.capacity_gcycles_per_s.tolist()
        self.link_rate = network.link_rate_mbit_per_s.tolist()
        self.home_server = network.home_server.tolist()
        self.slot_s = network.slot_s
        self.queue = [0.0] * len(self.capacity)
        self.sent = [0.0] * len(self.capacity)

    def delay_s(self, b: int, a: int, task_mbit: float, work: float, result_mbit: float) -> float:
        """Service delay of a task of station ``b`` if it is sent to server ``a`` next."""
        f, v = self.capacity[a], self.link_rate[a]
        upload = 0.0 if self.home_server[b] == a else task_mbit / v
        waiting = (self.queue[a] + self.sent[a]) / f
        return upload + waiting + work / f + result_mbit / v

    def send(self, a: int, work: float) -> None:
        """Put a task behind those that server ``a`` has."""
        self.sent[a] += work

    def end_slot(self) -> None:
        """Let the servers work for one slot."""
        for a, f in enumerate(self.capacity):
            self.queue[a] = max(self.queue[a] + self.sent[a] - f * self.slot_s, 0.0)
            self.sent[a] = 0.0


def play_literally(network: EdgeNetwork, arrivals: Arrivals, decide: Decide, num_slots: int):
    """Serve one episode, task by task.

    Args:
        network: Where the tasks run.
        arrivals: Arrivals of one episode.
        decide: Server of a task, from its slot, station, index and its delay at every server.
        num_slots: Slots to play.

    Returns:
        Actions and delays [s], shape (T, B, N), -1 and NaN where there is no task; slot-start queues, (T + 1, A).
    """
    shape = (num_slots, network.num_stations, arrivals.max_tasks)
    actions, delays = np.full(shape, -1), np.full(shape, np.nan)
    servers = LiteralServers(network)
    queues = [list(servers.queue)]
    for t in range(num_slots):
        for b in range(network.num_stations):
            for n in range(int(arrivals.task_counts[t, b])):
                steps = arrivals.denoising_steps[t, b, n] + arrivals.overhead_steps
                work = arrivals.density_gcycles_per_step[t, b, n] * steps
                sizes = arrivals.task_mbit[t, b, n], work, arrivals.result_mbit[t, b, n]
                options = [servers.delay_s(b, a, *sizes) for a in range(network.num_servers)]
                a = decide(t, b, n, options)
                actions[t, b, n], delays[t, b, n] = a, options[a]
                servers.send(a, work)
        servers.end_slot()
        queues.append(list(servers.queue))
    return actions, delays, np.array(queues)


def least_own_delay(slot: int, station: int, task: int, options: list[float]) -> int:
    """The greedy oracle's decision: the server where this task is served first."""
    return options.index(min(options))

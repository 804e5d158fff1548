"""The paper's environment as one loop over tasks: slow, plain, and independent of the library's formulas.

It repeats the arithmetic of ``lad_rllib.simulator`` on purpose; only tests use it. One episode, no episode axis.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lad_rllib.simulator import Arrivals, EdgeNetwork

Decide = Callable[[int, int, int, list[float]], int]


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
    queue = [0.0] * network.num_servers
    queues = [list(queue)]
    for t in range(num_slots):
        sent = [0.0] * network.num_servers
        for b in range(network.num_stations):
            for n in range(int(arrivals.task_counts[t, b])):
                work = arrivals.density_gcycles_per_step[t, b, n] * arrivals.denoising_steps[t, b, n]
                options = []
                for a in range(network.num_servers):
                    f, v = network.capacity_gcycles_per_s[a], network.link_rate_mbit_per_s[a]
                    upload = 0.0 if network.home_server[b] == a else arrivals.task_mbit[t, b, n] / v
                    waiting = (queue[a] + sent[a]) / f
                    options.append(upload + waiting + work / f + arrivals.result_mbit[t, b, n] / v)
                a = decide(t, b, n, options)
                actions[t, b, n], delays[t, b, n] = a, options[a]
                sent[a] += work
        for a in range(network.num_servers):
            queue[a] = max(queue[a] + sent[a] - network.capacity_gcycles_per_s[a] * network.slot_s, 0.0)
        queues.append(list(queue))
    return actions, delays, np.array(queues)


def least_own_delay(slot: int, station: int, task: int, options: list[float]) -> int:
    """The greedy oracle's decision: the server where this task is served first."""
    return options.index(min(options))

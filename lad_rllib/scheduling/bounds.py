"""A lower bound of the mean delay that no scheduler beats, whatever it knows."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from lad_rllib.simulator.network import EdgeNetwork
from lad_rllib.simulator.tasks import Arrivals

FloatArray = NDArray[np.float64]


def lower_bound_s(network: EdgeNetwork, arrivals: Arrivals, num_slots: int | None = None) -> FloatArray:
    """Lower bound of the mean service delay of each episode, for any schedule of the given arrivals.

    The greater of two bounds (the documentation's page on bounds has the argument in full):

    1. *One machine.* A task that runs contiguously at rate ``f`` is ready ``w / (2 f)`` after its mean busy time (the
       mean of the times at which its work is done). All servers together do at most what one preemptive machine of
       their total capacity can, and that machine makes the sum of mean busy times least by always working on the
       smallest workload present. Each task adds the least ``upload + w / (2 f) + download`` of any server.
       Tight under overload.
    2. *Empty queues.* In each slot alone, with empty queues and any order in place of the simulator's, the sum of
       computing and waiting is least if the ``k``-th last task on a server of capacity ``f`` counts ``w k / f`` and the
       largest workloads get the smallest ``k / f``. Each task adds the least ``upload + download``. Tight at low load.

    Args:
        network: Where the tasks run.
        arrivals: Arrivals of E episodes with the leading axis E.
        num_slots: Slots whose tasks count, as in :func:`~lad_rllib.scheduling.rollout.play`; default all.

    Returns:
        Bounds [s], shape (E,); 0 for an episode without tasks.

    Source: mean busy times, M. X. Goemans, "Improved approximation algorithms for scheduling with release dates", SODA
    1997; unequal machines, E. Horowitz and S. Sahni, J. ACM 23 (1976).
    """
    slots = arrivals.num_slots if num_slots is None else num_slots
    bounds = np.zeros(len(arrivals.task_counts))
    for episode in range(len(bounds)):
        tasks = [_tasks_of_slot(network, arrivals, episode, slot) for slot in range(slots)]
        count = sum(len(work) for work, _, _ in tasks)
        if count:
            workloads = [work for work, _, _ in tasks]
            one_machine = one_machine_sum_s(workloads, network) + sum(half.sum() for _, half, _ in tasks)
            empty_queues = sum(empty_queue_sum_s(work, network) + way.sum() for work, _, way in tasks)
            bounds[episode] = max(one_machine, empty_queues) / count
    return bounds


def _tasks_of_slot(
    network: EdgeNetwork, arrivals: Arrivals, episode: int, slot: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Workloads, least transmission plus half the computing delay, least transmission of a slot's tasks; (K,) each."""
    where = (episode, slot)
    mask = arrivals.mask[where]
    tasks = (arrivals.task_mbit[where], arrivals.workload_gcycles[where], arrivals.result_mbit[where])
    upload, computing, download = network.unloaded_delays_s(mask, *tasks)
    way = upload + download
    return tasks[1][mask], (way + computing / 2.0).min(axis=1), way.min(axis=1)


def one_machine_sum_s(workloads_gcycles: list[FloatArray], network: EdgeNetwork) -> float:
    """Sum of mean busy times since arrival if one machine of total capacity works on the smallest workload present.

    Args:
        workloads_gcycles: Workloads of the tasks of each slot [Gcycle], none 0; they are there at its start.
        network: Whose capacities are put together.
    """
    capacity, slot_s = network.total_capacity_gcycles_per_s, network.slot_s
    waiting: list[tuple[float, float, float]] = []  # workload, what is left of it, arrival: smallest workload first
    total, now = 0.0, 0.0
    for slot, workloads in enumerate(workloads_gcycles):
        now = max(now, slot * slot_s)
        for work in workloads[workloads > 0].tolist():
            heapq.heappush(waiting, (work, work, slot * slot_s))
        end = (slot + 1) * slot_s if slot + 1 < len(workloads_gcycles) else np.inf
        while waiting and now < end:
            work, left, arrived = heapq.heappop(waiting)
            done = min(left, (end - now) * capacity)
            middle = now + done / (2.0 * capacity)
            total += done / work * (middle - arrived)
            now += done / capacity
            if done < left:
                heapq.heappush(waiting, (work, left - done, arrived))
                now = end
    return total


def empty_queue_sum_s(work_gcycles: FloatArray, network: EdgeNetwork) -> float:
    """Least sum of waiting and computing delays of tasks that find all servers empty and may be served in any order.

    >>> network = EdgeNetwork(1, np.array([10.0, 5.0]), np.array([400.0, 400.0]))
    >>> empty_queue_sum_s(np.array([10.0, 20.0]), network)  # 20 first on the fast server, 10 on either
    4.0
    """
    count = len(work_gcycles)
    seconds_per_gcycle = np.sort(
        (np.arange(1, count + 1)[:, None] / network.capacity_gcycles_per_s).ravel(), kind="stable"
    )[:count]
    return float(np.sort(work_gcycles)[::-1] @ seconds_per_gcycle)

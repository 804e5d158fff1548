"""A lower bound of the mean delay that no scheduler beats, whatever it knows and in whatever order servers serve."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from lad_rllib.simulator.network import EdgeNetwork
from lad_rllib.simulator.requests import Timing, slotted_requests, slotted_world
from lad_rllib.simulator.tasks import Arrivals

FloatArray = NDArray[np.float64]


def lower_bound_s(network: EdgeNetwork, arrivals: Arrivals, num_slots: int | None = None) -> FloatArray:
    """Lower bound of the mean service delay of each episode, for any schedule of the given arrivals.

    Args:
        network: Where the tasks run.
        arrivals: Arrivals of E episodes with the leading axis E.
        num_slots: Slots whose tasks count, as in :func:`~lad_rllib.scheduling.rollout.play`; default all.

    Returns:
        Bounds [s], shape (E,), see :func:`requests_lower_bound_s`; 0 for an episode without tasks.
    """
    slots = arrivals.num_slots if num_slots is None else num_slots
    world, episodes = slotted_world(network), range(len(arrivals.task_counts))
    requests = [slotted_requests(network, arrivals.episodes(episode), slots) for episode in episodes]
    return np.array([requests_lower_bound_s(world.timing(one)) for one in requests])


def requests_lower_bound_s(timing: Timing) -> float:
    """Lower bound of the mean delay of requests, for any decisions and any order of service without interruption.

    The greatest of three bounds (the documentation's page on bounds has the argument in full). Servers may differ in
    which request takes longer: a server has a speed, here the inverse of its mean service time, and a request's work is
    the least of service time x speed of any server.

    1. *One machine.* A request that is served without interruption for ``p`` seconds is ready ``p / 2`` after its mean
       busy time (the mean of the times at which its work is done). All servers together do at most what one machine of
       their total speed can, which may interrupt; it makes the sum of mean busy times least by always working on the
       smallest work present. Each request adds the least ``upload + p / 2 + download`` of any server. Tight under
       overload.
    2. *Empty queues.* Requests that arrive together, on empty servers, wait and are served for the least time in all if
       the ``k``-th last on a server of speed ``f`` counts ``k / f`` times its work and the largest works get the
       smallest ``k / f``. Each adds the least ``upload + download``. Tight at low load in slots.
    3. *Alone.* Each request has the least ``upload + p + download``. Tight at low load, requests one by one.

    Loading of models is left out.

    Args:
        timing: Times of the requests.

    Returns:
        Bound [s]; 0 without requests.

    Source: mean busy times, M. X. Goemans, "Improved approximation algorithms for scheduling with release dates", SODA
    1997; unequal machines, E. Horowitz and S. Sahni, J. ACM 23 (1976).
    """
    service_s, way_s = timing.actual_s, timing.upload_s + timing.download_s
    if not len(way_s):
        return 0.0
    speed = speeds(timing)  # any other positive numbers give a bound, too
    work = (service_s * speed).min(axis=1)
    one_machine_s = one_machine_sum_s(timing.arrival_s, work, speed.sum()) + (way_s + service_s / 2.0).min(axis=1).sum()
    _, first, together = np.unique(timing.arrival_s, return_index=True, return_counts=True)
    ends = (first + together)[together > 1].tolist()
    counts = together[together > 1].tolist()
    several = sum(empty_queue_sum_s(work[end - count : end], speed) for end, count in zip(ends, counts, strict=True))
    empty_queues_s = several + work[first[together == 1]].sum() / speed.max() + way_s.min(axis=1).sum()
    alone_s = timing.solo_s(service_s).sum()
    return float(max(one_machine_s, empty_queues_s, alone_s)) / len(work)


def speeds(timing: Timing) -> FloatArray:
    """Speed of each server, up to a common factor: the inverse of its service times taken together, shape (A,)."""
    return 1.0 / np.maximum(timing.actual_s.sum(axis=0), 1e-12)


def one_machine_sum_s(arrival_s: FloatArray, work: FloatArray, speed: float) -> float:
    """Sum of mean busy times since arrival if one machine works on the smallest work present; no work counts 0.

    Args:
        arrival_s: Arrivals in their order [s], shape (K,).
        work: Work of each, shape (K,).
        speed: Work that the machine does in a second.

    >>> one_machine_sum_s(np.array([0.0, 1.0]), np.array([4.0, 2.0]), 2.0)  # 0 to 1 and 2 to 3, 1 to 2
    2.0
    """
    waiting: list[tuple[float, float, float]] = []  # work, what is left of it, arrival: smallest work first
    total, now = 0.0, 0.0
    ends = np.append(arrival_s[1:], np.inf)
    for arrived, own, end in zip(arrival_s.tolist(), work.tolist(), ends.tolist(), strict=True):
        now = max(now, arrived)
        if own > 0:
            heapq.heappush(waiting, (own, own, arrived))
        while waiting and now < end:
            size, left, since = heapq.heappop(waiting)
            done = min(left, (end - now) * speed)
            middle = now + done / (2.0 * speed)
            total += done / size * (middle - since)
            now += done / speed
            if done < left:
                heapq.heappush(waiting, (size, left - done, since))
                now = end
    return total


def empty_queue_sum_s(work: FloatArray, speed: FloatArray) -> float:
    """Least sum of waiting and service times of requests that find all servers empty, in any order.

    Args:
        work: Work of each, shape (K,).
        speed: Work that each server does in a second, shape (A,).

    >>> empty_queue_sum_s(np.array([10.0, 20.0]), np.array([10.0, 5.0]))  # 20 first on the fast server, 10 on either
    4.0
    """
    count = len(work)
    seconds_per_work = np.sort((np.arange(1, count + 1)[:, None] / speed).ravel(), kind="stable")[:count]
    return float(np.sort(work)[::-1] @ seconds_per_work)

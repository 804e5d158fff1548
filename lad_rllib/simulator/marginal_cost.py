"""Marginal cost of a task on each server: its own delay, and the delay that it adds to all tasks behind it.

Servers are first-in-first-out, so a task sent elsewhere changes two servers only: on the one it leaves, those behind
it wait less; on the one it joins, they wait longer; in both cases until that server's queue has run empty. Both changes
follow from the recorded queues alone, without playing the episode again:

- *taken away* (the server it was sent to): the queue shrinks by ``min(w, least recorded queue since)``;
- *added* (any other server): the queue grows by ``w`` less the time that the server has stood idle since, times ``f``.

Each is exact, so the difference of a task's costs on two servers is exactly how the sum of all delays changes if this
one task moves. (Two tasks that move at once do not add up.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lad_rllib.simulator import delays
from lad_rllib.simulator.network import EdgeNetwork
from lad_rllib.simulator.penalties import DelayPenalty, MeanDelay

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class PlayedEpisodes:
    """E episodes of T slots as they were played: what a marginal cost depends on.

    Attributes:
        network: Where they were played.
        mask: True where there was a task, shape (E, T, B, N).
        task_mbit: Input size [Mbit], shape (E, T, B, N).
        workload_gcycles: Work of each task [Gcycle], shape (E, T, B, N).
        result_mbit: Result size [Mbit], shape (E, T, B, N).
        action: Server of each task, shape (E, T, B, N); any value where there is no task.
        queue_gcycles: Slot-start queues, with those after the last slot [Gcycle], shape (E, T + 1, A).
    """

    network: EdgeNetwork
    mask: NDArray[np.bool_]
    task_mbit: FloatArray
    workload_gcycles: FloatArray
    result_mbit: FloatArray
    action: NDArray[np.int64]
    queue_gcycles: FloatArray


def marginal_costs_s(
    episodes: PlayedEpisodes,
    penalty: DelayPenalty | None = None,
    weight: FloatArray | None = None,
    horizon_slots: int | None = None,
    discount: float = 1.0,
) -> FloatArray:
    """Cost of every task on every server, all other decisions as they were.

    On the server that a task was sent to, the cost is what would be saved without the task; on any other server, what
    would be added if it were sent there instead. ``cost[..., a] - cost[..., action]`` is the change of the sum of all
    tasks' delays (of the slots played) if this task alone moves to ``a``.

    Args:
        episodes: The episodes as they were played.
        penalty: Loss of a task by its delay; None is the delay itself. The task's own loss is exact, the losses of
            those behind it change in proportion to their slopes (first order; exact for the delay itself).
        weight: Weight of each task's loss, shape (E, T, B, N); None is 1.
        horizon_slots: Later slots in which tasks behind are counted; None counts all to the end of the episode. What
            comes after the last slot played never counts.
        discount: Weight of a task behind for each slot that it comes later, in (0, 1]. Below 1 it bounds what counts in
            an episode without a known end. It also takes into account that schedulers which see the queues send later
            tasks elsewhere, so that what one task adds to one server spreads over all of them.

    Returns:
        Costs [s, or the penalty's unit], 0 where there is no task, shape (E, T, B, N, A).
    """
    if horizon_slots is not None and horizon_slots < 0:
        raise ValueError(f"horizon_slots must be at least 0, got {horizon_slots}")
    if not 0 < discount <= 1:
        raise ValueError(f"discount must be in (0, 1], got {discount}")
    shape, servers = episodes.mask.shape, episodes.network.num_servers
    capacity = episodes.network.capacity_gcycles_per_s
    cost = np.zeros((*shape, servers))
    for episode in range(shape[0]):
        slots = [_Slot(episodes, episode, slot) for slot in range(shape[1])]
        for slot, played in enumerate(slots):
            played.weigh(penalty or MeanDelay(), None if weight is None else weight[episode, slot])
        behind = np.array([played.slope_sum for played in slots]).reshape(-1, servers)
        idle = np.array([played.idle_gcycles for played in slots]).reshape(-1, servers)
        for slot, played in enumerate(slots):
            later = slice(slot + 1, None if horizon_slots is None else slot + 1 + horizon_slots)
            slopes = behind[later]
            slopes = slopes * discount ** np.arange(1, len(slopes) + 1)[:, None]
            least_queue = np.minimum.accumulate(episodes.queue_gcycles[episode, :-1][later], axis=0)
            idle_since = np.cumsum(idle[slot:], axis=0)[: len(slopes)]
            later_cost = hinge_sums(played.work, idle_since, slopes)
            taken_away = played.work[:, None] * slopes.sum(axis=0) - hinge_sums(played.work, least_queue, slopes)
            later_cost[played.sent_to] = taken_away[played.sent_to]
            in_slot_cost = played.work[:, None] * played.slope_behind
            cost[episode, slot][played.mask] = played.own_loss + (in_slot_cost + later_cost) / capacity
    return cost


def hinge_sums(values: FloatArray, corners: FloatArray, weights: FloatArray) -> FloatArray:
    """``sum_s weights[s, a] * max(values[k] - corners[s, a], 0)`` for every value and column.

    Sorting the values once makes this linear in the size of its arguments and result.

    Args:
        values: Shape (K,).
        corners: Shape (S, A).
        weights: Shape (S, A).

    Returns:
        Sums, shape (K, A).

    >>> hinge_sums(np.array([3.0, 1.0]), np.array([[0.0], [2.0]]), np.array([[1.0], [10.0]])).tolist()
    [[13.0], [1.0]]
    """
    count, columns = len(values), corners.shape[1]
    order = np.argsort(values, kind="stable")
    # First of the sorted values that lies above each corner; `count` if none does.
    first_above = np.searchsorted(values[order], corners, side="right")
    cell = (first_above * columns + np.arange(columns)).ravel()
    size = (count + 1) * columns

    def summed(weights: FloatArray) -> FloatArray:
        at_first = np.bincount(cell, weights.ravel(), minlength=size).reshape(count + 1, columns)
        return np.cumsum(at_first[:-1], axis=0)

    sums = np.empty((count, columns))
    sums[order] = values[order][:, None] * summed(weights) - summed(weights * corners)
    return sums


class _Slot:
    """The K tasks of one slot in the order in which they are served, with the delays that they cause one another.

    Attributes:
        mask: Their places among the padded tasks, shape (B, N).
        work: Work of each task [Gcycle], shape (K,).
        sent_to: True at each task's server, shape (K, A).
        idle_gcycles: Capacity that each server left unused in this slot [Gcycle], shape (A,).
        own_delay_s: Delay of each task at every server, behind those before it [s], shape (K, A).
        own_loss: Loss of that delay, shape (K, A).
        slope_behind: Slopes of the losses of the tasks behind each task, added up by server, shape (K, A).
        slope_sum: Slopes of the losses of all tasks, added up by server, shape (A,).
    """

    def __init__(self, episodes: PlayedEpisodes, episode: int, slot: int) -> None:
        network, where = episodes.network, (episode, slot)
        capacity = network.capacity_gcycles_per_s
        self.mask = episodes.mask[where]
        self.work = episodes.workload_gcycles[where][self.mask]
        self.sent_to = episodes.action[where][self.mask][:, None] == np.arange(network.num_servers)
        sent = np.where(self.sent_to, self.work[:, None], 0.0)
        through = np.cumsum(sent, axis=0)
        queue = episodes.queue_gcycles[where]
        self.idle_gcycles = np.maximum(capacity * network.slot_s - queue - sent.sum(axis=0), 0.0)
        upload, computing, download = network.unloaded_delays_s(
            self.mask, episodes.task_mbit[where], episodes.workload_gcycles[where], episodes.result_mbit[where]
        )
        waiting = delays.waiting_delay_s(queue, through - sent, capacity)
        self.own_delay_s = upload + waiting + computing + download

    def weigh(self, penalty: DelayPenalty, weight: FloatArray | None) -> None:
        """Fill in losses and slopes; ``weight`` has shape (B, N)."""
        own_weight = np.ones(len(self.work)) if weight is None else weight[self.mask]
        slope = own_weight * penalty.slope(self.own_delay_s[self.sent_to])
        self.own_loss = own_weight[:, None] * penalty.value(self.own_delay_s)
        through = np.cumsum(np.where(self.sent_to, slope[:, None], 0.0), axis=0)
        self.slope_sum = np.where(self.sent_to, slope[:, None], 0.0).sum(axis=0)
        self.slope_behind = self.slope_sum - through

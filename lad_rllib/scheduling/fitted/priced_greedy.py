"""Greedy with an externality: each task pays for the delay that it is expected to add to those behind it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lad_rllib.scheduling.fitted.size_tables import size_thresholds, slot_class_means
from lad_rllib.scheduling.heuristics import GreedyOracle
from lad_rllib.scheduling.rollout import EpisodeRecord, play
from lad_rllib.simulator.arrivals.base import ArrivalSource
from lad_rllib.simulator.episode import SlotTasks
from lad_rllib.simulator.marginal_cost import marginal_costs_s
from lad_rllib.simulator.network import EdgeNetwork
from lad_rllib.simulator.tasks import stack_arrivals

FloatArray = NDArray[np.float64]


class PricedGreedy(GreedyOracle):
    """The greedy oracle with prices: each task in turn takes the least own delay plus expected delay to others.

    A Gcycle sent to server ``a`` in slot ``t`` delays the tasks behind it: in the slot, the part ``slot_share[t, a]``
    of those still to be decided, and in later slots as many as ``later_tasks[t, c, a]`` for a task of size class ``c``.
    Both are learned from episodes played under earlier prices, so that in the end the prices are those of the schedule
    that they produce (self-consistent). Like the oracle it knows what was sent earlier in the slot.

    Args:
        network: Where the tasks run.
        num_slots: Slots that the tables have rows for; later slots use the last row.
        thresholds_gcycles: Workloads that divide the size classes, increasing, shape (C - 1,).

    Attributes:
        slot_share: Share of a slot's tasks that go to each server, shape (T, A); 0 before :meth:`learn`.
        later_tasks: Tasks of later slots that a task delays, per class, each counted by the part of the work that it
            still finds in its queue, shape (T, C, A).
    """

    def __init__(self, network: EdgeNetwork, num_slots: int, thresholds_gcycles: FloatArray) -> None:
        self.thresholds_gcycles = thresholds_gcycles
        self.slot_share = np.zeros((num_slots, network.num_servers))
        self.later_tasks = np.zeros((num_slots, len(thresholds_gcycles) + 1, network.num_servers))

    def external_delay_s(self, tasks: SlotTasks, episode: int) -> FloatArray:
        """Delay that each of the slot's K tasks is expected to add to others on each server [s], shape (K, A)."""
        slot = min(tasks.slot, len(self.slot_share) - 1)
        work = tasks.workload_gcycles[episode][tasks.mask[episode]]
        to_come = np.arange(len(work) - 1, -1, -1)[:, None]
        size_class = np.searchsorted(self.thresholds_gcycles, work)
        delayed_tasks = to_come * self.slot_share[slot] + self.later_tasks[slot, size_class]
        return work[:, None] * delayed_tasks / tasks.network.capacity_gcycles_per_s

    @classmethod
    def fit(
        cls,
        network: EdgeNetwork,
        source: ArrivalSource,
        rng: np.random.Generator,
        num_slots: int,
        *,
        iterations: int = 100,
        size_classes: int = 10,
        step: tuple[float, float] = (0.2, 0.01),
        progress: Callable[[int], None] | None = None,
    ) -> PricedGreedy:
        """Repeat: play with the present prices, compute what they should have been, and move towards that.

        Args:
            network: Where the tasks run.
            source: Where training arrivals come from.
            rng: Randomness of arrivals.
            num_slots: Slots of an episode.
            iterations: Episodes to play.
            size_classes: Most classes of workload, at equal numbers of tasks.
            step: How far prices move towards the new ones in the first and in the last episode, falling geometrically.
            progress: Called with the number of episodes played so far.
        """
        first = source.draw(rng, num_slots)
        greedy = cls(network, num_slots, size_thresholds(first.workload_gcycles[first.mask], size_classes))
        for iteration, part in enumerate(np.geomspace(*step, iterations)):
            greedy.learn(play(greedy, network, stack_arrivals([source.draw(rng, num_slots)]), rng), part)
            if progress is not None:
                progress(iteration + 1)
        return greedy

    def learn(self, record: EpisodeRecord, part: float) -> None:
        """Move the prices by ``part`` of the way to those of one played episode."""
        mask, servers = record.mask[0], np.arange(record.network.num_servers)
        sent = (record.action[0][..., None] == servers).sum(axis=(1, 2))
        count = mask.sum(axis=(1, 2))[:, None]
        share = np.where(count > 0, sent / np.maximum(count, 1), self.slot_share)
        later_s = (marginal_costs_s(record) - marginal_costs_s(record, horizon_slots=0))[0]
        work = record.workload_gcycles[0]
        per_gcycle = later_s / np.where(work > 0, work, 1.0)[..., None]
        delayed_tasks = per_gcycle * record.network.capacity_gcycles_per_s
        later = slot_class_means(delayed_tasks, mask, work, self.thresholds_gcycles, self.later_tasks)
        self.slot_share += part * (share - self.slot_share)
        self.later_tasks += part * (later - self.later_tasks)

"""The simplest learner of total delay: a table of server probabilities by slot and task size.

A yardstick of what can be learned without in-slot knowledge: it sees the slot and the task's workload, but no queue.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lad_rllib.scheduling.fitted.size_tables import size_thresholds, slot_class_means
from lad_rllib.scheduling.rollout import EpisodeRecord, play
from lad_rllib.simulator.arrivals.base import ArrivalSource
from lad_rllib.simulator.episode import SlotTasks
from lad_rllib.simulator.marginal_cost import marginal_costs_s
from lad_rllib.simulator.network import EdgeNetwork
from lad_rllib.simulator.penalties import DelayPenalty, MeanDelay
from lad_rllib.simulator.tasks import stack_arrivals

FloatArray = NDArray[np.float64]
_MIN_LOGIT, _MIN_LOSS = -50.0, 1e-9


class TabularPolicy:
    """Draws each task's server from a table of logits, learned by policy mirror descent on exact marginal costs.

    Without :meth:`fit` it draws in proportion to capacity.

    Args:
        network: Whose servers it chooses from.
        num_slots: Slots that the table has rows for; later slots use the last row.
        thresholds_gcycles: Workloads that divide the size classes, increasing, shape (C - 1,).

    Attributes:
        logits: Shape (T, C, A).
    """

    def __init__(self, network: EdgeNetwork, num_slots: int, thresholds_gcycles: FloatArray) -> None:
        self.thresholds_gcycles = thresholds_gcycles
        start = np.log(network.capacity_gcycles_per_s / network.capacity_gcycles_per_s.max())
        self.logits = np.tile(start, (num_slots, len(thresholds_gcycles) + 1, 1))

    def reset(self, num_episodes: int) -> None:
        """Nothing to forget."""

    def decide(self, tasks: SlotTasks, rng: np.random.Generator) -> NDArray[np.int64]:
        """See :class:`~lad_rllib.scheduling.scheduler.Scheduler`."""
        cumulative = np.cumsum(self.probabilities[min(tasks.slot, len(self.logits) - 1)], axis=-1)
        size_class = np.searchsorted(self.thresholds_gcycles, tasks.workload_gcycles)
        drawn = (rng.random(tasks.mask.shape)[..., None] > cumulative[size_class]).sum(axis=-1)
        return np.minimum(drawn, cumulative.shape[-1] - 1)

    @property
    def probabilities(self) -> FloatArray:
        """Chance of each server, shape (T, C, A)."""
        weight = np.exp(self.logits - self.logits.max(axis=-1, keepdims=True))
        return weight / weight.sum(axis=-1, keepdims=True)

    @classmethod
    def fit(
        cls,
        network: EdgeNetwork,
        source: ArrivalSource,
        rng: np.random.Generator,
        num_slots: int,
        *,
        episodes: int = 200,
        size_classes: int = 50,
        learning_rate: tuple[float, float] = (0.4, 0.008),
        penalty: DelayPenalty | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> TabularPolicy:
        """Learn a table from episodes of fresh arrivals.

        After each episode every row moves by ``logits -= rate * (cost - mean cost under the row's probabilities)``,
        where ``cost`` is the mean marginal cost of the row's tasks on each server. Rates are relative to the mean
        loss of the first episode.

        Args:
            network: Where the tasks run.
            source: Where training arrivals come from.
            rng: Randomness of arrivals and choices.
            num_slots: Slots of an episode, all of which are played.
            episodes: Episodes to learn from.
            size_classes: Most classes of workload, at equal numbers of tasks.
            learning_rate: Relative step size at the start and at the end, falling geometrically.
            penalty: Loss of a task by its delay; None is the delay itself.
            progress: Called with the number of episodes done so far.
        """
        first = source.draw(rng, num_slots)
        policy = cls(network, num_slots, size_thresholds(first.workload_gcycles[first.mask], size_classes))
        loss = MeanDelay() if penalty is None else penalty
        first_loss = None
        for episode, rate in enumerate(np.geomspace(*learning_rate, episodes)):
            arrivals = stack_arrivals([source.draw(rng, num_slots)])
            record = play(policy, network, arrivals, rng)
            if first_loss is None and record.mask.any():
                first_loss = max(float(loss.value(record.delay_s[record.mask]).mean()), _MIN_LOSS)
            if first_loss is not None:
                policy.learn(record, marginal_costs_s(record, penalty), rate / first_loss)
            if progress is not None:
                progress(episode + 1)
        return policy

    def learn(self, record: EpisodeRecord, cost: FloatArray, rate: float) -> None:
        """One step of mirror descent from the marginal costs of one episode, shape (1, T, B, N, A)."""
        mask, work = record.mask[0], record.workload_gcycles[0]
        mean = slot_class_means(cost[0], mask, work, self.thresholds_gcycles, np.zeros_like(self.logits))
        advantage = mean - (self.probabilities * mean).sum(axis=-1, keepdims=True)
        self.logits -= rate * advantage
        self.logits -= self.logits.max(axis=-1, keepdims=True)
        np.maximum(self.logits, _MIN_LOGIT, out=self.logits)

"""Offline search with full knowledge of the episodes: an upper bound of the least possible mean delay.

:func:`settle` finds the large structure (which servers are left to which tasks), :func:`local_search` then moves single
tasks until no move helps. Together they take about 20 s for an episode of the paper's setting.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lad_rllib.scheduling.rollout import EpisodeRecord, GivenDecisions, play
from lad_rllib.simulator import delays
from lad_rllib.simulator.marginal_cost import hinge_sums, marginal_costs_s
from lad_rllib.simulator.network import EdgeNetwork
from lad_rllib.simulator.tasks import Arrivals

FloatArray = NDArray[np.float64]
_MIN_GAIN_S, _MIN_LOGIT = 1e-9, -50.0


def local_search(
    network: EdgeNetwork,
    arrivals: Arrivals,
    record: EpisodeRecord,
    rng: np.random.Generator,
    rounds: int = 20,
    progress: Callable[[int], None] | None = None,
) -> EpisodeRecord:
    """Improve the decisions of played episodes by moving one task at a time.

    Each round visits all slots in random order and, in a slot, the tasks in turn; a task moves to the server where the
    sum of all delays is least, given all other decisions (its exact marginal cost, see
    :mod:`lad_rllib.simulator.marginal_cost`). The sum never grows; the search ends at a schedule that no single move
    improves, or after ``rounds``.

    Args:
        network: Where the tasks run.
        arrivals: Arrivals of E episodes, those that ``record`` was played on.
        record: The schedule to start from; the result depends on it.
        rng: Order of the slots.
        rounds: Most visits of each task.
        progress: Called with the number of rounds done so far, over all episodes.

    Returns:
        The improved episodes.
    """
    slots = record.mask.shape[1]
    action = record.action.copy()
    for episode, seed in enumerate(rng.integers(2**63, size=len(action))):
        search, own_rng = _Search(network, record, episode), np.random.default_rng(seed)
        for round_ in range(rounds):
            moves = search.visit_all(own_rng)
            if progress is not None:
                progress(episode * rounds + round_ + 1)
            if not moves:
                break
        for slot, mask in enumerate(record.mask[episode]):
            action[episode, slot][mask] = search.action[slot]
    return play(GivenDecisions(action), network, arrivals, rng, slots)


def settle(
    network: EdgeNetwork,
    arrivals: Arrivals,
    rng: np.random.Generator,
    num_slots: int | None = None,
    iterations: int = 200,
    learning_rate: tuple[float, float] = (0.25, 0.03),
    progress: Callable[[int], None] | None = None,
) -> EpisodeRecord:
    """Find decisions by playing the same episodes again and again until they settle.

    Policy mirror descent on a table with a row of logits for each single task (see
    :class:`~lad_rllib.scheduling.fitted.tabular.TabularPolicy`): all decisions are drawn, each task learns what it
    would have cost on every server, and draws again.

    Args:
        network: Where the tasks run.
        arrivals: Arrivals of E episodes.
        rng: Randomness of the draws.
        num_slots: Slots to play; default all.
        iterations: Times that each episode is played.
        learning_rate: Step size at the start and at the end, relative to the mean delay of the first time.
        progress: Called with the number of iterations done so far, over all episodes.

    Returns:
        The episodes as they were played last.
    """
    slots = arrivals.num_slots if num_slots is None else num_slots
    action = np.zeros(arrivals.mask[:, :slots].shape, dtype=np.int64)
    for episode, seed in enumerate(rng.integers(2**63, size=len(action))):
        single, own_rng = arrivals.episodes(slice(episode, episode + 1)), np.random.default_rng(seed)
        mask = single.mask[:, :slots]
        logits = np.tile(np.log(network.capacity_gcycles_per_s), (int(mask.sum()), 1))
        scale_s = None
        for iteration, rate in enumerate(np.geomspace(*learning_rate, iterations)):
            action[episode][mask[0]] = draw_from_logits(logits, own_rng)
            record = play(GivenDecisions(action[episode : episode + 1]), network, single, own_rng, slots)
            scale_s = scale_s or record.mean_delay_s
            if scale_s:
                logits -= rate / scale_s * marginal_costs_s(record)[mask]
            if progress is not None:
                progress(episode * iterations + iteration + 1)
    return play(GivenDecisions(action), network, arrivals, rng, slots)


def draw_from_logits(logits: FloatArray, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw a server for each row of logits, shape (K, A), which are shifted so that the greatest of each row is 0."""
    np.maximum(logits - logits.max(axis=1, keepdims=True), _MIN_LOGIT, out=logits)
    cumulative = np.cumsum(np.exp(logits), axis=1)
    uniform = rng.random(len(logits))[:, None] * cumulative[:, -1:]
    drawn: NDArray[np.int64] = (uniform > cumulative).sum(axis=1)
    return drawn


class _Search:
    """One episode under search: a move updates decisions and queues without playing the episode again.

    Attributes:
        action: Server of each task, one array (K,) for each slot.
    """

    def __init__(self, network: EdgeNetwork, record: EpisodeRecord, episode: int) -> None:
        self._capacity, self._slot_s = network.capacity_gcycles_per_s, network.slot_s
        masks = record.mask[episode]
        slots, servers = len(masks), np.arange(network.num_servers)
        self.action = [record.action[episode, t][masks[t]] for t in range(slots)]
        self._work = [record.workload_gcycles[episode, t][masks[t]] for t in range(slots)]
        self._alone = []  # delay of each task on empty servers
        for t, mask in enumerate(masks):
            tasks = (record.task_mbit, record.workload_gcycles, record.result_mbit)
            upload, computing, download = network.unloaded_delays_s(mask, *(values[episode, t] for values in tasks))
            self._alone.append(upload + computing + download)
        self._queue = record.queue_gcycles[episode].copy()
        self._sent = np.zeros((slots, len(servers)))
        self._count = np.zeros((slots, len(servers)))
        for t in range(slots):
            self._sent[t] = np.bincount(self.action[t], self._work[t], minlength=len(servers))
            self._count[t] = np.bincount(self.action[t], minlength=len(servers))

    def visit_all(self, rng: np.random.Generator) -> int:
        """Let every task move once; returns how many did."""
        # Rounding errors of the moves so far end here.
        for t, sent in enumerate(self._sent):
            self._queue[t + 1] = delays.next_queue_gcycles(self._queue[t], sent, self._capacity, self._slot_s)
        return sum(self._visit_slot(int(t)) for t in rng.permutation(len(self.action)))

    def _visit_slot(self, slot: int) -> int:
        work, action, alone, capacity = self._work[slot], self.action[slot], self._alone[slot], self._capacity
        every = np.arange(len(capacity))
        added, taken = self._later_costs(slot, every)
        before, behind = np.zeros(len(capacity)), self._count[slot].copy()
        moves = 0
        for k, (w, old) in enumerate(zip(work.tolist(), action.tolist(), strict=True)):
            behind[old] -= 1.0
            later = added[k].copy()
            later[old] = taken[k, old]
            cost = alone[k] + (self._queue[slot] + before + w * behind + later) / capacity
            new = int(cost.argmin())
            if new != old and cost[new] < cost[old] - _MIN_GAIN_S:
                self._move(slot, w, old, new)
                action[k] = new
                changed = np.array([old, new])
                added[:, changed], taken[:, changed] = self._later_costs(slot, changed)
                moves += 1
            before[int(action[k])] += w
        return moves

    def _later_costs(self, slot: int, servers: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
        """Work that tasks of later slots find more if a task joins each server, or less if it leaves; shapes (K, S)."""
        work, count = self._work[slot], self._count[slot + 1 :, servers]
        idle_since, least_queue = self._idle_since(slot, servers)[:-1], self._least_queue(slot, servers)[:-1]
        added = hinge_sums(work, idle_since, count)
        return added, work[:, None] * count.sum(axis=0) - hinge_sums(work, least_queue, count)

    def _idle_since(self, slot: int, servers: NDArray[np.int64] | int) -> FloatArray:
        """Capacity that each server left unused from this slot to the start of each later one and the end [Gcycle]."""
        spare = self._capacity[servers] * self._slot_s - self._queue[slot:-1, servers] - self._sent[slot:, servers]
        return np.cumsum(np.maximum(spare, 0.0), axis=0)

    def _least_queue(self, slot: int, servers: NDArray[np.int64] | int) -> FloatArray:
        return np.minimum.accumulate(self._queue[slot + 1 :, servers], axis=0)

    def _move(self, slot: int, work: float, old: int, new: int) -> None:
        self._queue[slot + 1 :, old] -= np.minimum(work, self._least_queue(slot, old))
        self._queue[slot + 1 :, new] += np.maximum(work - self._idle_since(slot, new), 0.0)
        self._sent[slot, old] -= work
        self._sent[slot, new] += work
        self._count[slot, old] -= 1.0
        self._count[slot, new] += 1.0

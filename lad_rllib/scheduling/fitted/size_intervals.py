"""Size-interval assignment: tasks of similar workload share servers, so that small ones do not wait for large ones.

Source: the policy SITA of M. Harchol-Balter, M. E. Crovella and C. D. Murta, "On choosing a task assignment policy for
a distributed server system", J. Parallel and Distributed Computing 59 (1999); here with several unequal servers for a
class.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling.heuristics import water_filling_shares
from lad_rllib.scheduling.rollout import play
from lad_rllib.simulator.arrivals.base import ArrivalSource
from lad_rllib.simulator.episode import SlotTasks
from lad_rllib.simulator.network import EdgeNetwork
from lad_rllib.simulator.tasks import stack_arrivals

FloatArray = NDArray[np.float64]


class SizeIntervals:
    """Each size class of tasks has servers of its own; within a class, water-filling on the slot-start queues.

    Args:
        thresholds_gcycles: Workloads that divide the C classes, not decreasing, shape (C - 1,); a task at a threshold
            belongs to the class below.
        size_class_of_server: Class that each server serves, shape (A,); every class needs a server.
    """

    def __init__(self, thresholds_gcycles: FloatArray, size_class_of_server: NDArray[np.int64]) -> None:
        self.thresholds_gcycles = np.asarray(thresholds_gcycles, dtype=np.float64)
        self.size_class_of_server = np.asarray(size_class_of_server)
        classes = len(self.thresholds_gcycles) + 1
        if sorted(set(self.size_class_of_server.tolist())) != list(range(classes)):
            raise ConfigurationError(
                f"{classes} size classes need a server each; the servers are given to classes "
                f"{sorted(set(self.size_class_of_server.tolist()))}"
            )
        if (np.diff(self.thresholds_gcycles) < 0).any():
            raise ConfigurationError(f"thresholds_gcycles must not decrease, got {self.thresholds_gcycles.tolist()}")

    def reset(self, num_episodes: int) -> None:
        """Nothing to forget."""

    def decide(self, tasks: SlotTasks, rng: np.random.Generator) -> NDArray[np.int64]:
        """See :class:`~lad_rllib.scheduling.scheduler.Scheduler`."""
        capacity = tasks.network.capacity_gcycles_per_s
        size_class = np.searchsorted(self.thresholds_gcycles, tasks.workload_gcycles)
        uniform = rng.random(tasks.mask.shape)
        action = np.zeros(tasks.mask.shape, dtype=np.int64)
        for index in range(len(self.thresholds_gcycles) + 1):
            servers = np.flatnonzero(self.size_class_of_server == index)
            of_class = size_class == index
            work = np.where(of_class, tasks.workload_gcycles, 0.0).sum(axis=(1, 2))
            shares = water_filling_shares(tasks.queue_gcycles[:, servers], capacity[servers], work)
            place = (uniform[..., None] > np.cumsum(shares, axis=-1)[:, None, None, :]).sum(axis=-1)
            action[of_class] = servers[np.minimum(place, len(servers) - 1)][of_class]
        return action

    @classmethod
    def fit(
        cls,
        network: EdgeNetwork,
        source: ArrivalSource,
        rng: np.random.Generator,
        num_slots: int,
        *,
        size_classes: int = 2,
        episodes: int = 2,
        trials: int = 60,
        progress: Callable[[int], None] | None = None,
    ) -> SizeIntervals:
        """Choose thresholds and groups that give the least mean delay on training arrivals: random, then local search.

        A candidate is a share of the tasks and a share of the capacity for each class, and the order in which servers
        are given to the classes. The first third of the trials is drawn at random, such that the smaller classes are
        about as busy as they can be and the largest has what is left; the rest are small changes of the best so far.
        All are played on the same arrivals.

        Args:
            network: Where the tasks run.
            source: Where training arrivals come from.
            rng: Randomness of arrivals, candidates and choices.
            num_slots: Slots of an episode.
            size_classes: Number of classes C, at most the number of servers.
            episodes: Training episodes, played by every candidate.
            trials: Candidates.
            progress: Called with the number of candidates played so far.
        """
        if not 1 <= size_classes <= network.num_servers:
            raise ConfigurationError(f"size_classes must lie between 1 and {network.num_servers}, got {size_classes}")
        arrivals = stack_arrivals([source.draw(rng, num_slots) for _ in range(episodes)])
        workloads = arrivals.workload_gcycles[arrivals.mask]
        load = arrivals.workload_gcycles.sum() / (network.total_capacity_gcycles_per_s * network.slot_s)
        load /= episodes * num_slots
        choices_seed = int(rng.integers(2**63))
        best: SizeIntervals | None = None
        best_parts: _Parts | None = None
        least = np.inf
        for trial in range(trials):
            if best_parts is None or trial < trials // 3:
                parts = _drawn(rng, workloads, network, size_classes, load)
            else:
                parts = _changed(best_parts, rng)
            candidate = cls(*_built(parts, workloads, network))
            delay = play(candidate, network, arrivals, np.random.default_rng(choices_seed)).mean_delay_s
            if delay < least:
                best, best_parts, least = candidate, parts, delay
            if progress is not None:
                progress(trial + 1)
        if best is None:
            raise ConfigurationError(f"trials must be at least 1, got {trials}")
        return best


_Parts = tuple[FloatArray, FloatArray, NDArray[np.int64]]
"""Share of the tasks of each class, share of the capacity, and the servers in the order in which classes get them."""


def _drawn(rng: np.random.Generator, workloads: FloatArray, network: EdgeNetwork, classes: int, load: float) -> _Parts:
    tasks = rng.dirichlet(np.full(classes, 2.0))
    bounds = (np.append(0.0, np.cumsum(tasks)) * len(workloads)).astype(int)
    work = np.append(0.0, np.cumsum(np.sort(workloads)))[bounds]
    work_shares = np.diff(work) / max(work[-1], 1e-12)
    capacity = work_shares * load / rng.uniform(0.6, 1.1, size=classes)
    capacity[-1] = max(1.0 - capacity[:-1].sum(), 0.05)
    order = np.argsort(network.capacity_gcycles_per_s * (1 if rng.random() < 0.5 else -1), kind="stable")
    return tasks, capacity / capacity.sum(), order


def _changed(parts: _Parts, rng: np.random.Generator) -> _Parts:
    tasks, capacity, order = parts
    scale = 10.0 ** rng.uniform(-2.0, -0.5)

    def moved(shares: FloatArray) -> FloatArray:
        changed = shares * np.exp(scale * rng.standard_normal(len(shares)))
        return changed / changed.sum()

    swapped = order.copy()
    one, other = rng.integers(len(order), size=2)
    swapped[[one, other]] = order[[other, one]]
    what = rng.integers(1, 8)  # any of the three, at least one
    return (
        moved(tasks) if what & 1 else tasks,
        moved(capacity) if what & 2 else capacity,
        swapped if what & 4 else order,
    )


def _built(parts: _Parts, workloads: FloatArray, network: EdgeNetwork) -> tuple[FloatArray, NDArray[np.int64]]:
    """Thresholds and classes of the servers; each class gets at least one server."""
    task_shares, capacity_shares, order = parts
    classes, servers = len(task_shares), len(order)
    cuts = np.cumsum(task_shares)[:-1].clip(0.0, 1.0)
    thresholds = np.quantile(workloads, cuts) if workloads.size else np.zeros(len(cuts))
    capacity = network.capacity_gcycles_per_s[order]
    middle = np.cumsum(capacity) - capacity / 2.0
    wanted = np.searchsorted(np.cumsum(capacity_shares)[:-1], middle / capacity.sum())
    size_class = np.empty(servers, dtype=np.int64)
    last = -1
    for k, server in enumerate(order):
        # Neither skip a class nor leave more classes than servers to come.
        least, most = max(classes - servers + k, last, 0), min(last + 1, classes - 1)
        size_class[server] = last = int(np.clip(wanted[k], least, most))
    return thresholds, size_class

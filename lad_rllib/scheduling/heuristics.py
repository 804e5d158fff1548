"""Schedulers without learning: the yardsticks that every result is printed beside.

All decide for a whole slot at once. Only the greedy oracle and the exact least-loaded see what was sent earlier in it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling.scheduler import Scheduler
from lad_rllib.simulator import delays
from lad_rllib.simulator.arrivals import Arrivals
from lad_rllib.simulator.episode import SlotTasks
from lad_rllib.simulator.network import EdgeNetwork

IntArray = NDArray[np.int64]


class _Stateless:
    """A scheduler that carries nothing from slot to slot."""

    def reset(self, num_episodes: int) -> None:
        """Nothing to forget."""


class ShortestExpectedDelay(_Stateless):
    """Each task in turn takes the server with its own least expected delay, as far as its work is known.

    It sees what was sent earlier in the slot, as a single dispatcher does. The expected delay is that of the queue and
    work that schedulers are told. Where they are told the work exactly this is the greedy oracle.
    Order: base station 0's tasks first, then station 1's, ... Source: shortest expected delay, arXiv 2112.05823.
    """

    def decide(self, tasks: SlotTasks, rng: np.random.Generator) -> IntArray:
        """See :class:`~lad_rllib.scheduling.scheduler.Scheduler`."""
        episodes = range(len(tasks.mask))
        return np.stack([_greedy_episode(tasks, e, self.external_delay_s(tasks, e)) for e in episodes])

    def external_delay_s(self, tasks: SlotTasks, episode: int) -> NDArray[np.float64]:
        """What counts of each of the slot's K tasks besides its own delay [s], (K, A) or broadcastable: nothing."""
        return np.zeros((1, 1))


class GreedyOracle(ShortestExpectedDelay):
    """Opt-TS: each task in turn takes the server with its own least service delay.

    It knows exactly what was sent earlier in the slot, which no scheduler at a base station does, and the work that
    every task will turn out to be, even where schedulers are not told. An oracle for each task alone; not the optimum
    of the whole. Order: base station 0's tasks first, then station 1's, ...
    Source: the baseline "Opt-TS" of arXiv 2412.18212.
    """

    def decide(self, tasks: SlotTasks, rng: np.random.Generator) -> IntArray:
        """See :class:`~lad_rllib.scheduling.scheduler.Scheduler`."""
        return super().decide(tasks.revealed or tasks, rng)


def _greedy_episode(tasks: SlotTasks, episode: int, external_s: NDArray[np.float64]) -> IntArray:
    network, mask = tasks.network, tasks.mask[episode]
    capacity, link_rate = network.capacity_gcycles_per_s, network.link_rate_mbit_per_s
    station, _ = np.nonzero(mask)
    is_home = network.home_server[station][:, None] == np.arange(network.num_servers)
    computing = delays.computing_delay_s(tasks.workload_gcycles[episode][mask][:, None], capacity)
    own = (
        delays.upload_delay_s(tasks.task_mbit[episode][mask][:, None], link_rate, is_home)
        + computing
        + delays.download_delay_s(tasks.result_mbit[episode][mask][:, None], link_rate)
    )
    waiting = delays.waiting_delay_s(tasks.queue_gcycles[episode], 0.0, capacity)
    action = np.zeros(mask.shape, dtype=np.int64)
    action[mask] = _one_after_another(own + external_s, computing, waiting)
    return action


def _one_after_another(
    own_s: NDArray[np.float64], computing_s: NDArray[np.float64], waiting_s: NDArray[np.float64]
) -> IntArray:
    """Servers with the least ``own + waiting``, task by task; each task lengthens the wait for those after it.

    Args:
        own_s: What counts of a task itself [s], shape (K, A).
        computing_s: Computing delays [s], shape (K, A).
        waiting_s: Waiting times before the first task [s], shape (A,).
    """
    waiting_s = waiting_s.copy()
    choice = np.empty(len(own_s), dtype=np.int64)
    for task in range(len(own_s)):
        server = (own_s[task] + waiting_s).argmin()
        waiting_s[server] += computing_s[task, server]
        choice[task] = server
    return choice


class Random(_Stateless):
    """Every server with the same probability."""

    def decide(self, tasks: SlotTasks, rng: np.random.Generator) -> IntArray:
        """See :class:`~lad_rllib.scheduling.scheduler.Scheduler`."""
        return rng.integers(tasks.network.num_servers, size=tasks.mask.shape)


class LocalOnly(_Stateless):
    """Every task stays at the server of its own base station."""

    def decide(self, tasks: SlotTasks, rng: np.random.Generator) -> IntArray:
        """See :class:`~lad_rllib.scheduling.scheduler.Scheduler`."""
        home = tasks.network.home_server
        if home.min() < 0:
            raise ConfigurationError(
                f"local-only needs an edge server at every base station; station {int(home.argmin())} has none"
            )
        return np.broadcast_to(home[:, None], tasks.mask.shape).copy()


class RoundRobin(_Stateless):
    """Each base station sends its tasks to the servers in turn, starting with its own number."""

    def __init__(self) -> None:
        self._next: IntArray = np.zeros((0, 0), dtype=np.int64)

    def reset(self, num_episodes: int) -> None:
        """Start every station's turn anew."""
        self._next = np.zeros((num_episodes, 0), dtype=np.int64)

    def decide(self, tasks: SlotTasks, rng: np.random.Generator) -> IntArray:
        """See :class:`~lad_rllib.scheduling.scheduler.Scheduler`."""
        if self._next.shape != tasks.task_counts.shape:
            self._next = np.broadcast_to(np.arange(tasks.network.num_stations), tasks.task_counts.shape)
        index = np.arange(tasks.mask.shape[-1])
        action = (self._next[..., None] + index) % tasks.network.num_servers
        self._next = self._next + tasks.task_counts
        return action


class LeastLoaded(_Stateless):
    """All tasks of the slot go to the server whose queue would be worked off first at slot start (they herd)."""

    def decide(self, tasks: SlotTasks, rng: np.random.Generator) -> IntArray:
        """See :class:`~lad_rllib.scheduling.scheduler.Scheduler`."""
        waiting = delays.waiting_delay_s(tasks.queue_gcycles, 0.0, tasks.network.capacity_gcycles_per_s)
        # Among idle servers the fastest; otherwise ties have measure zero.
        order = np.lexsort((np.broadcast_to(-tasks.network.capacity_gcycles_per_s, waiting.shape), waiting), axis=-1)
        return np.broadcast_to(order[:, :1, None], tasks.mask.shape).copy()


class LeastLoadedExact(_Stateless):
    """Each task in turn goes to the server that would be idle first, what was sent earlier in the slot included.

    What a load balancer with exact knowledge of all queues does: it does not herd, but it looks neither at how long the
    task would take there nor at its way. Among equally loaded servers the fastest. Order as in ``GreedyOracle``.
    """

    def decide(self, tasks: SlotTasks, rng: np.random.Generator) -> IntArray:
        """See :class:`~lad_rllib.scheduling.scheduler.Scheduler`."""
        capacity = tasks.network.capacity_gcycles_per_s
        fastest_first = np.argsort(-capacity, kind="stable")
        action = np.zeros(tasks.mask.shape, dtype=np.int64)
        for episode, mask in enumerate(tasks.mask):
            computing = delays.computing_delay_s(tasks.workload_gcycles[episode][mask][:, None], capacity)
            waiting = delays.waiting_delay_s(tasks.queue_gcycles[episode], 0.0, capacity)
            choice = _one_after_another(np.zeros_like(computing), computing[:, fastest_first], waiting[fastest_first])
            action[episode][mask] = fastest_first[choice]
        return action


class CapacityProportional(_Stateless):
    """A random server with probability in proportion to its capacity. Sees nothing; hard to beat under overload."""

    def decide(self, tasks: SlotTasks, rng: np.random.Generator) -> IntArray:
        """See :class:`~lad_rllib.scheduling.scheduler.Scheduler`."""
        capacity = tasks.network.capacity_gcycles_per_s
        return rng.choice(len(capacity), size=tasks.mask.shape, p=capacity / capacity.sum())


class WaterFilling(_Stateless):
    """A random server with probability in proportion to the work that levels all waiting times.

    The work expected in the slot (its own arrivals, known in total only) is poured over the servers' slot-start
    queues up to one common level of ``queue / capacity``; a server's probability is its share of that water.
    """

    def decide(self, tasks: SlotTasks, rng: np.random.Generator) -> IntArray:
        """See :class:`~lad_rllib.scheduling.scheduler.Scheduler`."""
        capacity = tasks.network.capacity_gcycles_per_s
        work = tasks.workload_gcycles.sum(axis=(1, 2))
        probability = water_filling_shares(tasks.queue_gcycles, capacity, work)
        cumulative = np.cumsum(probability, axis=-1)
        uniform = rng.random(tasks.mask.shape)
        action = (uniform[..., None] > cumulative[:, None, None, :]).sum(axis=-1)
        return np.minimum(action, len(capacity) - 1)


def water_filling_shares(
    queue_gcycles: NDArray[np.float64], capacity_gcycles_per_s: NDArray[np.float64], work_gcycles: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Shares of ``work`` that bring all servers that receive any to one waiting time.

    Args:
        queue_gcycles: Slot-start queues [Gcycle], shape (E, A).
        capacity_gcycles_per_s: Capacities [Gcycle/s], shape (A,).
        work_gcycles: Work to pour [Gcycle], shape (E,).

    Returns:
        Shares that add up to 1, shape (E, A); in proportion to capacity where there is no work.

    >>> water_filling_shares(np.array([[10.0, 0.0]]), np.array([10.0, 10.0]), np.array([30.0])).round(3).tolist()
    [[0.333, 0.667]]
    """
    level = queue_gcycles / capacity_gcycles_per_s
    order = np.argsort(level, axis=-1)
    sorted_level = np.take_along_axis(level, order, axis=-1)
    sorted_capacity = capacity_gcycles_per_s[order]
    total_capacity = np.cumsum(sorted_capacity, axis=-1)
    total_queue = np.cumsum(sorted_capacity * sorted_level, axis=-1)
    # Common level if exactly the k+1 emptiest servers receive work; the right k is the last whose level is below.
    candidate = (work_gcycles[:, None] + total_queue) / total_capacity
    used = (sorted_level < candidate).sum(axis=-1) - 1
    water = np.take_along_axis(candidate, np.maximum(used, 0)[:, None], axis=-1)
    poured = np.maximum(water - level, 0.0) * capacity_gcycles_per_s
    total = poured.sum(axis=-1, keepdims=True)
    even = capacity_gcycles_per_s / capacity_gcycles_per_s.sum()
    return np.where(total > 0, poured / np.where(total > 0, total, 1.0), even)


HEURISTICS: dict[str, Callable[[], Scheduler]] = {
    "greedy-oracle": GreedyOracle,
    "shortest-expected-delay": ShortestExpectedDelay,
    "water-filling": WaterFilling,
    "capacity-proportional": CapacityProportional,
    "least-loaded-exact": LeastLoadedExact,
    "least-loaded": LeastLoaded,
    "round-robin": RoundRobin,
    "random": Random,
    "local-only": LocalOnly,
}
"""Name of every heuristic and its class."""


def possible_heuristics(network: EdgeNetwork, arrivals: Arrivals) -> list[str]:
    """Names of the heuristics that can play these arrivals and differ.

    ``local-only`` needs an edge server at every base station. ``shortest-expected-delay`` is the greedy oracle where
    schedulers know the work of tasks beforehand.
    """
    without = {"local-only"} if network.home_server.min() < 0 else set()
    if arrivals.shown_workload_gcycles is None:
        without.add("shortest-expected-delay")
    return [name for name in HEURISTICS if name not in without]


def make_heuristic(name: str) -> Scheduler:
    """Build a heuristic by its name.

    Raises:
        ConfigurationError: for an unknown name; the message lists those that exist.
    """
    if name not in HEURISTICS:
        raise ConfigurationError(f"unknown scheduler {name!r}; choose from {', '.join(HEURISTICS)}")
    return HEURISTICS[name]()

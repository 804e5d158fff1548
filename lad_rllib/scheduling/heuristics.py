"""Schedulers without learning: the yardsticks that every result is printed beside.

All decide for a whole slot at once. Those that decide task by task also see what was sent earlier in the slot.
A heuristic is chosen by its name in :data:`HEURISTICS`. Another package adds one by subclassing :class:`Heuristic` and
naming the class in its entry-point group ``lad_rllib.heuristics``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from lad_rllib.errors import ConfigurationError
from lad_rllib.plugins import Registry
from lad_rllib.scheduling.scheduler import Scheduler
from lad_rllib.simulator import delays
from lad_rllib.simulator.episode import SlotTasks
from lad_rllib.simulator.network import EdgeNetwork
from lad_rllib.simulator.tasks import Arrivals

IntArray = NDArray[np.int64]


class Heuristic:
    """Base of the schedulers that need no training; built without arguments.

    By itself it carries nothing from slot to slot.
    """

    def reset(self, num_episodes: int) -> None:
        """Forget the last episode; see :class:`~lad_rllib.scheduling.scheduler.Scheduler`."""

    def decide(self, tasks: SlotTasks, rng: np.random.Generator) -> IntArray:
        """See :class:`~lad_rllib.scheduling.scheduler.Scheduler`."""
        raise NotImplementedError

    @classmethod
    def check_stations(cls, home_server: Sequence[int] | NDArray[np.integer]) -> None:
        """Refuse base stations that it cannot decide for.

        Args:
            home_server: Server at each base station, -1 for none, length B.

        Raises:
            ConfigurationError: naming the station.
        """

    @classmethod
    def differs(cls, arrivals: Arrivals) -> bool:
        """Whether it differs from all others on these arrivals."""
        return True


HEURISTICS: Registry[type[Heuristic]] = Registry("scheduler", "lad_rllib.heuristics", base=Heuristic)
"""Name of every heuristic and its class."""


class TaskByTaskGreedy(Heuristic):
    """Each task in turn takes the server with its own least expected delay, plus a price that subclasses may set.

    It sees what was sent earlier in the slot, as a single dispatcher does.
    Order: base station 0's tasks first, then station 1's, ...
    """

    def decide(self, tasks: SlotTasks, rng: np.random.Generator) -> IntArray:
        """See :class:`~lad_rllib.scheduling.scheduler.Scheduler`."""
        episodes = range(len(tasks.mask))
        return np.stack([_greedy_episode(tasks, e, self.external_delay_s(tasks, e)) for e in episodes])

    def external_delay_s(self, tasks: SlotTasks, episode: int) -> NDArray[np.float64]:
        """Price of each of the slot's K tasks on each server [s], (K, A) or broadcastable: nothing."""
        return np.zeros((1, 1))


@HEURISTICS.register("greedy-oracle")
class GreedyOracle(TaskByTaskGreedy):
    """Opt-TS: each task in turn takes the server with its own least service delay.

    It knows exactly what was sent earlier in the slot, which no scheduler at a base station does, and the work that
    every task will turn out to be, even where schedulers are not told. An oracle for each task alone; not the optimum
    of the whole. Order: base station 0's tasks first, then station 1's, ...
    Source: the baseline "Opt-TS" of arXiv 2412.18212.
    """

    def decide(self, tasks: SlotTasks, rng: np.random.Generator) -> IntArray:
        """See :class:`~lad_rllib.scheduling.scheduler.Scheduler`."""
        return super().decide(tasks.revealed or tasks, rng)


@HEURISTICS.register("shortest-expected-delay")
class ShortestExpectedDelay(TaskByTaskGreedy):
    """Each task in turn takes the server with its own least expected delay, as far as its work is known.

    The expected delay is that of the queue and work that schedulers are told. Where they are told the work exactly this
    is the greedy oracle. Source: shortest expected delay, arXiv 2112.05823.
    """

    @classmethod
    def differs(cls, arrivals: Arrivals) -> bool:
        """See :class:`Heuristic`."""
        return arrivals.shown_workload_gcycles is not None


def _greedy_episode(tasks: SlotTasks, episode: int, external_s: NDArray[np.float64]) -> IntArray:
    network, mask = tasks.network, tasks.mask[episode]
    upload, computing, download = network.unloaded_delays_s(
        mask, tasks.task_mbit[episode], tasks.workload_gcycles[episode], tasks.result_mbit[episode]
    )
    waiting = delays.waiting_delay_s(tasks.queue_gcycles[episode], 0.0, network.capacity_gcycles_per_s)
    action = np.zeros(mask.shape, dtype=np.int64)
    action[mask] = _one_after_another(upload + computing + download + external_s, computing, waiting)
    return action


def _one_after_another(
    own_s: NDArray[np.float64], computing_s: NDArray[np.float64], waiting_s: NDArray[np.float64]
) -> IntArray:
    """Servers with the least ``own + waiting``, task by task; each task lengthens the wait for those after it.

    Args:
        own_s: Part of the cost that does not depend on the queue [s], shape (K, A).
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


@HEURISTICS.register("water-filling")
class WaterFilling(Heuristic):
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


@HEURISTICS.register("capacity-proportional")
class CapacityProportional(Heuristic):
    """A random server with probability in proportion to its capacity. Sees nothing; hard to beat under overload."""

    def decide(self, tasks: SlotTasks, rng: np.random.Generator) -> IntArray:
        """See :class:`~lad_rllib.scheduling.scheduler.Scheduler`."""
        capacity = tasks.network.capacity_gcycles_per_s
        return rng.choice(len(capacity), size=tasks.mask.shape, p=capacity / capacity.sum())


@HEURISTICS.register("least-loaded-exact")
class LeastLoadedExact(Heuristic):
    """Each task in turn goes to the server that would be idle first, what was sent earlier in the slot included.

    What a load balancer with exact knowledge of all queues does: it does not herd, but it ignores how long the task
    itself would compute and travel. Among equally loaded servers the fastest. Order as in ``GreedyOracle``.
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


@HEURISTICS.register("least-loaded")
class LeastLoaded(Heuristic):
    """All tasks of the slot go to the server whose queue would be worked off first at slot start (they herd)."""

    def decide(self, tasks: SlotTasks, rng: np.random.Generator) -> IntArray:
        """See :class:`~lad_rllib.scheduling.scheduler.Scheduler`."""
        waiting = delays.waiting_delay_s(tasks.queue_gcycles, 0.0, tasks.network.capacity_gcycles_per_s)
        # Among idle servers the fastest; otherwise ties have measure zero.
        order = np.lexsort((np.broadcast_to(-tasks.network.capacity_gcycles_per_s, waiting.shape), waiting), axis=-1)
        return np.broadcast_to(order[:, :1, None], tasks.mask.shape).copy()


@HEURISTICS.register("round-robin")
class RoundRobin(Heuristic):
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


@HEURISTICS.register("random")
class Random(Heuristic):
    """Every server with the same probability."""

    def decide(self, tasks: SlotTasks, rng: np.random.Generator) -> IntArray:
        """See :class:`~lad_rllib.scheduling.scheduler.Scheduler`."""
        return rng.integers(tasks.network.num_servers, size=tasks.mask.shape)


@HEURISTICS.register("local-only")
class LocalOnly(Heuristic):
    """Every task stays at the server of its own base station."""

    def decide(self, tasks: SlotTasks, rng: np.random.Generator) -> IntArray:
        """See :class:`~lad_rllib.scheduling.scheduler.Scheduler`."""
        self.check_stations(tasks.network.home_server)
        return np.broadcast_to(tasks.network.home_server[:, None], tasks.mask.shape).copy()

    @classmethod
    def check_stations(cls, home_server: Sequence[int] | NDArray[np.integer]) -> None:
        """See :class:`Heuristic`."""
        if min(home_server) < 0:
            raise ConfigurationError(
                f"local-only needs an edge server at every base station; station {int(np.argmin(home_server))} has none"
            )


def possible_heuristics(
    network: EdgeNetwork, arrivals: Arrivals, say: Callable[[str], object] | None = None
) -> list[str]:
    """Names of the heuristics that can play these arrivals and differ on them; ``say`` as in :func:`heuristics_for`."""
    different = [name for name in HEURISTICS if HEURISTICS[name].differs(arrivals)]
    return heuristics_for(network.home_server, different, say)


def heuristics_for(
    home_server: Sequence[int] | NDArray[np.integer],
    heuristics: Iterable[str],
    say: Callable[[str], object] | None = None,
) -> list[str]:
    """The heuristics that can decide for these base stations.

    Args:
        home_server: Server at each base station, -1 for none, length B.
        heuristics: Names to choose from.
        say: Is called with the reason why one is left out.
    """
    names = []
    for name in heuristics:
        try:
            HEURISTICS[name].check_stations(home_server)
        except ConfigurationError as error:
            if say:
                say(f"left out: {error}")
        else:
            names.append(name)
    return names


def make_heuristic(name: str) -> Scheduler:
    """Build a heuristic by its name.

    Raises:
        ConfigurationError: for an unknown name; the message lists those that exist.
    """
    return HEURISTICS[name]()

"""Size intervals: each server, or servers that are equally fast, take requests of neighbouring sizes.

A size is the predicted service time, mean over the servers. Cuts between sizes are made in the *work* of the past: a
request lies where the share of work in smaller ones is, and within the share of its own size by chance. So equal
sizes, of which some traffic has only a few, can be cut, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib.arrays import Doubles, Vector
from lad_rllib.compiling import lean_kernel, lean_part
from lad_rllib.scheduling.request_rules.parts import load, mean, rate_per_s, sizes_s
from lad_rllib.scheduling.request_scheduler import RuleScheduler
from lad_rllib.simulator.requests import Requests, RequestWorld
from lad_rllib.simulator.requests.loop import View
from lad_rllib.simulator.requests.play import CompiledRule, play_rule

FloatArray = NDArray[np.float64]

SIZES = 500
"""Most sizes that a table of them holds."""
_EQUAL = 1e-9
_EQUALLY_FAST = 1.05
_BUSIEST = 0.95


@lean_part
def place_in_work(numbers: Doubles, size: float, uniform: float) -> float:
    """Share of the past's work in requests that come before one of this size, by chance among equal ones.

    Args:
        numbers: Begins with a table of :func:`work_table`.
        size: Size of the request [s].
        uniform: A random number from [0, 1).
    """
    sizes = int(numbers[0])
    low, high = 0, sizes  # the first size that is not smaller
    while low < high:
        middle = (low + high) // 2
        if numbers[1 + middle] < size * (1 - _EQUAL):
            low = middle + 1
        else:
            high = middle
    if low == sizes:
        return 1.0
    below = numbers[sizes + low] if low > 0 else 0.0
    share = uniform
    if numbers[1 + low] > size * (1 + _EQUAL):  # between two sizes of the table
        share = (size - numbers[low]) / (numbers[1 + low] - numbers[low]) if low > 0 else 0.0
    return below + share * (numbers[1 + sizes + low] - below)


@lean_part
def least_loaded_of(view: View, numbers: Doubles, first: int, place: float) -> int:
    """Least work left of the servers whose interval of work has a place in it; of all if none of those is up.

    Args:
        view: What is known of the servers.
        numbers: From ``first`` on the begin of each server's interval, then their ends.
        first: See there.
        place: Share of work.
    """
    best, best_is_in, servers = -1, False, len(view.up)
    for server in range(servers):
        is_in = numbers[first + server] <= place < numbers[first + servers + server]
        is_better = best >= 0 and is_in == best_is_in and view.work_left_s[server] < view.work_left_s[best]
        if view.up[server] and (best < 0 or is_better or (is_in and not best_is_in)):
            best, best_is_in = server, is_in
    return best


@lean_kernel
def by_interval(view: View, numbers: Doubles, weights: Vector, memory: Doubles, notes: Vector, uniform: float) -> int:
    """Least work left within the size's interval; ``numbers``: table of sizes, begins, ends."""
    place = place_in_work(numbers, mean(view.service_s), uniform)
    return least_loaded_of(view, numbers, 1 + 2 * int(numbers[0]), place)


@lean_kernel
def improved(view: View, numbers: Doubles, weights: Vector, memory: Doubles, notes: Vector, uniform: float) -> int:
    """Least cost to itself and to others; ``numbers``: of each server, requests to come for a second of free time."""
    best, least_cost = -1, np.inf
    for server in range(len(view.up)):
        service_s = view.swap_s[server] + view.service_s[server]
        own_s = view.way_s[server] + view.ahead_s[server] + service_s
        others_s = view.overtaken[server] * service_s
        others_s += numbers[server] * service_s * (view.work_left_s[server] + 0.5 * service_s)
        if view.up[server] and (best < 0 or own_s + others_s < least_cost):
            best, least_cost = server, own_s + others_s
    return best


def work_table(sizes: FloatArray) -> FloatArray:
    """Number of sizes, the sizes, increasing, and the share of work in each and those before it."""
    ordered = np.sort(sizes)
    ends = np.append(np.flatnonzero(np.diff(ordered) > _EQUAL * ordered[1:]), len(ordered) - 1)
    values, until = ordered[ends], np.cumsum(ordered)[ends]
    kept = np.unique(np.searchsorted(until, np.linspace(0, until[-1], SIZES)).clip(max=len(values) - 1))
    return np.concatenate([[len(kept)], values[kept], until[kept] / until[-1]])


def intervals(world: RequestWorld, history: Requests, fast_take_small: bool) -> tuple[FloatArray, FloatArray]:
    """Interval of work of each server, its begin and end, as long as its share of all speed; equally fast ones share.

    Args:
        world: The servers.
        history: Requests from which their speeds follow.
        fast_take_small: Whether the fastest take the smallest requests, or the largest.
    """
    speed = world.speed(history)
    order = np.argsort(-speed if fast_take_small else speed, kind="stable")
    fast = speed[order]
    is_new = np.append(True, np.maximum(fast[1:] / fast[:-1], fast[:-1] / fast[1:]) > _EQUALLY_FAST)
    group = np.cumsum(is_new) - 1
    shares = np.bincount(group, fast) / fast.sum()
    ends = np.cumsum(shares)
    ends[-1] = np.inf
    begin, end = np.empty(len(speed)), np.empty(len(speed))
    begin[order], end[order] = np.append(0.0, ends[:-1])[group], ends[group]
    return begin, end


def equal_load_rule(world: RequestWorld, history: Requests, fast_take_small: bool) -> CompiledRule:
    """The rule of size intervals with equal load."""
    begin, end = intervals(world, history, fast_take_small)
    numbers = np.concatenate([work_table(sizes_s(world, history)), begin, end])
    return CompiledRule(by_interval, numbers, sees_order=False)


def best_on(history: Requests, world: RequestWorld, rules: list[CompiledRule]) -> int:
    """Which rule has the least mean delay on the requests of the past."""
    timing = world.timing(history)

    def mean_s(rule: CompiledRule) -> Any:
        return play_rule(rule, world, history, np.random.default_rng(0), timing).delay_s.mean()

    return int(np.argmin([mean_s(rule) for rule in rules]))


class SizeIntervalsEqualLoad(RuleScheduler):
    """SITA-E: servers take neighbouring sizes, cut so that all are equally busy; within a class least work left.

    Servers that are equally fast are a class. Whether the fast ones take the small or the large requests is tried on
    the past's requests, and the better is taken. It sees predicted sizes, and work left among equals.
    Source: M. Harchol-Balter, M. E. Crovella and C. D. Murta, J. Parallel and Distributed Computing 59 (1999).
    """

    def rule(self, world: RequestWorld, history: Requests) -> CompiledRule:
        """See :class:`RuleScheduler`."""
        rules = [equal_load_rule(world, history, fast_take_small) for fast_take_small in (True, False)]
        return rules[best_on(history, world, rules)]


class FirstPolicyIteration(RuleScheduler):
    """One step of policy iteration from size intervals with equal load: own delay plus what later requests will pay.

    Under the intervals each server is a queue M/G/1 of its own, whose relative value of ``u`` seconds of work is
    ``rate * u² / (2 (1 - load))``; a request of ``x`` seconds therefore costs later ones ``rate / (1 - load) * x *
    (u + x / 2)``. Those that it overtakes at once pay ``x`` each. For other orders than first in, first out the value
    stays that of first in, first out, as there is no closed one. Loads count as at most 0.95, above which the value
    has no meaning. It sees predictions, the order and what is in memory.
    Source: E. Hyytiä, A. Penttinen and S. Aalto, European J. Operational Research 217 (2012), eq. (9) of which this is
    the case of first in, first out.
    """

    def rule(self, world: RequestWorld, history: Requests) -> CompiledRule:
        """See :class:`RuleScheduler`."""
        sizes, rate = sizes_s(world, history), rate_per_s(history)
        work = np.sort(sizes)
        until = np.append(0.0, np.cumsum(work)) / work.sum()
        cuts = [intervals(world, history, fast_take_small) for fast_take_small in (True, False)]
        busy = min(load(world, history), _BUSIEST)
        rules = []
        for begin, end in cuts:
            in_class = np.interp(np.minimum(end, 1.0), until, np.linspace(0, 1, len(until)))
            in_class -= np.interp(begin, until, np.linspace(0, 1, len(until)))
            speed = world.speed(history)
            of_class = np.array([speed[begin == one].sum() for one in begin])
            own_rate = rate * in_class * speed / of_class
            rules.append(CompiledRule(improved, own_rate / (1.0 - busy)))
        return rules[best_on(history, world, rules)]

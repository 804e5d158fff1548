"""Rules that compare what the servers have to do."""

from __future__ import annotations

import numpy as np

from lad_rllib.arrays import Doubles, Vector
from lad_rllib.compiling import lean_kernel
from lad_rllib.scheduling.request_rules.parts import drawn, least
from lad_rllib.scheduling.request_scheduler import RuleScheduler
from lad_rllib.simulator.requests import Requests, RequestWorld
from lad_rllib.simulator.requests.loop import View
from lad_rllib.simulator.requests.play import CompiledRule

RESIDENT_MARGIN = 2
"""How many requests more a server with the model in memory may have than the least busy one."""


@lean_kernel
def shortest_queue(
    view: View, numbers: Doubles, weights: Vector, memory: Doubles, notes: Vector, uniform: float
) -> int:
    """Fewest requests; ``numbers``: mean service time of each server."""
    for server in range(len(view.up)):
        memory[server] = view.tasks[server]
    return least(memory, numbers, view.up)


@lean_kernel
def better_of_two(view: View, numbers: Doubles, weights: Vector, memory: Doubles, notes: Vector, uniform: float) -> int:
    """Of two that are drawn, that with the least expected delay by number; ``numbers``: speeds."""
    one, rest = drawn(numbers, view.up, -1, uniform)
    other, _ = drawn(numbers, view.up, one, rest)
    shorter = (view.tasks[other] + 1) / numbers[other] < (view.tasks[one] + 1) / numbers[one]
    return other if shorter else one


@lean_kernel
def least_declared(
    view: View, numbers: Doubles, weights: Vector, memory: Doubles, notes: Vector, uniform: float
) -> int:
    """Least declared cost; ``numbers``: mean service time of each server."""
    return least(view.declared, numbers, view.up)


@lean_kernel
def least_work_left(
    view: View, numbers: Doubles, weights: Vector, memory: Doubles, notes: Vector, uniform: float
) -> int:
    """Least work left."""
    return least(view.work_left_s, view.service_s, view.up)


@lean_kernel
def least_work_left_and_swap(
    view: View, numbers: Doubles, weights: Vector, memory: Doubles, notes: Vector, uniform: float
) -> int:
    """Least work left, the loading of the request's model included."""
    for server in range(len(view.up)):
        memory[server] = view.work_left_s[server] + view.swap_s[server]
    return least(memory, view.service_s, view.up)


@lean_kernel
def least_own_delay(
    view: View, numbers: Doubles, weights: Vector, memory: Doubles, notes: Vector, uniform: float
) -> int:
    """Least expected delay of the request itself."""
    for server in range(len(view.up)):
        memory[server] = view.way_s[server] + view.ahead_s[server] + view.swap_s[server] + view.service_s[server]
    return least(memory, view.service_s, view.up)


@lean_kernel
def resident_first(
    view: View, numbers: Doubles, weights: Vector, memory: Doubles, notes: Vector, uniform: float
) -> int:
    """Shortest queue among those with the model, unless all are busy; ``numbers``: mean service times, then margin."""
    fewest = -1
    for server in range(len(view.up)):
        if view.up[server] and (fewest < 0 or view.tasks[server] < view.tasks[fewest]):
            fewest = server
    margin = numbers[len(view.up)]
    for server in range(len(view.up)):
        is_near = view.swap_s[server] == 0.0 and view.tasks[server] <= view.tasks[fewest] + margin
        memory[server] = view.tasks[server] - (margin + 1 if is_near else 0)
    return least(memory, numbers, view.up)


class JoinShortestQueue(RuleScheduler):
    """The server with the fewest requests, waiting or served; among equal ones the fastest on the past's requests.

    It sees neither sizes nor predictions. Source: W. Winston, "Optimality of the shortest line discipline", J. Applied
    Probability 14 (1977), for equal servers; what routers of image services do.
    """

    def rule(self, world: RequestWorld, history: Requests) -> CompiledRule:
        """See :class:`RuleScheduler`."""
        mean_s = world.service_s(history).mean(axis=0)
        return CompiledRule(shortest_queue, mean_s, memory=world.num_servers, sees_order=False)


class PowerOfTwo(RuleScheduler):
    """Of two servers, drawn in proportion to speed, that with the least ``(requests there + 1) / speed``.

    It sees speeds on the past's requests and numbers of requests, neither sizes nor predictions. Source: J. A. Jaleel,
    S. Doroudi, K. Gardner and A. Wickeham, arXiv 2112.05823: power of d = 2 for unequal servers.
    """

    def rule(self, world: RequestWorld, history: Requests) -> CompiledRule:
        """See :class:`RuleScheduler`."""
        return CompiledRule(better_of_two, world.speed(history), sees_order=False)


class DeclaredCost(RuleScheduler):
    """The server with the least outstanding steps x pixels x images; among equal ones the fastest.

    It sees what requests declare, and neither predictions nor, but for ties, how fast servers are.
    Source: llm-d router, pull request 2053.
    """

    def rule(self, world: RequestWorld, history: Requests) -> CompiledRule:
        """See :class:`RuleScheduler`."""
        return CompiledRule(least_declared, world.service_s(history).mean(axis=0), sees_order=False)


class LeastWorkLeft(RuleScheduler):
    """The server that would be idle first, by predicted seconds of work: the strong simple rule.

    It knows the servers' speeds, and neither what the request itself takes there, but for ties, nor what it costs those
    behind it. Source: M. Harchol-Balter, M. E. Crovella and C. D. Murta (1999), there for equal servers.
    """

    def rule(self, world: RequestWorld, history: Requests) -> CompiledRule:
        """See :class:`RuleScheduler`."""
        return CompiledRule(least_work_left, sees_order=False)


class LeastWorkLeftAffinity(RuleScheduler):
    """Least work left, where loading the request's model and LoRAs counts as work: drawn to servers that hold them.

    It sees predictions and what is in memory.
    """

    def rule(self, world: RequestWorld, history: Requests) -> CompiledRule:
        """See :class:`RuleScheduler`."""
        return CompiledRule(least_work_left_and_swap, memory=world.num_servers, sees_order=False)


class ShortestExpectedDelay(RuleScheduler):
    """The server with the request's own least expected delay: transfer, those ahead of it, loading, and service.

    Those ahead are those that the order of service puts there now. It sees predictions and what is in memory, and not
    what the request costs those behind it. Source: shortest expected delay, arXiv 2112.05823, here in seconds.
    """

    def rule(self, world: RequestWorld, history: Requests) -> CompiledRule:
        """See :class:`RuleScheduler`."""
        return CompiledRule(least_own_delay, memory=world.num_servers)


class ResidentFirst(RuleScheduler):
    """The shortest queue among servers that hold the model and LoRAs, unless those have many more requests than others.

    It sees what is in memory and numbers of requests, neither sizes nor predictions. Source: LoRA affinity of the
    Gateway API inference extension, with a margin of :data:`RESIDENT_MARGIN` requests.
    """

    def rule(self, world: RequestWorld, history: Requests) -> CompiledRule:
        """See :class:`RuleScheduler`."""
        numbers = [*world.service_s(history).mean(axis=0), RESIDENT_MARGIN]
        return CompiledRule(resident_first, np.array(numbers), memory=world.num_servers, sees_order=False)

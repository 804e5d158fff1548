"""Rules that do not look at queues."""

from __future__ import annotations

import numpy as np

from lad_rllib.arrays import Doubles, Vector
from lad_rllib.compiling import lean_kernel
from lad_rllib.scheduling.request_rules.parts import drawn
from lad_rllib.scheduling.request_scheduler import RuleScheduler
from lad_rllib.simulator.requests import Requests, RequestWorld
from lad_rllib.simulator.requests.loop import View
from lad_rllib.simulator.requests.play import CompiledRule


@lean_kernel
def in_proportion(view: View, numbers: Doubles, weights: Vector, memory: Doubles, notes: Vector, uniform: float) -> int:
    """A random server; ``numbers``: share of each."""
    return drawn(numbers, view.up, -1, uniform)[0]


@lean_kernel
def in_turn(view: View, numbers: Doubles, weights: Vector, memory: Doubles, notes: Vector, uniform: float) -> int:
    """The next server that is up; ``memory[0]``: where the turn is."""
    for step in range(len(view.up)):
        server = (int(memory[0]) + step) % len(view.up)
        if view.up[server]:
            memory[0] = server + 1
            return server
    return -1


class Random(RuleScheduler):
    """Every server with the same probability. It sees nothing."""

    def rule(self, world: RequestWorld, history: Requests) -> CompiledRule:
        """See :class:`RuleScheduler`."""
        return CompiledRule(in_proportion, np.ones(world.num_servers), sees_order=False)


class SpeedProportional(RuleScheduler):
    """A random server with probability in proportion to its speed on the requests of the past. It sees nothing else."""

    def rule(self, world: RequestWorld, history: Requests) -> CompiledRule:
        """See :class:`RuleScheduler`."""
        return CompiledRule(in_proportion, world.speed(history), sees_order=False)


class RoundRobin(RuleScheduler):
    """The servers in turn. It sees nothing."""

    def rule(self, world: RequestWorld, history: Requests) -> CompiledRule:
        """See :class:`RuleScheduler`."""
        return CompiledRule(in_turn, memory=1, sees_order=False)

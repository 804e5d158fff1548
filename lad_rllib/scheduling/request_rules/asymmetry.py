"""CARD: all servers but one are kept short, and that one gets as few requests as possible, large ones."""

from __future__ import annotations

from itertools import product

import numpy as np

from lad_rllib.arrays import Doubles, Vector
from lad_rllib.compiling import lean_kernel
from lad_rllib.scheduling.request_rules.intervals import best_on, place_in_work, work_table
from lad_rllib.scheduling.request_rules.parts import least, load, mean, sizes_s
from lad_rllib.scheduling.request_scheduler import RuleScheduler
from lad_rllib.simulator.requests import Requests, RequestWorld
from lad_rllib.simulator.requests.loop import View
from lad_rllib.simulator.requests.play import CompiledRule

MARGINS = (0.05, 0.2)
LEVELS = (1.0, 4.0, 16.0)


@lean_kernel
def by_class(view: View, numbers: Doubles, weights: Vector, memory: Doubles, notes: Vector, uniform: float) -> int:
    """``numbers``: table of sizes, places where medium and large requests begin, level, the long server."""
    first = 1 + 2 * int(numbers[0])
    place = place_in_work(numbers, mean(view.service_s), uniform)
    long = int(numbers[first + 3])
    for server in range(len(view.up)):
        memory[server] = view.work_left_s[server]
    if view.up[long]:
        memory[long] = np.inf
    short = least(memory, view.service_s, view.up)
    is_large = place >= numbers[first + 1]
    is_medium = place >= numbers[first] and view.work_left_s[short] > numbers[first + 2]
    return long if view.up[long] and (is_large or is_medium) else short


class ControlledAsymmetry(RuleScheduler):
    """CARD: small requests to the least loaded short server, large ones to the long server, medium ones as it fits.

    A medium request goes to the least loaded short server while that has at most a level of work left, else to the long
    one. Small requests alone leave the short servers some time, with the medium ones they have more work than time; so
    their work stays near the level. The paper has equal servers
    and load below 1. Here a server's share of the work is its share of the speed, or under overload what it can do. The
    long server (the slowest or the fastest), that choice, the level (1, 4 or 16 mean service times) and the margin (5
    or 20 % of the short servers' speed) are those with the least mean delay on the past's requests. It sees predicted
    sizes and work left.
    Source: R. Xie, I. Grosof and Z. Scully, "Heavy-traffic optimal size- and state-aware dispatching", arXiv
    2312.16377.
    """

    def rule(self, world: RequestWorld, history: Requests) -> CompiledRule:
        """See :class:`RuleScheduler`."""
        sizes, speed = sizes_s(world, history), world.speed(history)
        table, excess = work_table(sizes), {1.0, max(load(world, history), 1.0)}
        rules = []
        for long, over, margin, level in product({int(speed.argmin()), int(speed.argmax())}, excess, MARGINS, LEVELS):
            short = (1.0 - speed[long] / speed.sum()) / over if world.num_servers > 1 else 0.0
            own = [short * (1.0 - margin), short * (1.0 + margin), level * sizes.mean(), long]
            numbers = np.concatenate([table, own])
            rules.append(CompiledRule(by_class, numbers, memory=world.num_servers, sees_order=False))
        return rules[best_on(history, world, rules)]

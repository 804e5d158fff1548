"""Greedy with a price that the rule finds out by itself."""

from __future__ import annotations

import math

import numpy as np

from lad_rllib.arrays import Doubles, Vector
from lad_rllib.compiling import lean_kernel
from lad_rllib.scheduling.request_rules.parts import rate_per_s
from lad_rllib.scheduling.request_scheduler import RuleScheduler
from lad_rllib.simulator.requests import Requests, RequestWorld
from lad_rllib.simulator.requests.loop import View
from lad_rllib.simulator.requests.play import CompiledRule

SHARE_MEMORY = 20.0
"""Requests of each server after which its share counts 1/e."""
RATE_MEMORY = 200.0
"""The same of the arrival rate."""


@lean_kernel
def priced(view: View, numbers: Doubles, weights: Vector, memory: Doubles, notes: Vector, uniform: float) -> int:
    """Least own delay plus price; ``numbers``: rate, then shares to begin with; ``memory``: see :class:`SelfPriced`."""
    servers = len(view.up)
    if memory[0] == 0.0:  # the first request
        memory[0], memory[1] = RATE_MEMORY * servers, RATE_MEMORY * servers / numbers[0]
        memory[2] = view.now_s
        for server in range(servers):
            memory[3 + server] = numbers[1 + server]
    passed_s = view.now_s - memory[2]
    kept = math.exp(-passed_s * numbers[0] / (RATE_MEMORY * servers))
    memory[0], memory[1], memory[2] = memory[0] * kept + 1.0, memory[1] * kept + passed_s, view.now_s
    rate = memory[0] / memory[1]
    best, least_cost = -1, np.inf
    for server in range(servers):
        service_s = view.swap_s[server] + view.service_s[server]
        own_s = view.way_s[server] + view.ahead_s[server] + service_s
        delayed = view.overtaken[server] + rate * memory[3 + server] * (view.work_left_s[server] + service_s)
        cost = own_s + delayed * service_s
        if view.up[server] and (best < 0 or cost < least_cost):
            best, least_cost = server, cost
    for server in range(servers):
        memory[3 + server] *= 1.0 - 1.0 / (SHARE_MEMORY * servers)
    if best >= 0:
        memory[3 + best] += 1.0 / (SHARE_MEMORY * servers)
    return best


class SelfPriced(RuleScheduler):
    """Own expected delay plus a price: the requests that will come while the server is busy wait for this one, too.

    Those are expected at the present arrival rate times the share of recent requests that went to this server; those
    that it overtakes at once are counted. Both are moving averages that it keeps itself (20 requests for each server,
    200 for the rate), so nothing is learned beforehand. It sees predictions, the order and what is in memory.
    Source: the static form is E. Hyytiä, A. Penttinen and S. Aalto (2012); this one is ours.
    """

    def rule(self, world: RequestWorld, history: Requests) -> CompiledRule:
        """See :class:`RuleScheduler`."""
        speed = world.speed(history)
        numbers = np.concatenate([[rate_per_s(history)], speed / speed.sum()])
        return CompiledRule(priced, numbers, memory=3 + world.num_servers)

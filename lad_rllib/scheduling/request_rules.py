"""Compiled rules for requests that come one by one: the yardsticks that an engineer or a reviewer would name."""

from __future__ import annotations

from lad_rllib.arrays import Doubles, Vector
from lad_rllib.compiling import kernel
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, RuleScheduler
from lad_rllib.simulator.requests import Requests, RequestWorld
from lad_rllib.simulator.requests.loop import View
from lad_rllib.simulator.requests.play import CompiledRule


@kernel
def least_work_left(
    view: View, numbers: Doubles, weights: Vector, memory: Doubles, notes: Vector, uniform: float
) -> int:
    """The server that would be idle first; among equal ones the one that would serve the request fastest."""
    best = -1
    for server in range(len(view.up)):
        if view.up[server] and (
            best < 0
            or view.work_left_s[server] < view.work_left_s[best]
            or (view.work_left_s[server] == view.work_left_s[best] and view.service_s[server] < view.service_s[best])
        ):
            best = server
    return best


@REQUEST_SCHEDULERS.register("least-work-left")
class LeastWorkLeft(RuleScheduler):
    """Each request goes to the server that would be idle first, by predicted seconds of work: the strong simple rule.

    It knows the servers' speeds, and neither what the request itself takes there nor what it costs those behind it.
    """

    def rule(self, world: RequestWorld, history: Requests) -> CompiledRule:
        """See :class:`RuleScheduler`."""
        return CompiledRule(least_work_left, sees_order=False)

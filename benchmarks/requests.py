"""How many requests a second the event loop decides, for several rules and numbers of servers.

All rules play the same requests in one run; the fastest of their rounds counts. Beside each stands its time over that
of an empty rule, which reads the decisions of least work left from a list: what is left of that is the loop itself.
Rules that see the order of service make the loop walk along every queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.report import RESULTS, provenance, show, write_page
from lad_rllib.arrays import Doubles, Vector
from lad_rllib.compiling import lean_kernel
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS
from lad_rllib.simulator.requests import build_request_setting
from lad_rllib.simulator.requests.loop import View
from lad_rllib.simulator.requests.play import CompiledRule, play_decisions, play_rule

RULES = ("least-work-left", "shortest-expected-delay", "declared-cost", "card", "self-priced")
SERVERS = (5, 20, 100)
ORDERS = ("fifo", "aged:service_weight=10")
LOAD = 0.9
ROUNDS = 3
GOAL_PER_S = 500_000


@lean_kernel
def nothing(view: View, numbers: Doubles, weights: Vector, memory: Doubles, notes: Vector, uniform: float) -> int:
    memory[0] += 1
    return int(numbers[int(memory[0]) - 1])


def measured(servers: int, order: str, requests: int = 100_000) -> list[dict[str, Any]]:
    """A row for each rule, for the empty one, and for a replay of given decisions."""
    speeds = np.random.default_rng(0).uniform(0.8, 1.2, servers).tolist()
    spec = {"servers": speeds, "requests": requests, "order": order, "traffic": {"kind": "poisson", "load": LOAD}}
    setting = build_request_setting(spec)
    world, drawn = setting.world, setting.draw(np.random.default_rng(1))
    timing = world.timing(drawn)
    rules: dict[str, Any] = {name: REQUEST_SCHEDULERS[name]().rule(world, setting.history()) for name in RULES}
    given = play_rule(rules[RULES[0]], world, drawn, np.random.default_rng(2), timing).server
    rules = {"empty rule": CompiledRule(nothing, given.astype(float), memory=1, sees_order=False)} | rules
    plays: dict[str, Callable[[], Any]] = {
        name: lambda rule=rule: play_rule(rule, world, drawn, np.random.default_rng(2), timing)
        for name, rule in rules.items()
    }
    plays["given decisions"] = lambda: play_decisions(given, world, drawn, timing)
    taken = {name: [_cpu_s(play) for _ in range(1 + ROUNDS)][1:] for name, play in plays.items()}  # the first compiles
    least = {name: min(each) for name, each in taken.items()}
    return [
        {
            "servers": servers,
            "order": order,
            "rule": name,
            "requests a second": requests / seconds,
            "ns a request": 1e9 * seconds / requests,
            "over the empty rule": seconds / least["empty rule"],
        }
        for name, seconds in least.items()
    ]


def _cpu_s(play: Callable[[], Any]) -> float:
    began = time.process_time()
    play()
    return time.process_time() - began


def main() -> int:
    """Measure, print and write the table; returns 1 if the goal is missed."""
    rows = [row for servers in SERVERS for order in ORDERS for row in measured(servers, order)]
    of_20 = [row for row in rows if row["servers"] == 20 and row["rule"] in RULES]
    slowest = min(of_20, key=lambda row: row["requests a second"])
    verdict = (
        f"{'reached' if slowest['requests a second'] >= GOAL_PER_S else 'missed'}: goal {GOAL_PER_S:,} requests a "
        f"second with 20 servers; the slowest, {slowest['rule']} ({slowest['order']}), decides "
        f"{slowest['requests a second']:,.0f}"
    )
    limit = (
        "The limit is memory: of each request the loop reads a row of service times, transfers and keys, one number "
        "for each server, and fills in the view of each server. So the time grows with the number of servers; the "
        "rules' arithmetic is the smaller part."
    )
    print(show(rows), verdict, sep="\n")
    about = provenance("one thread") | {"requests": f"100,000 at load {LOAD:g}, Poisson"}
    write_page(RESULTS / "requests.md", "Requests decided in a second", about, show(rows), verdict, limit)
    return int(slowest["requests a second"] < GOAL_PER_S)


if __name__ == "__main__":
    raise SystemExit(main())

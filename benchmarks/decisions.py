"""How long the policy any-fleet takes to decide a single request, by servers and denoising steps.

    python -m benchmarks.decisions        # a minute; writes benchmarks/results/decisions.md

What a live dispatcher does for each request: one call of ``choose()`` from Python, which looks up the compiled rule.
Least work left is called in the same way in the same run. CPU time of each call.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.report import RESULTS, provenance, show, write_page
from lad_rllib.algorithms.lad_dispatch import DispatchPolicy
from lad_rllib.algorithms.lad_dispatch.actor_settings import ActorSettings
from lad_rllib.algorithms.lad_dispatch.networks import ScoringActor
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.simulator.requests import build_request_setting
from lad_rllib.simulator.requests.play import RequestSimulation

SERVERS, STEPS = (5, 20, 100, 200), (0, 1, 2, 3, 5)
GOALS_US = {20: 1000.0, 200: 3000.0}
LOAD = 0.9


def schedulers() -> dict[str, Any]:
    """Least work left, the policy of the package, and actors of other numbers of denoising steps."""
    actors = [ScoringActor(ActorSettings(policy_denoising_steps=steps), 0) for steps in STEPS]
    policies = [DispatchPolicy(actor.settings, actor.packed()) for actor in actors]
    return {
        "least-work-left": make_scheduler("least-work-left", one_by_one=True),
        "any-fleet": DispatchPolicy.pretrained("any-fleet"),
        **{f"actor of {steps} steps": policy for steps, policy in zip(STEPS, policies, strict=True)},
    }


def measured(servers: int, requests: int = 2000) -> list[dict[str, Any]]:
    """A row for each scheduler; the first tenth of the requests, which compiles and fills the queues, is left out."""
    speeds = np.random.default_rng(0).uniform(0.5, 1.5, servers).tolist()
    spec = {"servers": speeds, "requests": requests, "traffic": {"kind": "poisson", "load": LOAD}}
    setting = build_request_setting(spec)
    rows = []
    for name, scheduler in schedulers().items():
        scheduler.begin(setting.world, setting.history())
        rng, taken_us = np.random.default_rng(1), []
        simulation = RequestSimulation(setting.world, setting.draw(rng))
        for view in simulation:
            began = time.thread_time_ns()
            server = scheduler.choose(view, rng)
            taken_us.append((time.thread_time_ns() - began) / 1000)
            simulation.send(server)
        counted = taken_us[requests // 10 :]
        median, late = np.percentile(counted, [50, 99])
        rows.append({"servers": servers, "scheduler": name, "median, µs": median, "99th percentile, µs": late})
    return rows


def main() -> int:
    """Measure, print and write the table; returns 1 if a goal is missed."""
    rows = [row for servers in SERVERS for row in measured(servers)]
    ours = {row["servers"]: row["median, µs"] for row in rows if row["scheduler"] == "any-fleet"}
    missed = [servers for servers, goal_us in GOALS_US.items() if ours[servers] > goal_us]
    goals = ", ".join(f"{ours[servers]:.0f} µs at {servers} servers" for servers in GOALS_US)
    verdict = f"{'missed' if missed else 'reached'}: goal 1 ms at 20 servers and 3 ms at 200; any-fleet takes {goals}"
    print(show(rows), verdict, sep="\n")
    about = provenance("one thread") | {"requests": f"2,000 at load {LOAD:g}, Poisson, one by one"}
    write_page(RESULTS / "decisions.md", "Time of a decision", about, show(rows), verdict)
    return int(bool(missed))


if __name__ == "__main__":
    raise SystemExit(main())

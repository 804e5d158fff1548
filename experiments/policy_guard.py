"""How soon the guard of a running service finds a bad policy, and how often it takes a good one for bad.

    python -m experiments.policy_guard             # five policies, two loads, three repetitions of six hours

Policies decide for hours of traffic in the simulator. The guard looks at the latest requests as it does in a service:
what was sent against least work left, on the same requests. It should leave what is worse within the stated time, and
never what is better. The deliberately bad policy is the shipped one with all its weights turned round, without its cap
on waits, and without the range of its training, beyond which it would hand over.
Written into --output: a row for each policy, load and seed (policy_guard.csv, kept by --resume), and a table
(policy_guard.md).
"""

from __future__ import annotations

import sys
from itertools import product
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from lad_rllib.algorithms.lad_dispatch import DispatchPolicy
from lad_rllib.api.oversight.guard import FEWEST, Guard
from lad_rllib.cli.program import Program
from lad_rllib.runs.options import Count, Positive, ResumableOptions, option
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.progress import bars
from lad_rllib.runs.rows import ResultRows
from lad_rllib.runs.tables import markdown_page, markdown_table, mean_sd, put_page
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.scheduling.judgement import Replayed
from lad_rllib.scheduling.request_scheduler import RequestScheduler, player
from lad_rllib.simulator.requests import RequestSetting, build_request_setting
from lad_rllib.simulator.requests.play import play_decisions

HEURISTIC, SHIPPED, BAD = "least-work-left", "any-fleet", "any-fleet, turned round"
WINDOWS = 10


class GuardOptions(ResumableOptions):
    """What is watched, and for how long."""

    command: ClassVar[str] = "policy_guard"
    title = "run"

    policies: list[str] = option(
        [SHIPPED, "shortest-expected-delay", "join-shortest-queue", "random", BAD],
        f"{SHIPPED}, {BAD}, and schedulers in charge",
        "NAME",
        min_length=1,
    )
    loads: list[Positive] = option([0.7, 0.9], "loads of the fleet unequal-8", "X")
    hours: Positive = option(6.0, "hours of traffic for each", "H")
    go_back_after: Positive = option(600.0, "the stated time [s]", "S")
    look_every: Positive = option(60.0, "time between two looks [s]", "S")
    seeds: Count = option(3, "repetitions")
    output: str = option("results/policy_guard", "output folder", "DIR")


def run(options: GuardOptions) -> int:
    """Watch each policy; returns the exit status."""
    output = writable_folder(options.output)
    same = {name: getattr(options, name) for name in ("hours", "go_back_after", "look_every")}
    rows = ResultRows(output / "policy_guard.csv", options.resume, **same)
    cells = [*product(range(options.seeds), options.loads, options.policies)]
    with bars() as progress:
        for seed, load, name in progress.track(cells, description="policies"):
            key = {"policy": name, "load": load, "seed": seed}
            if not rows.has(**key):
                rows.add(key | watched(decider(name), setting_of(load, options.hours), options, seed))
    put_page(output / "policy_guard.md", markdown_page("The guard", markdown_table(*guard_table(rows.frame))))
    return 0


def decider(name: str) -> RequestScheduler:
    """A policy or scheduler by its name."""
    if name == SHIPPED:
        return DispatchPolicy.pretrained(SHIPPED)
    if name == BAD:
        good = DispatchPolicy.pretrained(SHIPPED).with_wait_cap(None)
        return DispatchPolicy(good.actor, -5 * good.weights)
    scheduler: RequestScheduler = make_scheduler(name, one_by_one=True)
    return scheduler


def setting_of(load: float, hours: float) -> RequestSetting:
    """Hours of traffic."""
    traffic = {"kind": "poisson", "load": load}
    return build_request_setting({"preset": "unequal-8", "traffic": traffic, "duration_s": 3600.0 * hours})


def watched(scheduler: RequestScheduler, setting: RequestSetting, options: GuardOptions, seed: int) -> dict[str, Any]:
    """What the guard finds while a policy decides for an episode."""
    requests = setting.draw(np.random.default_rng([seed, 1]))
    served = player(scheduler, setting.world, setting.history())(requests, np.random.default_rng([seed, 2]))
    rule = player(make_scheduler(HEURISTIC, one_by_one=True), setting.world, setting.history())
    least = rule(requests, np.random.default_rng([seed, 3])).delay_s
    guard, left_at_s, worse_looks, looks = Guard(options.go_back_after), float("nan"), 0, 0
    for now_s in np.arange(0.0, requests.arrival_s[-1], options.look_every):
        come = int(np.searchsorted(requests.arrival_s, now_s, side="right"))
        first, judged = guard.judged(requests.arrival_s[:come], now_s)
        if come - judged < FEWEST:
            continue
        replayed = slice(first, come)
        sent_s = play_decisions(served.server[replayed], setting.world, requests[replayed]).delay_s
        rule_s = rule(requests[replayed], np.random.default_rng([seed, 3])).delay_s
        sent, other = (in_windows(who, one[judged - first :]) for who, one in (("sent", sent_s), (HEURISTIC, rule_s)))
        look = guard.look(now_s, sent, [other])
        looks, worse_looks = looks + 1, worse_looks + bool(look.worse)
        if look.is_over:
            left_at_s = now_s
            break
    return {
        "mean_ratio": float(served.delay_s.mean() / least.mean()),
        "p99_ratio": float(np.percentile(served.delay_s, 99) / np.percentile(least, 99)),
        "looks": looks,
        "worse_looks": worse_looks,
        "left_after_s": left_at_s,
    }


def in_windows(name: str, delay_s: np.ndarray) -> Replayed:
    """Delays in the windows that intervals are over."""
    return Replayed(name, tuple(np.array_split(delay_s, WINDOWS)))


def guard_table(rows: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Titles and rows of the table: a row for each policy and load, over seeds."""
    lines = []
    for (name, load), own in rows.groupby(["policy", "load"], sort=False):
        left_s = own["left_after_s"].dropna()
        ratios = [mean_sd(own[f"{measure}_ratio"].mean(), 2, own[f"{measure}_ratio"].std()) for measure in MEASURES]
        looks = f"{own['worse_looks'].sum()} of {own['looks'].sum()}"
        lines.append([f"{name}", f"{load:g}", *ratios, looks, f"{len(left_s)} of {len(own)}", _range(left_s)])
    header = ["in charge", "load", "mean over least work left's", "p99 over it", "looks that say worse"]
    return [*header, "left", "after, s"], lines


def _range(left_s: pd.Series) -> str:
    return " to ".join(dict.fromkeys(f"{end:.0f}" for end in (left_s.min(), left_s.max()))) if len(left_s) else ""


MEASURES = ("mean", "p99")
SMOKE = {"seeds": 1, "hours": 0.5, "policies": [BAD], "loads": [0.8]}
main = Program(run, GuardOptions, __doc__, SMOKE)

if __name__ == "__main__":
    sys.exit(main())

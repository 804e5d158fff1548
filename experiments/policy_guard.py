"""How soon the guard of a running service finds a bad policy, and how often it takes a good one for bad.

Policies decide for hours of traffic in the simulator. The guard looks at the latest requests as it does in a service:
what was sent against least work left, on the same requests. It should leave what is worse within the stated time, and
never what is better.
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from lad_rllib.api.oversight.guard import Guard
from lad_rllib.api.oversight.overseer import FEWEST, MOST
from lad_rllib.cli.program import Program
from lad_rllib.runs.options import Count, Options, Positive, option
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.run_folder import newest_policy, scheduler_of
from lad_rllib.runs.tables import markdown_page, summary_table
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.scheduling.judgement import Replayed
from lad_rllib.scheduling.request_scheduler import player
from lad_rllib.simulator.requests import RequestSetting, build_request_setting
from lad_rllib.simulator.requests.play import play_decisions

HEURISTIC = "least-work-left"
WINDOWS = 10


class GuardOptions(Options):
    """What is watched, and for how long."""

    command: ClassVar[str] = "policy_guard"
    title = "run"

    policies: list[str] = option(
        ["any-fleet", "shortest-expected-delay", "join-shortest-queue", "power-of-two", "random"],
        "shipped policies and schedulers in charge",
        "NAME",
        min_length=1,
    )
    load: Positive = option(0.8, "load of the fleet unequal-8", "X")
    hours: Positive = option(6.0, "hours of traffic for each", "H")
    go_back_after: Positive = option(600.0, "the stated time [s]", "S")
    look_every: Positive = option(60.0, "time between two looks [s]", "S")
    seeds: Count = option(3, "repetitions")
    output: str = option("results/policy_guard", "output folder", "DIR")


def watched(name: str, setting: RequestSetting, options: GuardOptions, seed: int) -> dict[str, Any]:
    """What the guard finds while a policy decides for an episode."""
    is_rule = name != "any-fleet"
    scheduler = make_scheduler(name, one_by_one=True) if is_rule else scheduler_of(newest_policy(name))
    requests = setting.draw(np.random.default_rng([seed, 1]))
    served = player(scheduler, setting.world, setting.history())(requests, np.random.default_rng([seed, 2]))
    rule = player(make_scheduler(HEURISTIC, one_by_one=True), setting.world, setting.history())
    least = rule(requests, np.random.default_rng([seed, 3])).delay_s
    guard, left_at_s, worse_looks, looks = Guard(options.go_back_after), float("nan"), 0, 0
    for now_s in np.arange(0.0, requests.arrival_s[-1], options.look_every):
        come = np.flatnonzero(requests.arrival_s <= now_s)
        recent = come[requests.arrival_s[come] >= now_s - guard.window_s]
        look_at = (recent if len(recent) >= FEWEST else come[-FEWEST:])[-MOST:]
        if len(look_at) < FEWEST:
            continue
        asked = requests[look_at]
        sent = play_decisions(served.server[look_at], setting.world, asked).delay_s
        other = rule(asked, np.random.default_rng([seed, 3])).delay_s
        replays = (Replayed(who, tuple(np.array_split(one, WINDOWS))) for who, one in (("sent", sent), ("rule", other)))
        look = guard.look(now_s, next(replays), [next(replays)])
        looks, worse_looks = looks + 1, worse_looks + bool(look.worse)
        if look.is_over:
            left_at_s = now_s
            break
    return {
        "policy": name,
        "seed": seed,
        "mean_ratio": float(served.delay_s.mean() / least.mean()),
        "p99_ratio": float(np.percentile(served.delay_s, 99) / np.percentile(least, 99)),
        "worse_looks": worse_looks / max(looks, 1),
        "left_after_s": left_at_s,
    }


def run(options: GuardOptions) -> int:
    """Watch each policy; returns the exit status."""
    output = writable_folder(options.output)
    spec = {"preset": "unequal-8", "traffic": {"kind": "poisson", "load": options.load}}
    setting = build_request_setting(spec | {"duration_s": 3600.0 * options.hours})
    rows = [watched(name, setting, options, seed) for name in options.policies for seed in range(options.seeds)]
    table = pd.DataFrame(rows)
    table.to_csv(output / "policy_guard.csv", index=False)
    text = markdown_page("The guard", summary_table(table, {name: name for name in table}))
    (output / "policy_guard.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


SMOKE = {"seeds": 1, "hours": 0.5, "policies": ["random"]}
main = Program(run, GuardOptions, __doc__, SMOKE)

if __name__ == "__main__":
    sys.exit(main())

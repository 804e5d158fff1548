"""One policy for any fleet: LAD-Dispatch trained over random fleets, judged on fleets that it never saw.

    python -m experiments.any_fleet --resume                      train it, or go on with it
    python -m experiments.any_fleet --resume --judge              and play it on fleets that it never saw
    python -m experiments.any_fleet --judge --policies any-fleet  train nothing, and play that of the package
    python -m experiments.any_fleet --policy-denoising-steps 0 --output results/plain    without a chain

Each iteration plays some random fleets. Every few iterations the mean actor plays held-out fleets, and the best one is
kept. Written into --output: for each seed (seed-0/, ...) the state of training (state.pt), its curve (any_fleet.csv)
and its best policy so far (policy/); the best policy of all seeds (policy/), which every command takes as a checkpoint;
and what was judged, of every seed (judged.csv, judged.md).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from experiments.any_fleet_training import FleetTrainingOptions, folder_of, train_seeds
from lad_rllib.algorithms.common.policy_file import FOLDER
from lad_rllib.algorithms.lad_dispatch import DispatchPolicy, LADDispatchHyperparameters
from lad_rllib.algorithms.lad_dispatch.networks import ScoringActor
from lad_rllib.cli.program import Program
from lad_rllib.runs.fresh_episodes import YARDSTICK, mean_and_p99_s
from lad_rllib.runs.fresh_episodes import FreshEpisodes as Cell
from lad_rllib.runs.options import Count, option
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.rows import ResultRows
from lad_rllib.runs.tables import markdown_page, markdown_table, mean_sd, over_first, put_page
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.simulator.requests import RequestSetting, build_request_setting

PRIOR, LEARNED, UNCAPPED, NO_SEED = "prior alone", "any-fleet", ", no cap", "-"
CELL = ["servers", "speeds", "load", "order"]
MEASURES = ("mean_s", "p99_s")
FAMILIES = {
    "equal": lambda servers: [1.0] * servers,
    "four classes": lambda servers: [2.0 ** -(index % 4) for index in range(servers)],
}
"""Speeds of judged fleets by name; training draws no four classes."""
JUDGED_SEED = 1_000_000


class AnyFleetOptions(FleetTrainingOptions):
    """What is trained and judged, and what that may cost."""

    command: ClassVar[str] = "any_fleet"
    may_change = FleetTrainingOptions.may_change | {
        *("judge", "policies", "caps", "only_capped", "servers", "loads", "orders", "episodes")
    }

    judge: bool = option(False, "play the best policy of each seed on fleets that training never drew")
    policies: list[str] = option([], "judge these, and train none", "DIR", may_be_empty=True)
    caps: list[Annotated[float, Field(ge=0)]] = option([1.2], "judge with these caps, too", "X", may_be_empty=True)
    only_capped: bool = option(False, "do not judge without a cap")
    servers: list[Count] = option([5, 8, 10, 20, 40, 100], "judged numbers of servers", "A")
    loads: list[Annotated[float, Field(gt=0)]] = option([0.3, 0.7, 0.95, 1.3], "judged loads", "X")
    orders: list[str] = option(["fifo", "shortest_first"], "judged orders of service", "ORDER")
    episodes: Count = option(2, "judged episodes of each")


def run(options: AnyFleetOptions) -> int:
    """Train, and judge if that is asked for; returns the exit status."""
    output = writable_folder(options.output)
    settings = hyperparameters(
        options.iterations,
        sampled_requests=options.sampled,
        updates_per_iteration=options.updates,
        policy_denoising_steps=options.policy_denoising_steps,
        hidden_size=options.hidden_size,
        wait_cap=options.wait_cap,
    )
    if not options.policies and not train_seeds(options, settings, output):
        return 0
    if options.judge:
        judge(options, output)
    return 0


def hyperparameters(iterations: int, **changed: Any) -> LADDispatchHyperparameters:
    """How the policy for any fleet is trained in so many iterations of four random fleets."""
    own = {"sampled_requests": 800, "updates_per_iteration": 40, "train_batch_size_per_learner": 128}
    return LADDispatchHyperparameters(**own | {"last_actor_lr": 5e-4, "step_size_iterations": iterations} | changed)


def judge(options: AnyFleetOptions, output: Path) -> None:
    """Play the policies and rules on fleets that training never drew."""
    rows = ResultRows(output / "judged.csv", options.resume, episodes=options.episodes)
    for cell in product(options.servers, FAMILIES, options.loads, options.orders):
        key = dict(zip(CELL, cell, strict=True))
        episodes = Cell(judged_setting(*cell), options.episodes, JUDGED_SEED)
        for name, seed, scheduler in candidates(options, output):
            if not rows.has(**key, scheduler=name, seed=seed):
                figures = mean_and_p99_s(episodes.delays_s(scheduler))
                rows.add(key | {"scheduler": name, "seed": seed} | figures)
    put_page(output / "judged.md", describe(rows.frame, options))


def candidates(options: AnyFleetOptions, output: Path) -> Iterator[tuple[str, str, Any]]:
    """Least work left, the prior without learning, and every policy with several caps and its own; with their seeds."""
    named = [(path, NO_SEED, Path(path).name) for path in options.policies]
    named = named or [(folder_of(output, seed) / FOLDER, str(seed), LEARNED) for seed in options.seeds]
    policies = [(name, seed, DispatchPolicy.from_checkpoint(path)) for path, seed, name in named]
    actor = policies[0][2].with_wait_cap(None).actor
    yield YARDSTICK, NO_SEED, make_scheduler(YARDSTICK, one_by_one=True)
    yield PRIOR, NO_SEED, DispatchPolicy(actor, ScoringActor(actor, 0).packed())
    for name, seed, policy in policies:
        if not options.only_capped:
            yield f"{name}{UNCAPPED}", seed, policy.with_wait_cap(None)
        for cap in options.caps:
            yield f"{name}, cap {cap:g}", seed, policy.with_wait_cap(cap)
        yield name, seed, policy


def judged_setting(servers: int, speeds: str, load: float, order: str) -> RequestSetting:
    """A fleet that training never drew, with images as vLLM-Omni's benchmark has them, predicted within 10 %."""
    spec = {
        "servers": FAMILIES[speeds](servers),
        "service": {"kind": "linear", "per_step_s": 0.1, "spread": 0.1},
        "order": order,
        "requests": min(max(400 * servers, 5000), 20_000),
        "traffic": {"kind": "poisson", "load": load},
    }
    return build_request_setting(spec)


def describe(rows: pd.DataFrame, options: AnyFleetOptions) -> str:
    """Tables of ratios to least work left under the same order: by load, and of every cell."""
    table = over_first(rows, CELL, MEASURES)
    about = (
        f"Delays over those of {YARDSTICK} under the same order of service, on the same {options.episodes} fresh "
        "episodes of each fleet; geometric means over fleets, mean ± standard deviation over seeds of training."
    )
    by_load = [
        [order, f"{load:g}", name, *_ratios(part), f"{part['over_mean_s'].max():.3f}", len(part)]
        for (order, load, name), part in table.groupby(["order", "load", "scheduler"], sort=False)
        if name != YARDSTICK
    ]
    every = [
        [*map(str, cell), *_ratios(part)]
        for cell, part in table.groupby([*CELL, "scheduler"], sort=False)
        if cell[-1] != YARDSTICK
    ]
    return markdown_page(
        "One policy for any fleet",
        about,
        markdown_table(["order", "load", "scheduler", "mean", "p99", "worst mean", "cells"], by_load),
        markdown_table([*CELL, "scheduler", "mean", "p99"], every),
    )


def _ratios(part: pd.DataFrame) -> Sequence[str]:
    """Geometric means over fleets of each measure, with their spread over seeds."""
    logs = part.assign(**{f"over_{name}": np.log(part[f"over_{name}"]) for name in MEASURES})
    means = np.exp(logs.groupby("seed")[[f"over_{name}" for name in MEASURES]].mean())
    return [mean_sd(means[column].mean(), 3, means[column].std()) for column in means]


SMOKE = {
    "seeds": [0],
    "iterations": 1,
    "fleets": 1,
    "sampled": 20,
    "updates": 1,
    "check_every": 1,
    "checks": 1,
    "servers": [5],
}
main = Program(run, AnyFleetOptions, __doc__, SMOKE | {"loads": [0.7], "orders": ["fifo"], "episodes": 1})

if __name__ == "__main__":
    sys.exit(main())

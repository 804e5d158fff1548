"""What it costs to learn from worlds that were played with older weights, and what mirror descent should step from.

    python -m experiments.staleness --resume

LAD-Dispatch over random fleets, every world played with the weights of exactly so many iterations before: the worst
that ``max_staleness`` allows. "present": mirror descent steps from what the actor now decides on the same tokens, as
the learner does; "played": from what the older weights decided. The mean actor plays held-out fleets; score: its mean
delay over that of least work left, geometric mean over fleets. Written into --output: staleness.csv, staleness.md.
"""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from experiments.any_fleet_training import held_out_check
from experiments.pages.learning import staleness_of
from lad_rllib.algorithms.lad_dispatch import DispatchPolicy, LADDispatchHyperparameters
from lad_rllib.algorithms.lad_dispatch.improvement import DecisionTable, present_logits
from lad_rllib.algorithms.lad_dispatch.training import Improvement, KnownEpisodes, play_and_cost
from lad_rllib.cli.program import Program
from lad_rllib.runs.fresh_episodes import geometric_mean
from lad_rllib.runs.options import Count, Natural, ResumableOptions, Seed, option
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.rows import ResultRows
from lad_rllib.runs.tables import markdown_page, markdown_table, put_page
from lad_rllib.simulator.requests import RandomFleets, build_random_fleets

FLEETS = {"preset": "any-fleet", "fleets": {"servers": [2, 32], "requests": [1500, 4000]}}
STEPS_FROM = ("present", "played")


class StalenessOptions(ResumableOptions):
    """What is trained."""

    command: ClassVar[str] = "staleness"
    title = "run"

    staleness: list[Natural] = option([0, 1, 2, 4, 8], "iterations by which weights are behind", "N")
    iterations: Count = option(60, "iterations of a training")
    worlds: Count = option(4, "worlds of an iteration")
    checks: Count = option(24, "held-out fleets that the policy is scored on")
    check_every: Count = option(20, "iterations between two scores")
    seeds: Annotated[list[Seed], Field(min_length=1)] = option([0, 1, 2], "seeds of training", "N")
    output: str = option("results/staleness", "output folder", "DIR")


def run(options: StalenessOptions) -> int:
    """Train, score and write; returns the exit status."""
    output = writable_folder(options.output)
    rows = ResultRows(output / "staleness.csv", options.resume, iterations=options.iterations, worlds=options.worlds)
    fleets = build_random_fleets(FLEETS)
    check = held_out_check(fleets, options.checks)
    for seed in options.seeds:
        for staleness in options.staleness:
            for steps_from in STEPS_FROM if staleness else STEPS_FROM[:1]:
                key = {"staleness": staleness, "steps_from": steps_from, "seed": seed}
                if not rows.has(**key, iteration=options.iterations):
                    rows.drop(**key)
                    for iteration, policy in trained(options, fleets, **key):
                        score = geometric_mean(check.ratios(policy))
                        rows.add(key | {"iteration": iteration, "score": score})
                        print(f"{key} {iteration:4d}  {score:.3f}", flush=True)
    put_page(output / "staleness.md", describe(rows.frame))
    return 0


def trained(options: StalenessOptions, fleets: RandomFleets, staleness: int, steps_from: str, seed: int) -> Any:
    """Iterations and the mean actor then, as a policy, every ``check_every`` iterations."""
    settings = LADDispatchHyperparameters(
        step_size_iterations=options.iterations,
        sampled_requests=800,
        updates_per_iteration=40,
        train_batch_size_per_learner=512 // options.worlds,
    )
    state, known = Improvement(settings, seed), KnownEpisodes(fleets)
    weights = deque([state.networks.packed()], maxlen=staleness + 1)
    for iteration in range(1, options.iterations + 1):
        tables = []
        for world in range(options.worlds):
            rng = np.random.default_rng([seed, 1, iteration, world])
            source, told = known.next(rng)
            tables.append(play_and_cost(source, told, settings, weights[0], rng, sampled=800).table)
        if steps_from == "present" and staleness:
            tables = [from_present(state, table) for table in tables]
        state.step_on(*tables)
        weights.append(state.networks.packed())
        if iteration % options.check_every == 0 or iteration == options.iterations:
            yield iteration, DispatchPolicy(settings, state.average.packed())


def from_present(state: Improvement, table: DecisionTable) -> DecisionTable:
    """A table with what the present actor decides on its tokens."""
    columns = {name: torch.from_numpy(getattr(table, name)) for name in ("tokens", "share", "start")}
    return replace(table, logits=present_logits(state.networks, columns).numpy())


def describe(rows: pd.DataFrame) -> str:
    """The scores over seeds."""
    about = (
        f"Mean delay over that of least work left on held-out fleets, mean ± sd over {rows['seed'].nunique()} seeds."
    )
    return markdown_page("Learning from worlds that older weights played", about, markdown_table(*staleness_of(rows)))


SMOKE = {"staleness": [0, 1], "iterations": 1, "worlds": 1, "checks": 1, "seeds": [0]}
main = Program(run, StalenessOptions, __doc__, SMOKE)

if __name__ == "__main__":
    sys.exit(main())

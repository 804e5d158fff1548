"""LAD-Dispatch on the paper's setting alone: tasks decided at once at the start of their slot, or one by one.

    python -m experiments.paper_slots --resume
    python -m experiments.paper_slots --trainings at-once/30 --prior-weight 2 --seeds 0 --output results/tried

First in, first out. At once, no task knows where the others of its slot go, as between base stations; its server is
drawn from the policy. One by one, each sees the queues that it finds. While a policy learns, its mean actor plays
three episodes every few iterations; at the end it plays fresh ones. All over the greedy oracle on the same arrivals.
Written into --output: a row for each look (paper_slots.csv, kept by --resume) and a table (paper_slots.md).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import AfterValidator, Field

from experiments.pages.fleets import paper_slots
from lad_rllib import durable
from lad_rllib.algorithms.lad_dispatch import DispatchPolicy, LADDispatchHyperparameters
from lad_rllib.algorithms.lad_dispatch.training import Improvement, learn
from lad_rllib.cli.program import Program
from lad_rllib.runs.comparison import Measures
from lad_rllib.runs.contest import contest_of_slots
from lad_rllib.runs.options import Count, Options, Seed, TrainingsOptions, option
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.progress import time_is_over
from lad_rllib.runs.rows import ResultRows
from lad_rllib.runs.tables import markdown_page, markdown_table
from lad_rllib.scheduling import make_heuristic
from lad_rllib.scheduling.request_scheduler import player
from lad_rllib.simulator import build_setting
from lad_rllib.simulator.requests import SlottedRequests

Discount = Annotated[float, Field(gt=0, le=1)]

AT_ONCE, ONE_BY_ONE = "at-once", "one-by-one"
LOOK_SEED, TEST_SEED, LOOKS = 3_000_000, 1_000_000, 3
FIGURES = ("mean", "p95", "p99")


def _training(text: str) -> str:
    if not re.fullmatch(rf"({AT_ONCE}|{ONE_BY_ONE})/[1-9]\d{{0,4}}", text):
        raise ValueError(f"must be {AT_ONCE}/EPISODES or {ONE_BY_ONE}/EPISODES, such as {AT_ONCE}/30, got {text}")
    return text


class PaperSlotsOptions(TrainingsOptions):
    """What is trained, and what that may cost."""

    command: ClassVar[str] = "paper_slots"
    title = "run"
    may_change = Options.may_change | {"trainings", "seeds", "seconds"}

    setting: str = option("paper", "setting of slots", "NAME")
    trainings: list[Annotated[str, AfterValidator(_training)]] = option(
        [f"{AT_ONCE}/30", f"{AT_ONCE}/100", f"{ONE_BY_ONE}/60"], "how tasks are decided, and for how long to train", "T"
    )
    seeds: list[Seed] = option([0, 1, 2], "seeds of training", "SEED")
    episodes: Count = option(10, "test episodes")
    look_every: Count = option(5, "episodes of training between two looks")
    prior_weight: Annotated[float, Field(ge=0)] = option(1.0, "at once: weight of the prior")
    step_sizes: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=2, max_length=2)] = option(
        [8.0, 0.5], "at once: first and last step size of mirror descent", "X"
    )
    sampled: Count = option(2500, "tasks of an episode that are learned from")
    updates: Annotated[list[Count], Field(min_length=2, max_length=2)] = option(
        [40, 60], "gradient steps of an episode, at once and one by one", "N"
    )
    discounts: Annotated[list[Discount], Field(min_length=2, max_length=2)] = option(
        [0.95, 0.97], "weight of another task's delay for each second that it comes later, at once and one by one", "X"
    )
    output: str = option("results/paper-slots", "output folder", "DIR")


def run(options: PaperSlotsOptions) -> int:
    """Train, look, play and write; returns the exit status."""
    output, is_over = writable_folder(options.output), time_is_over(options.seconds)
    rows = ResultRows(output / "paper_slots.csv", options.resume, **options.arguments())
    looks, tests = Trial(options.setting, LOOKS, LOOK_SEED), Trial(options.setting, options.episodes, TEST_SEED)
    for seed in options.seeds:
        for training in options.trainings:
            if not is_over() and not rows.has(training=training, seed=seed, on="test"):
                found = [
                    {"training": training, "seed": seed} | row for row in trained(options, training, seed, looks, tests)
                ]
                rows.add(*found)
                print(f"seed {seed}, {training}: {found[-1]['mean']:.3f}", flush=True)
    text = markdown_page("The paper's slots, decided at once or one by one", markdown_table(*paper_slots(rows.frame)))
    durable.write_file(output / "paper_slots.md", text)
    print(text)
    return 0


class Trial:
    """Episodes of a setting, and what the greedy oracle makes of them.

    Args:
        setting: Name of the setting.
        episodes: How many.
        seed: Their seed.
    """

    def __init__(self, setting: str, episodes: int, seed: int) -> None:
        self._contest = contest_of_slots(build_setting({"preset": setting}), episodes, seed, ["fifo"], Measures())
        [oracle] = self._contest.play("greedy-oracle", make_heuristic("greedy-oracle"))
        self._oracle = np.array([oracle.row[f"{name}_s"] for name in FIGURES])

    def figures(self, policy: DispatchPolicy, source: SlottedRequests) -> dict[str, float]:
        """Mean and percentiles of the delays over those of the oracle."""
        play = player(policy, source.world, source.history())
        delay_s = np.concatenate(
            [play(each, np.random.default_rng([5, index])).delay_s for index, each in enumerate(self._contest.episodes)]
        )
        own = np.array([delay_s.mean(), *np.percentile(delay_s, [95, 99])])
        return dict(zip(FIGURES, (own / self._oracle).tolist(), strict=True))


def trained(
    options: PaperSlotsOptions, training: str, seed: int, looks: Trial, tests: Trial
) -> Iterator[dict[str, Any]]:
    """Train; returns a row for each look, and at the end that of the test."""
    decided, iterations = training.split("/")
    source = SlottedRequests(build_setting({"preset": options.setting}), at_once=decided == AT_ONCE)
    (first, last), way = options.step_sizes, 0 if source.at_once else 1
    own = {"prior_weight": options.prior_weight, "step_size": first, "last_step_size": last}
    settings = LADDispatchHyperparameters(
        step_size_iterations=int(iterations),
        sampled_requests=options.sampled,
        updates_per_iteration=options.updates[way],
        discount=options.discounts[way],
        **(own if source.at_once else {}),
    )
    rows, cpu_s = list[dict[str, Any]](), 0.0

    def look(state: Improvement, row: dict[str, Any]) -> None:
        nonlocal cpu_s
        cpu_s += row["play_cpu_s"] + row["learn_cpu_s"]
        if row["iteration"] % options.look_every == 0 or row["iteration"] == settings.step_size_iterations:
            rows.append({"on": "look", "episode": row["iteration"], "cpu_s": cpu_s} | played(state, looks))

    def played(state: Improvement, trial: Trial) -> dict[str, float]:
        policy = DispatchPolicy(settings, state.average.packed(), explore=source.at_once)
        return trial.figures(policy, source)

    compiled = LADDispatchHyperparameters(step_size_iterations=1, sampled_requests=1, updates_per_iteration=1)
    learn(source, compiled, seed)
    state = Improvement(settings, seed)
    learn(source, settings, seed, look, state=state)
    yield from rows
    yield {"on": "test", "episode": settings.step_size_iterations, "cpu_s": cpu_s} | played(state, tests)


SMOKE = {"setting": "small", "trainings": [f"{AT_ONCE}/1", f"{ONE_BY_ONE}/1"], "seeds": [0], "episodes": 1}
main = Program(run, PaperSlotsOptions, __doc__, SMOKE)

if __name__ == "__main__":
    sys.exit(main())

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

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field

from lad_rllib import durable
from lad_rllib.algorithms.common.policy_file import FOLDER
from lad_rllib.algorithms.lad_dispatch import DispatchPolicy, LADDispatchHyperparameters
from lad_rllib.algorithms.lad_dispatch.networks import ScoringActor
from lad_rllib.algorithms.lad_dispatch.policy_file import dispatch_policy_files
from lad_rllib.algorithms.lad_dispatch.training import Improvement, learn
from lad_rllib.cli.program import Program
from lad_rllib.envs.episodes import setting_spec
from lad_rllib.runs.options import Count, Options, Seed, option
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.progress import time_is_over
from lad_rllib.runs.rows import ResultRows
from lad_rllib.runs.tables import markdown_page, markdown_table, mean_sd, over_first
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.scheduling.request_scheduler import player
from lad_rllib.simulator.requests import (
    RandomFleets,
    RequestSetting,
    build_random_fleets,
    build_request_setting,
    held_out,
)

YARDSTICK, PRIOR = "least-work-left", "prior alone"
LEARNED, UNCAPPED, NO_SEED = "any-fleet", ", no cap", "-"
STATE, CURVE = "state.pt", "any_fleet.csv"
CELL = ["servers", "speeds", "load", "order"]
MEASURES = ("mean_s", "p99_s")
FAMILIES = {
    "equal": lambda servers: [1.0] * servers,
    "four classes": lambda servers: [2.0 ** -(index % 4) for index in range(servers)],
}
"""Speeds of judged fleets by name; training draws no four classes."""
CHECK_SEED, JUDGED_SEED = 7, 1_000_000

FloatArray = NDArray[np.float64]


class AnyFleetOptions(Options):
    """What is trained and judged, and what that may cost."""

    command: ClassVar[str] = "any_fleet"
    title = "run"
    may_change = Options.may_change | {
        "seconds",
        "seeds",
        "judge",
        "policies",
        "caps",
        "only_capped",
        "servers",
        "loads",
        "orders",
        "episodes",
    }

    setting: str = option("any-fleet", "random fleets to learn on, a preset or a settings file", "NAME|FILE")
    iterations: Count = option(240, "iterations of training")
    fleets: Count = option(4, "random fleets of an iteration")
    sampled: Count = option(800, "requests of each that are learned from")
    updates: Count = option(40, "gradient steps of an iteration")
    policy_denoising_steps: Annotated[int, Field(ge=0, le=100)] = option(5, "denoising steps; 0: a plain network")
    hidden_size: Count = option(32, "width of the network")
    wait_cap: Annotated[float, Field(ge=0)] | None = option(
        0.5,
        "a trained policy lets a request wait for its least delay and so many times the wait at evenly spread work",
        "X",
    )
    check_every: Count = option(20, "iterations between two looks at held-out fleets")
    checks: Count = option(16, "held-out fleets that the best policy is chosen on")
    seconds: Annotated[float, Field(gt=0)] | None = option(None, "stop after this time; --resume goes on", "S")
    seeds: list[Seed] = option([0, 1, 2], "seeds of weights, fleets and choices; each is a training", "SEED")
    judge: bool = option(False, "play the best policy of each seed on fleets that training never drew")
    policies: list[str] = option([], "judge these, and train none", "DIR", may_be_empty=True)
    caps: list[Annotated[float, Field(ge=0)]] = option([1.2], "judge with these caps, too", "X", may_be_empty=True)
    only_capped: bool = option(False, "do not judge without a cap")
    servers: list[Count] = option([5, 8, 10, 20, 40, 100], "judged numbers of servers", "A")
    loads: list[Annotated[float, Field(gt=0)]] = option([0.3, 0.7, 0.95, 1.3], "judged loads", "X")
    orders: list[str] = option(["fifo", "shortest_first"], "judged orders of service", "ORDER")
    episodes: Count = option(2, "judged episodes of each")
    output: str = option("results/any-fleet", "output folder", "DIR")
    resume: bool = option(False, "go on with the training in the output folder")


def run(options: AnyFleetOptions) -> int:
    """Train, and judge if that is asked for; returns the exit status."""
    output = writable_folder(options.output)
    if not options.policies and not train_seeds(options, output):
        return 0
    if options.judge:
        print(judge(options, output))
    return 0


# -- Training ---------------------------------------------------------------------------------------------------------


def train_seeds(options: AnyFleetOptions, output: Path) -> bool:
    """Train every seed, and keep the best policy of all; whether all are trained to the end."""
    fleets, is_over = build_random_fleets(setting_spec(options.setting)), time_is_over(options.seconds)
    check = Check([Cell(held_out(fleets, number), 1, CHECK_SEED) for number in range(options.checks)])
    for seed in options.seeds:
        if not train(options, fleets, seed, writable_folder(folder_of(output, seed)), check, is_over):
            return False
    keep_best(options, output)
    return True


def hyperparameters(iterations: int, **changed: Any) -> LADDispatchHyperparameters:
    """How the policy for any fleet is trained in so many iterations of four random fleets."""
    own = {"sampled_requests": 800, "updates_per_iteration": 40, "train_batch_size_per_learner": 128}
    return LADDispatchHyperparameters(**own | {"last_actor_lr": 5e-4, "step_size_iterations": iterations} | changed)


def folder_of(output: Path, seed: int) -> Path:
    """Where a training is."""
    return output / f"seed-{seed}"


def train(
    options: AnyFleetOptions,
    fleets: RandomFleets,
    seed: int,
    output: Path,
    check: Check,
    is_over: Callable[[], bool],
) -> bool:
    """Train and keep the best policy; whether it is trained to the end, or else the time is over.

    Args:
        options: How.
        fleets: What it learns on.
        seed: Its seed.
        output: Its folder.
        check: Fleets to choose the best policy on.
        is_over: Whether the time is.
    """
    settings = hyperparameters(
        options.iterations,
        sampled_requests=options.sampled,
        updates_per_iteration=options.updates,
        policy_denoising_steps=options.policy_denoising_steps,
        hidden_size=options.hidden_size,
        wait_cap=options.wait_cap,
    )
    rows = ResultRows(output / CURVE, options.resume, seed=seed, **options.arguments())
    state = Improvement(settings, seed)
    if options.resume and (output / STATE).exists():
        state.set_state(torch.load(output / STATE, weights_only=True))

    def look(state: Improvement, row: dict[str, Any]) -> bool:
        if row["iteration"] % options.check_every == 0 or row["iteration"] == options.iterations:
            ratios = check.ratios(DispatchPolicy(settings, state.average.packed()))
            score, best = float(np.exp(np.log(ratios).mean())), rows.frame.get("held_out", pd.Series([np.inf])).min()
            rows.add(row | {"held_out": score, "held_out_worst": float(ratios.max())})
            if score < best:
                keep(settings, state, fleets, output)
            print(f"seed {seed} {row['iteration']:5d}  held out {score:.3f}, worst {ratios.max():.3f}", flush=True)
        elif not is_over():
            return False
        torch.save(state.get_state(), unfinished := output / "state.unfinished")
        unfinished.rename(output / STATE)
        return is_over()

    learn(fleets, settings, seed, look, episodes=options.fleets, state=state)
    return state.schedule.iteration == options.iterations


def keep(settings: LADDispatchHyperparameters, state: Improvement, fleets: RandomFleets, output: Path) -> None:
    """Write the mean actor as the best policy."""
    files = dispatch_policy_files(settings, state.average.packed(), state.seen, fleets.spec, fleets.orders)
    (output / FOLDER).mkdir(exist_ok=True)
    for name, content in files.items():
        durable.write_file(output / FOLDER / name, content)


def keep_best(options: AnyFleetOptions, output: Path) -> None:
    """Copy the policy that is best on held-out fleets out of those of all seeds."""
    folders = [folder_of(output, seed) for seed in options.seeds]
    best = min(folders, key=lambda folder: pd.read_csv(folder / CURVE)["held_out"].min())
    shutil.copytree(best / FOLDER, output / FOLDER, dirs_exist_ok=True)
    print(f"the best policy is that of {best.name}")


@dataclass(frozen=True)
class Cell:
    """Episodes of one fleet.

    Attributes:
        setting: The fleet.
        episodes: Its episodes.
        seed: Their seed.
    """

    setting: RequestSetting
    episodes: int
    seed: int

    def delays_s(self, scheduler: Any) -> FloatArray:
        """Delays of all requests [s]."""
        play = player(scheduler, self.setting.world, self.setting.history())
        rngs = [np.random.default_rng([self.seed, episode]) for episode in range(self.episodes)]
        return np.concatenate([play(self.setting.draw(rng), rng).delay_s for rng in rngs])


@dataclass(frozen=True)
class Check:
    """Fleets that a policy is chosen on.

    Attributes:
        cells: Their episodes.
    """

    cells: Sequence[Cell]

    def ratios(self, policy: DispatchPolicy) -> FloatArray:
        """Mean delay of a policy over that of least work left, on each."""
        return np.array([cell.delays_s(policy).mean() for cell in self.cells]) / self._yardstick_s

    @cached_property
    def _yardstick_s(self) -> FloatArray:
        rule = make_scheduler(YARDSTICK, one_by_one=True)
        return np.array([cell.delays_s(rule).mean() for cell in self.cells])


# -- Judging ----------------------------------------------------------------------------------------------------------


def judge(options: AnyFleetOptions, output: Path) -> str:
    """Play the policies and rules on fleets that training never drew; returns the table."""
    rows = ResultRows(output / "judged.csv", options.resume, episodes=options.episodes)
    for cell in product(options.servers, FAMILIES, options.loads, options.orders):
        key = dict(zip(CELL, cell, strict=True))
        episodes = Cell(judged_setting(*cell), options.episodes, JUDGED_SEED)
        for name, seed, scheduler in candidates(options, output):
            if not rows.has(**key, scheduler=name, seed=seed):
                delay_s, told = episodes.delays_s(scheduler), {"scheduler": name, "seed": seed}
                rows.add(key | told | {"mean_s": delay_s.mean(), "p99_s": np.percentile(delay_s, 99)})
    text = describe(rows.frame, options)
    durable.write_file(output / "judged.md", text)
    return text


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

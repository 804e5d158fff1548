"""The training of the policy for any fleet: over random fleets, in pieces if need be, the best policy kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from lad_rllib import durable
from lad_rllib.algorithms.common.policy_file import FOLDER
from lad_rllib.algorithms.lad_dispatch import DispatchPolicy, LADDispatchHyperparameters
from lad_rllib.algorithms.lad_dispatch.policy_file import dispatch_policy_files
from lad_rllib.algorithms.lad_dispatch.training import Improvement, learn
from lad_rllib.envs.episodes import setting_spec
from lad_rllib.runs.fresh_episodes import FreshEpisodes, HeldOutCheck, geometric_mean
from lad_rllib.runs.options import Count, Options, Seed, option
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.progress import time_is_over
from lad_rllib.runs.rows import ResultRows
from lad_rllib.simulator.requests import RandomFleets, build_random_fleets, held_out

STATE, CURVE = "state.pt", "any_fleet.csv"
CHECK_SEED = 7


class FleetTrainingOptions(Options):
    """What is trained, and what that may cost."""

    title = "run"
    may_change = Options.may_change | {"seconds", "seeds"}

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
    output: str = option("results/any-fleet", "output folder", "DIR")
    resume: bool = option(False, "go on with the training in the output folder")


def train_seeds(options: FleetTrainingOptions, settings: LADDispatchHyperparameters, output: Path) -> bool:
    """Train every seed, and keep the best policy of all; whether all are trained to the end."""
    fleets, is_over = build_random_fleets(setting_spec(options.setting)), time_is_over(options.seconds)
    check = held_out_check(fleets, options.checks)
    for seed in options.seeds:
        if not train(options, settings, fleets, seed, writable_folder(folder_of(output, seed)), check, is_over):
            return False
    keep_best(options, output)
    return True


def held_out_check(fleets: RandomFleets, number: int) -> HeldOutCheck:
    """Fleets that training never draws, an episode of each."""
    return HeldOutCheck([FreshEpisodes(held_out(fleets, index), 1, CHECK_SEED) for index in range(number)])


def folder_of(output: Path, seed: int) -> Path:
    """Where a training is."""
    return output / f"seed-{seed}"


def train(
    options: FleetTrainingOptions,
    settings: LADDispatchHyperparameters,
    fleets: RandomFleets,
    seed: int,
    output: Path,
    check: HeldOutCheck,
    is_over: Callable[[], bool],
) -> bool:
    """Train and keep the best policy; whether it is trained to the end, or else the time is over.

    Args:
        options: For how long, and how often it is scored.
        settings: How it learns.
        fleets: What it learns on.
        seed: Its seed.
        output: Its folder.
        check: Fleets to choose the best policy on.
        is_over: Whether the time is.
    """
    rows = ResultRows(output / CURVE, options.resume, seed=seed, **options.arguments())
    state = Improvement(settings, seed)
    if options.resume and (output / STATE).exists():
        state.set_state(torch.load(output / STATE, weights_only=True))

    def look(state: Improvement, row: dict[str, Any]) -> bool:
        if row["iteration"] % options.check_every == 0 or row["iteration"] == options.iterations:
            ratios = check.ratios(DispatchPolicy(settings, state.average.packed()))
            score, best = geometric_mean(ratios), rows.frame.get("held_out", pd.Series([np.inf])).min()
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


def keep_best(options: FleetTrainingOptions, output: Path) -> None:
    """Copy the policy that is best on held-out fleets out of those of all seeds."""
    folders = [folder_of(output, seed) for seed in options.seeds]
    best = min(folders, key=lambda folder: pd.read_csv(folder / CURVE)["held_out"].min())
    shutil.copytree(best / FOLDER, output / FOLDER, dirs_exist_ok=True)
    print(f"the best policy is that of {best.name}")

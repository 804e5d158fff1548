"""The loop of a service whose traffic and servers change: what its policy is worth before and after ``improve``.

    python -m experiments.improve_loop --seeds 3 --iterations 20

A policy learns for a fleet. Then the mix of sizes changes, and a server becomes three times slower; the service goes on
with the old policy, and its decision log is all that ``lad-rllib improve`` gets. Old and new policy and least work left
are then judged on fresh requests of the changed world, which neither training nor verdict saw.
Written into --output: a row for each seed and scheduler (improve_loop.csv, kept by --resume), a table
(improve_loop.md), and a folder of each seed with the log and the improvement.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import yaml

from lad_rllib.cli.program import Program
from lad_rllib.runs.fine_tune import fine_tune
from lad_rllib.runs.improve import GUARD, Improvement, improve
from lad_rllib.runs.improve_options import ImproveOptions
from lad_rllib.runs.options import Count, Positive, ResumableOptions, Seed, option
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.progress import bars
from lad_rllib.runs.rows import ResultRows
from lad_rllib.runs.run_folder import newest_policy, scheduler_of
from lad_rllib.runs.simulated_log import write_simulated_log
from lad_rllib.runs.tables import markdown_page, put_page, summary_table
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.scheduling.judgement import Replayed, replay
from lad_rllib.scheduling.request_scheduler import player
from lad_rllib.simulator.requests import RequestSetting, build_request_setting

NAMES, SPEEDS, SLOWER = ("a", "b", "c", "d", "e"), (1.0, 1.0, 0.5, 0.5, 0.25), 3.0
BEFORE = [{"steps": [4, 8], "width": 512, "height": 512}]
AFTER = [*BEFORE, {"steps": [20, 40], "width": 1024, "height": 1024, "share": 0.4}]
TEST_SEED = 3_000_000


class LoopOptions(ResumableOptions):
    """How much is learned and judged."""

    command: ClassVar[str] = "improve_loop"
    title = "run"

    seeds: Count = option(3, "repetitions")
    seed: Seed = option(0, "seed of the first one")
    load: Positive = option(0.8, "load before and after", "X")
    iterations: Count = option(30, "episodes of each training")
    requests: Count = option(4000, "requests of the log")
    hidden: Count = option(32, "hidden units of the policy")
    output: str = option("results/improve_loop", "output folder", "DIR")


def world(mix: Sequence[dict[str, Any]], slower: float, load: float, requests: int) -> RequestSetting:
    """The fleet, whose first server is so many times slower."""
    speeds = (SPEEDS[0] / slower, *SPEEDS[1:])
    servers = [{"name": name, "speed": speed} for name, speed in zip(NAMES, speeds, strict=True)]
    service = {"kind": "linear", "overhead_s": 0.2, "per_step_s": 0.1, "spread": 0.1}
    traffic = {"kind": "poisson", "load": load, "mix": {"images": list(mix)}}
    return build_request_setting({"servers": servers, "service": service, "requests": requests, "traffic": traffic})


def fleet_file(path: Path) -> str:
    """The fleet as a file, with emulated servers."""
    profile = {"overhead_s": 0.2, "per_step_s": 0.1}
    servers = [{"kind": "emulated", "name": name, "profile": profile} for name in NAMES]
    path.write_text(yaml.safe_dump({"name": "five", "stations": 1, "home_server": [-1], "servers": servers}))
    return str(path)


def learn_before(options: LoopOptions, folder: Path, seed: int) -> Path:
    """The policy of the time before the change; returns its folder."""
    before = world(BEFORE, 1.0, options.load, min(2000, options.requests))
    sizes = {"hidden_size": options.hidden, "step_size_iterations": options.iterations, "sampled_requests": 2000}
    return fine_tune(None, before, folder / "before", seed, **sizes)


def improved_from(
    options: LoopOptions, folder: Path, checkpoint: Path, after: RequestSetting, seed: int
) -> Improvement:
    """What ``improve`` makes of the log of a service that goes on with a policy after the change."""
    policy = scheduler_of(newest_policy(str(checkpoint)))
    requests = after.draw(np.random.default_rng([seed, 7]))
    served = player(policy, after.world, after.history())(requests, np.random.default_rng([seed, 8]))
    write_simulated_log(served, after, folder / "decisions")
    return improve(
        ImproveOptions(
            log=str(folder / "decisions"),
            fleet=fleet_file(folder / "five.yaml"),
            checkpoint=str(checkpoint),
            hours=10_000.0,
            iterations=options.iterations,
            seed=seed,
            output=str(folder / "improved"),
            overwrite=True,
        )
    )


def repetition(options: LoopOptions, folder: Path, seed: int) -> list[dict[str, Any]]:
    """One change of the world: a row for each scheduler, judged on fresh requests."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = learn_before(options, folder, seed)
    after = world(AFTER, SLOWER, options.load, options.requests)
    improved = improved_from(options, folder, checkpoint, after, seed)
    guard, old = make_scheduler(GUARD, one_by_one=True), scheduler_of(newest_policy(checkpoint))
    new = {"heuristic": guard, "keep": old}.get(improved.verdict)
    if new is None:
        new = scheduler_of(newest_policy(str(improved.recommended)))
    schedulers = {GUARD: guard, "old policy": old, "after improve": new}
    fresh = after.draw(np.random.default_rng([TEST_SEED, seed]))
    played: list[Replayed] = [replay(name, one, after, fresh, 20, seed) for name, one in schedulers.items()]
    return [{"seed": seed, "verdict": improved.verdict} | one.row(played[0]) for one in played]


def run(options: LoopOptions) -> int:
    """Learn, change, improve and judge; returns the exit status."""
    output = writable_folder(options.output)
    same = {name: getattr(options, name) for name in ("load", "iterations", "requests", "hidden")}
    rows = ResultRows(output / "improve_loop.csv", options.resume, **same)
    with bars() as progress:
        for seed in progress.track(range(options.seed, options.seed + options.seeds), description="improvements"):
            if not rows.has(seed=seed):
                rows.add(*repetition(options, output / f"seed{seed}", seed))
    table = rows.frame
    put_page(
        output / "improve_loop.md", markdown_page("The loop", summary_table(table, {name: name for name in table}))
    )
    return 0


SMOKE = {"seeds": 1, "iterations": 2, "requests": 700, "hidden": 8}
main = Program(run, LoopOptions, __doc__, SMOKE)

if __name__ == "__main__":
    sys.exit(main())

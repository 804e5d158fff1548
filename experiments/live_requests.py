"""LAD-Dispatch against rules on a running fleet, requests one by one: measured delays beside simulated ones.

    python -m experiments.live_requests               eight minutes on two cores that do nothing else
    python -m experiments.live_requests --resume      keep what is there; runs that were late are done again

It calibrates the fleet and trains a policy on what was measured, as docs/how-to/live.md has it. For each seed of
arrivals all schedulers serve the same requests side by side, each on a fleet of its own. A busy machine hands requests
in late, or sends them on late; a seed in which that took more than --max-late seconds of the fleet is marked and left
out of the comparison.
Written into --output: a row for each run (live_requests.csv), means over seeds (live_requests_summary.csv) and a table
(live_requests.md).
"""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from lad_rllib.cli.program import Program
from lad_rllib.names import POLICY
from lad_rllib.runs.calibrate import calibrate_fleet
from lad_rllib.runs.fleet_options import CalibrateOptions, GenerateOptions
from lad_rllib.runs.generate import generate
from lad_rllib.runs.options import Count, Options, Positive, TrainOptions, option
from lad_rllib.runs.output_folder import release_folders, writable_folder
from lad_rllib.runs.over_seeds import MEAN_SD, aggregated
from lad_rllib.runs.progress import bars
from lad_rllib.runs.rows import ResultRows
from lad_rllib.runs.tables import markdown_page, over_first, put_page, summary_table
from lad_rllib.runs.train import train

LEARNED = "lad-dispatch"
RULES = ("least-work-left", "join-shortest-queue")
MEASURES = ("mean_s", "p95_s")
REQUESTS, CHECKPOINT = "requests.yaml", "checkpoint"


class LiveRequestsOptions(Options):
    """What is compared, and what that may cost."""

    command: ClassVar[str] = "live_requests"
    title = "run"

    fleet: str = option("unequal-8", "fleet of emulated servers", "NAME|FILE")
    load: Positive = option(0.7, "load of the requests", "X")
    seeds: Count = option(4, "seeds of arrivals")
    tasks: Count = option(400, "requests of each")
    episodes: Count = option(20, "episodes of training")
    repeats: Count = option(3, "images for each number of steps, size and server of the calibration")
    max_late: Positive = option(10.0, "most that a request may be late [s of the fleet]", "S")
    output: str = option("results/live_requests", "output folder", "DIR")
    resume: bool = option(False, "keep the fleet's setting, the policy and the rows that are in the output folder")


def run(options: LiveRequestsOptions) -> int:
    """Calibrate, train, serve and write; returns the exit status, 1 if every seed was late."""
    output = writable_folder(options.output)
    same = {"load": options.load, "tasks": options.tasks}
    rows = ResultRows(output / "live_requests.csv", options.resume, **same)
    setting = calibrated(options, output / "fleet")
    checkpoint = trained(options, setting, output / "policy")
    spawned = multiprocessing.get_context("spawn")  # a fork would share the threads of this process
    schedulers = (*RULES, LEARNED)
    with ProcessPoolExecutor(len(schedulers), spawned) as pool, bars() as progress:
        for seed in progress.track(range(1, options.seeds + 1), description="seeds"):
            if rows.has(seed=seed, in_time=True):
                continue
            rows.drop(seed=seed)
            asked = [asked_for(options, name, setting, checkpoint, seed) for name in schedulers]
            served = [*pool.map(served_by, asked)]
            late_s = max(row["late_s"] for row in served)
            about = {"seed": seed, "in_time": late_s <= options.max_late}
            rows.add(*(about | {"scheduler": name} | row for name, row in zip(schedulers, served, strict=True)))
            print(f"seed {seed}: late by {late_s:.1f} s of the fleet at most", file=sys.stderr)
    in_time = rows.frame[rows.frame["in_time"].astype(bool)]
    compared(in_time).to_csv(output / "live_requests_summary.csv", index=False)
    put_page(output / "live_requests.md", describe(rows.frame, options))
    return int(in_time.empty)


def calibrated(options: LiveRequestsOptions, folder: Path) -> Path:
    """The setting of the fleet's requests, measured."""
    setting = folder / REQUESTS
    if not (options.resume and setting.exists()):
        calibrate_fleet(
            CalibrateOptions(
                fleet=options.fleet,
                in_process=True,
                mix="vllm-omni",
                no_check=True,
                repeats=options.repeats,
                load=options.load,
                output=str(folder),
            )
        )
    return setting


def trained(options: LiveRequestsOptions, setting: Path, folder: Path) -> Path:
    """A policy that was trained on the setting."""
    checkpoint = folder / CHECKPOINT
    if not (options.resume and checkpoint.exists()):
        train(
            TrainOptions(
                algorithm=LEARNED,
                setting=str(setting),
                episodes=options.episodes,
                seed=1,
                output=str(folder),
                overwrite=True,
            )
        )
    return checkpoint


def asked_for(
    options: LiveRequestsOptions, scheduler: str, setting: Path, checkpoint: Path, seed: int
) -> GenerateOptions:
    """What ``lad-rllib generate`` is told for one run."""
    policy: dict[str, Any] = {"checkpoint": str(checkpoint), "greedy_actions": True}
    return GenerateOptions(
        fleet=options.fleet,
        in_process=True,
        setting=str(setting),
        load=options.load,
        tasks=options.tasks,
        seed=seed,
        scheduler=POLICY if scheduler == LEARNED else scheduler,
        output=str(setting.parent.parent / f"{scheduler}-{seed}"),
        overwrite=True,
        **(policy if scheduler == LEARNED else {}),
    )


def served_by(asked: GenerateOptions) -> dict[str, Any]:
    """Runs in a process of its own: the delays of a scheduler's requests, and how far the machine fell behind."""
    generated = generate(asked)
    release_folders()
    run, summary = generated.run, generated.run.summary()
    sent_late_s = max((one.dispatch_s for one in run.deliveries if one.record), default=0.0)
    return {
        **{name: summary[name] for name in (*MEASURES, "p99_s")},
        "simulated_s": generated.simulated_mean_s,
        "failed": summary["failed"],
        "late_s": max(run.late_s, sent_late_s),
        "slowest_over_expected": max(run.over_expected.values()),
    }


def describe(rows: pd.DataFrame, options: LiveRequestsOptions) -> str:
    """The comparison of the seeds that were in time, and all runs."""
    about = (
        f"{options.tasks} requests at load {options.load:g} for each seed of arrivals, all schedulers side by side; "
        f"mean over the seeds in which no request was late by more than {options.max_late:g} s of the fleet, ± sd."
    )
    in_time = rows[rows["in_time"].astype(bool)]
    parts = [summary_table(compared(in_time), SHOWN)] if len(in_time) else ["Every seed was late."]
    every = {name: name.removesuffix("_s") for name in rows.columns if name not in ("load", "tasks")}
    return markdown_page("Requests one by one, live", about, *parts, "All runs:", summary_table(rows, every))


SHOWN = {
    **{"scheduler": "scheduler", "mean_s": "mean, s", "p95_s": "p95, s", "simulated_s": "simulated, s"},
    **{f"over_{name}_s": f"{name} over {RULES[0]}'s" for name in ("mean", "p95")},
    **{"late_s": "latest, s", "seeds": "seeds"},
}


def compared(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of each scheduler, and of its ratios to the first one in the same seed."""
    ratios = over_first(rows, ["seed"], MEASURES)
    wanted = dict.fromkeys([*(f"over_{name}" for name in MEASURES), *MEASURES], MEAN_SD)
    wanted |= {"simulated_s": ["mean"], "late_s": ["max"], "seed": ["count"]}
    return aggregated(ratios, ["scheduler"], wanted).rename(columns={"seed": "seeds"})


SMOKE = {"load": 0.3, "seeds": 1, "tasks": 4, "episodes": 1, "repeats": 1, "max_late": 1000.0}
main = Program(run, LiveRequestsOptions, __doc__, SMOKE)

if __name__ == "__main__":
    sys.exit(main())

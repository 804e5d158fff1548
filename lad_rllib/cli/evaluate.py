"""``lad-rllib evaluate``: a trained policy against the greedy oracle and simple heuristics on the same arrivals."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from lad_rllib import durable
from lad_rllib.cli import options as shared
from lad_rllib.envs.episodes import read_setting
from lad_rllib.errors import ConfigurationError
from lad_rllib.names import EVALUATION_PART
from lad_rllib.runs import cluster, plots
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.provenance import command_line
from lad_rllib.runs.storage import SharedCopy
from lad_rllib.runs.tables import print_table
from lad_rllib.scheduling import (
    HEURISTICS,
    EpisodeRecord,
    Scheduler,
    lower_bound_s,
    make_heuristic,
    play,
    possible_heuristics,
    schedule_quality,
)
from lad_rllib.simulator import Arrivals, Setting, TraceArrivals, override_spec, sizes, stack_arrivals

if TYPE_CHECKING:
    from lad_rllib.algorithms.common.policy_file import SavedPolicy

LOWER_BOUND = "lower bound"


def run(parsed: argparse.Namespace) -> int:
    """Evaluate; returns the exit status."""
    shared.check_at_least(1, parsed, "episodes")
    shared.check_seed(parsed.seed)
    if parsed.deadline is not None and not parsed.deadline >= 0:
        raise ConfigurationError(f"--deadline must be at least 0, got {parsed.deadline:g}")
    if parsed.greedy_actions and not parsed.checkpoint:
        raise ConfigurationError("--greedy-actions has no effect without --checkpoint; leave it out")
    schedulers: dict[str, Scheduler] = {}
    spec = None
    if parsed.checkpoint:
        from lad_rllib.algorithms.common.policy import FleetPolicy
        from lad_rllib.runs.run_folder import newest_policy

        saved = [newest_policy(path) for path in parsed.checkpoint]
        for name, policy in zip(policy_names(saved), saved, strict=True):
            schedulers[name] = FleetPolicy.of_saved(policy, explore=not parsed.greedy_actions)
        spec = _setting_of_policy(saved[0].setting, parsed)
    schedulers |= {name: make_heuristic(name) for name in parsed.schedulers or ()}
    if not schedulers and parsed.schedulers is not None:
        raise ConfigurationError("nothing to evaluate; give --checkpoint or --schedulers")
    if spec is None:
        parsed.setting = parsed.setting or "paper"
        spec = shared.setting_spec(parsed)
    setting = shared.part_of_log(parsed, read_setting(spec), EVALUATION_PART)
    default = (
        Path(os.path.expanduser(parsed.checkpoint[0])).resolve().parent
        if parsed.checkpoint
        else Path("results/evaluate")
    )
    output = writable_folder(parsed.output or default, alone=False)  # beside a run that goes on
    copy = SharedCopy(output, parsed.storage_path)
    command = command_line()
    if parsed.resume and _is_done(copy, command):
        print(f"{output} has the results of this command already")
        return 0
    _check_memory(setting, parsed.episodes, len(schedulers) + (len(HEURISTICS) if parsed.schedulers is None else 0))
    arrivals = evaluation_arrivals(setting, parsed.episodes, parsed.seed)
    if not arrivals.task_counts[:, : setting.num_slots - 1].any():
        raise ConfigurationError("no task arrives in these episodes; play more of them, or a setting with more tasks")
    if isinstance(setting.arrivals, TraceArrivals):
        print(setting.summary())
    possible = possible_heuristics(setting.network, arrivals)
    if parsed.schedulers is None:
        schedulers |= {name: make_heuristic(name) for name in possible}
    if "local-only" not in possible and "local-only" in (parsed.schedulers or HEURISTICS):
        schedulers.pop("local-only", None)
        print("local-only left out: not every base station has an edge server", file=sys.stderr)
    if parsed.address or parsed.wait_nodes:
        cluster.start_ray(parsed, num_cpus=1)
        records = _play_on_cluster(schedulers, setting, arrivals, parsed.seed)
    else:
        records = _play_all(schedulers, setting, arrivals, parsed.seed)
    table = comparison_table(records, parsed.deadline)
    if parsed.bounds:
        slots, oracle = setting.num_slots - 1, records.get("greedy-oracle")
        oracle_mean = oracle.mean_delay_s if oracle else float("nan")
        bound = bound_row(lower_bound_s(setting.network, arrivals, slots), arrivals, slots, oracle_mean)
        table = pd.concat([table, pd.DataFrame([bound])], ignore_index=True)
    table.insert(0, "setting", setting.name)
    table["command"] = command
    server_table(records).to_csv(output / "evaluation_servers.csv", index=False)
    first = table.iloc[0]
    title = f"{setting.name}: {first['episodes']} episodes, {first['tasks']} tasks, load {setting.load:.2f}"
    plots.plot_comparison(records, output / "evaluation.png", title)
    durable.write_file(output / "evaluation.csv", table.to_csv(index=False))  # last: --resume takes it for all results
    copy.push()
    _print_table(table, title)
    print(f"written: {output / 'evaluation.csv'}, {output / 'evaluation_servers.csv'}, {output / 'evaluation.png'}")
    return 0


def policy_names(saved: Sequence[SavedPolicy]) -> list[str]:
    """Names of policies in a comparison: their titles, numbered where they are the same."""
    names = [policy.title for policy in saved]
    return [name if names.count(name) == 1 else f"{name}, {names[: k + 1].count(name)}" for k, name in enumerate(names)]


def _setting_of_policy(trained: str | dict[str, Any], parsed: argparse.Namespace) -> dict[str, Any]:
    """The setting that the policy was trained on, with the arguments' changes on top."""
    if parsed.setting is not None:
        return shared.setting_spec(parsed)
    base = {"preset": trained} if isinstance(trained, str) else trained
    parsed.setting = base["preset"]
    return override_spec(base, {key: value for key, value in shared.setting_spec(parsed).items() if key != "preset"})


def _check_memory(setting: Setting, episodes: int, schedulers: int) -> None:
    """Refuse more episodes than this machine's memory holds."""
    if isinstance(setting.arrivals, TraceArrivals):
        episodes = min(episodes, setting.arrivals.num_slots // setting.num_slots)
    tasks, stations = setting.arrivals.max_tasks, setting.network.num_stations
    needed = sizes.evaluation_bytes(schedulers, episodes, setting.num_slots, stations, tasks)
    sizes.check_fits(f"{episodes:,} episodes, each played by {schedulers} schedulers,", needed, "--episodes")


def evaluation_arrivals(setting: Setting, episodes: int, seed: int) -> Arrivals:
    """Arrivals to judge on: fresh draws, or the windows of a request log in order (at most ``episodes``)."""
    if isinstance(setting.arrivals, TraceArrivals):
        windows = list(islice(setting.arrivals.windows(setting.num_slots, only_full=True), episodes))
        if not windows:
            raise ConfigurationError(
                "the part of the request log is shorter than one episode; lower --slots or widen --part"
            )
        return stack_arrivals(windows)
    return stack_arrivals(
        [setting.arrivals.draw(np.random.default_rng([seed, k]), setting.num_slots) for k in range(episodes)]
    )


def _play_all(
    schedulers: Mapping[str, Scheduler], setting: Setting, arrivals: Arrivals, seed: int
) -> dict[str, EpisodeRecord]:
    slots = setting.num_slots - 1
    records = {}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for name, scheduler in schedulers.items():
            task = progress.add_task(name, total=slots)

            def show(done: int, task: Any = task) -> None:
                progress.update(task, completed=done)

            records[name] = play(scheduler, setting.network, arrivals, np.random.default_rng(seed), slots, show)
    return records


def _play_on_cluster(
    schedulers: Mapping[str, Scheduler], setting: Setting, arrivals: Arrivals, seed: int
) -> dict[str, EpisodeRecord]:
    """The same, with a task on the cluster for each scheduler.

    Raises:
        ConfigurationError: if no node of the cluster has a CPU for one.
    """
    import ray

    from lad_rllib.algorithms.common.resources import require_room

    require_room([{"CPU": 1.0}])
    inputs = ray.put((setting.network, arrivals, setting.num_slots - 1))

    @ray.remote(num_cpus=1)
    def play_one(scheduler: Scheduler, inputs: tuple[Any, Arrivals, int]) -> EpisodeRecord:
        network, arrivals, slots = inputs
        return play(scheduler, network, arrivals, np.random.default_rng(seed), slots)

    asked = {name: play_one.remote(scheduler, inputs) for name, scheduler in schedulers.items()}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        return {name: ray.get(answer) for name, answer in progress.track(asked.items(), description="schedulers")}


def _is_done(copy: SharedCopy, command: str) -> bool:
    copy.fetch()
    file = copy.folder / "evaluation.csv"
    try:
        return pd.read_csv(file)["command"].tolist()[:1] == [command]
    except (OSError, ValueError, KeyError):  # none, or damaged: judged anew
        return False


def comparison_table(records: Mapping[str, EpisodeRecord], deadline_s: float | None = None) -> pd.DataFrame:
    """One row per scheduler: quality of the schedule, parts of the mean [s], utilisation, ratio to the oracle."""
    rows = []
    oracle = records.get("greedy-oracle")
    for name, record in records.items():
        tasks = max(int(record.mask.sum()), 1)
        episode_means = record.episode_mean_delay_s
        row: dict[str, Any] = {
            "scheduler": name,
            "episodes": len(episode_means),
            "tasks": tasks,
            "mean_s": record.mean_delay_s,
            "over_oracle": record.mean_delay_s / oracle.mean_delay_s if oracle else float("nan"),
            "episode_sd_s": float(episode_means.std(ddof=1)) if len(episode_means) > 1 else float("nan"),
        }
        row |= schedule_quality(record, deadline_s)
        row |= {
            f"{part}_s": float(getattr(record, f"{part}_s").sum() / tasks)
            for part in ("upload", "waiting", "computing", "download")
        }
        row["utilisation"] = float(np.average(record.utilisation, weights=record.network.capacity_gcycles_per_s))
        rows.append(row)
    return pd.DataFrame(rows)


def bound_row(bounds_s: NDArray[np.float64], arrivals: Arrivals, slots: int, oracle_mean_s: float) -> dict[str, Any]:
    """Row of the lower bound in a comparison, from the bounds of each episode; it has a mean and nothing else."""
    tasks = arrivals.task_counts[:, :slots].sum(axis=(1, 2))
    mean = float((bounds_s * tasks).sum() / max(tasks.sum(), 1))
    return {
        "scheduler": LOWER_BOUND,
        "episodes": len(bounds_s),
        "tasks": int(tasks.sum()),
        "mean_s": mean,
        "over_oracle": mean / oracle_mean_s,
        "episode_sd_s": float(bounds_s.std(ddof=1)) if len(bounds_s) > 1 else float("nan"),
    }


def server_table(records: Mapping[str, EpisodeRecord]) -> pd.DataFrame:
    """One row per scheduler and server: capacity and the share of time that it was busy."""
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "scheduler": name,
                    "server": np.arange(record.network.num_servers),
                    "capacity_gcycles_per_s": record.network.capacity_gcycles_per_s,
                    "utilisation": record.utilisation,
                }
            )
            for name, record in records.items()
        ],
        ignore_index=True,
    )


_THREE_DIGITS = ("over_oracle", "fairness", "miss_rate", "upload_s", "download_s", "utilisation")


def _print_table(table: pd.DataFrame, title: str) -> None:
    columns = {
        "scheduler": "scheduler",
        "mean_s": "mean",
        "over_oracle": "/oracle",
        "p50_s": "p50",
        "p95_s": "p95",
        "p99_s": "p99",
        "max_s": "max",
        "fairness": "fair.",
        "miss_rate": "missed",
        "upload_s": "upload",
        "waiting_s": "waiting",
        "computing_s": "comp.",
        "download_s": "downl.",
        "utilisation": "util.",
    }
    columns = {key: label for key, label in columns.items() if key in table}
    print_table(
        f"{title}; delays in s",
        [{label: _cell(key, row[key]) for key, label in columns.items()} for row in table.to_dict("records")],
    )


def _cell(key: str, value: Any) -> str:
    if key == "scheduler":
        return str(value)
    return "–" if pd.isna(value) else f"{value:.{3 if key in _THREE_DIGITS else 2}f}"

"""Schedulers compared on the same fresh arrivals: trained policies, the greedy oracle and simple heuristics."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lad_rllib import durable
from lad_rllib.envs.episodes import read_setting
from lad_rllib.errors import ConfigurationError
from lad_rllib.names import EVALUATION_PART
from lad_rllib.runs import plots
from lad_rllib.runs.cluster import start_ray
from lad_rllib.runs.configuration import part_of_log, setting_changes, setting_spec
from lad_rllib.runs.options import EvaluateOptions
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.progress import bars
from lad_rllib.runs.run_folder import newest_policy
from lad_rllib.runs.storage import SharedCopy
from lad_rllib.scheduling import (
    HEURISTICS,
    EpisodeRecord,
    Scheduler,
    heuristics_for,
    lower_bound_s,
    make_heuristic,
    play,
    possible_heuristics,
    schedule_quality,
)
from lad_rllib.simulator import Arrivals, Setting, TraceArrivals, override_spec, resolve_paths, sizes, stack_arrivals

if TYPE_CHECKING:
    from lad_rllib.algorithms.common.policy_file import SavedPolicy

LOWER_BOUND = "lower bound"
FILES = ("evaluation.csv", "evaluation_servers.csv", "evaluation.png")


@dataclass(frozen=True)
class Evaluation:
    """A comparison that is on disk.

    Attributes:
        folder: Where its files are.
        table: One row for each scheduler, see :func:`comparison_table`.
        title: Setting, numbers of episodes and tasks, load; empty for an evaluation of before.
        is_new: Whether it was made now; with ``resume``, one of the same command is taken as it is.
    """

    folder: Path
    table: pd.DataFrame
    title: str
    is_new: bool = True


def evaluate(options: EvaluateOptions, say: Callable[[str], None] = lambda line: None) -> Evaluation:
    """Play all schedulers on the same arrivals, and write tables and a picture.

    Args:
        options: What is compared, on which setting.
        say: Takes lines about what is played.

    Raises:
        ConfigurationError: for options that contradict one another, and for what cannot be played.
    """
    if options.greedy_actions and not options.checkpoint:
        raise ConfigurationError("--greedy-actions has no effect without --checkpoint; leave it out")
    saved = [newest_policy(path) for path in options.checkpoint or ()]
    policies = _policies(saved, explore=not options.greedy_actions)
    for name in options.schedulers or ():
        make_heuristic(name)  # refuses unknown names before anything is read
    if not policies and options.schedulers == []:
        raise ConfigurationError("nothing to evaluate; give --checkpoint or --schedulers")
    spec = _setting_of_policy(saved[0].setting, options) if saved else setting_spec(options)
    setting = part_of_log(options.part, read_setting(spec), EVALUATION_PART)
    output = writable_folder(options.output or _default_output(options), alone=False)  # beside a run that goes on
    copy = SharedCopy(output, options.storage_path)
    command = shlex.join(["lad-rllib", "evaluate", *options.flags()])
    if options.resume and (before := _evaluated(copy, command)) is not None:
        return Evaluation(output, before, "", is_new=False)
    heuristics = HEURISTICS if options.schedulers is None else options.schedulers
    _check_memory(setting, options.episodes, len(policies) + len(heuristics))
    arrivals = evaluation_arrivals(setting, options.episodes, options.seed)
    if not arrivals.task_counts[:, : setting.num_slots - 1].any():
        raise ConfigurationError("no task arrives in these episodes; play more of them, or a setting with more tasks")
    if isinstance(setting.arrivals, TraceArrivals):
        say(setting.summary())
    schedulers = policies | _heuristics(options.schedulers, setting, arrivals)
    if not schedulers:
        raise ConfigurationError("nothing to evaluate is left; give --checkpoint or other --schedulers")
    if options.address or options.wait_nodes:
        start_ray(options, num_cpus=1)
        records = _play_on_cluster(schedulers, setting, arrivals, options.seed)
    else:
        records = _play_all(schedulers, setting, arrivals, options.seed)
    table = comparison_table(records, options.deadline)
    if options.bounds:
        slots, oracle = setting.num_slots - 1, records.get("greedy-oracle")
        bounds_s = lower_bound_s(setting.network, arrivals, slots)
        bound = bound_row(bounds_s, arrivals, slots, oracle.mean_delay_s if oracle else float("nan"))
        table = pd.concat([table, pd.DataFrame([bound])], ignore_index=True)
    table.insert(0, "setting", setting.name)
    table["command"] = command
    first = table.iloc[0]
    title = f"{setting.name}: {first['episodes']} episodes, {first['tasks']} tasks, load {setting.load:.2f}"
    server_table(records).to_csv(output / "evaluation_servers.csv", index=False)
    plots.plot_comparison(records, output / "evaluation.png", title)
    durable.write_file(output / "evaluation.csv", table.to_csv(index=False))  # last: --resume takes it for all results
    copy.push()
    return Evaluation(output, table, title)


def _policies(saved: Sequence[SavedPolicy], *, explore: bool) -> dict[str, Scheduler]:
    if not saved:
        return {}
    from lad_rllib.algorithms.common.policy import FleetPolicy

    named = zip(policy_names(saved), saved, strict=True)
    return {name: FleetPolicy.of_saved(policy, explore=explore) for name, policy in named}


def _heuristics(asked: Sequence[str] | None, setting: Setting, arrivals: Arrivals) -> dict[str, Scheduler]:
    """The heuristics that are played: those asked for, or all, without what the setting does not allow."""
    say = partial(print, file=sys.stderr)
    if asked is None:
        names = possible_heuristics(setting.network, arrivals, say)
    else:
        names = heuristics_for(setting.network.home_server, asked, say)
    return {name: make_heuristic(name) for name in names}


def _default_output(options: EvaluateOptions) -> Path:
    if not options.checkpoint:
        return Path("results/evaluate")
    return Path(os.path.expanduser(options.checkpoint[0])).resolve().parent


def policy_names(saved: Sequence[SavedPolicy]) -> list[str]:
    """Names of policies in a comparison: their titles, numbered where they are the same."""
    names = [policy.title for policy in saved]
    return [name if names.count(name) == 1 else f"{name}, {names[: k + 1].count(name)}" for k, name in enumerate(names)]


def _setting_of_policy(trained: str | dict[str, Any], options: EvaluateOptions) -> dict[str, Any]:
    """The setting that the policy was trained on, with the options' changes on top."""
    if options.setting is not None:
        return setting_spec(options)
    base = {"preset": trained} if isinstance(trained, str) else trained
    return resolve_paths(override_spec(base, setting_changes(options)), Path.cwd())


def _check_memory(setting: Setting, episodes: int, schedulers: int) -> None:
    """Refuse more episodes than this machine's memory holds."""
    if isinstance(setting.arrivals, TraceArrivals):
        episodes = min(episodes, setting.arrivals.num_slots // setting.num_slots)
    tasks, stations = setting.arrivals.max_tasks, setting.network.num_stations
    needed = sizes.evaluation_bytes(schedulers, episodes, setting.num_slots, stations, tasks)
    sizes.check_fits(f"{episodes:,} episodes, each played by {schedulers} schedulers,", needed, "--episodes")


def evaluation_arrivals(setting: Setting, episodes: int, seed: int) -> Arrivals:
    """Arrivals to compare on: fresh draws, or the windows of a request log in order (at most ``episodes``)."""
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
    with bars() as progress:
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
    with bars() as progress:
        return {name: ray.get(answer) for name, answer in progress.track(asked.items(), description="schedulers")}


def _evaluated(copy: SharedCopy, command: str) -> pd.DataFrame | None:
    """The results of the same command; None if there are none."""
    copy.fetch()
    try:
        table = pd.read_csv(copy.folder / "evaluation.csv")
        return table if table["command"].tolist()[:1] == [command] else None
    except (OSError, ValueError, KeyError):  # none, or damaged: evaluated anew
        return None


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

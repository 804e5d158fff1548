"""What a learner has to be measured against: heuristics, fitted schedulers, offline search and a bound, by load.

    python experiments/yardsticks.py                      the paper's setting, and other numbers of tasks
    python experiments/yardsticks.py --vary-max-tasks     the setting alone

Fits schedulers to training arrivals, plays all on the same test arrivals, looks for better schedules of
these offline (with the first seed), and writes into --output: every row (yardsticks.csv, kept by --resume), tables
(yardsticks.md) and a picture (yardsticks.png).
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lad_rllib.cli import flags
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.command import run_command
from lad_rllib.runs.configuration import setting_spec
from lad_rllib.runs.evaluate import evaluation_arrivals
from lad_rllib.runs.options import SettingOptions, check_at_least
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.provenance import command_line, source_commit
from lad_rllib.runs.rows import ResultRows
from lad_rllib.scheduling import (
    FITTED,
    EpisodeRecord,
    fit_scheduler,
    local_search,
    lower_bound_s,
    make_heuristic,
    play,
    possible_heuristics,
    schedule_quality,
    settle,
)
from lad_rllib.simulator import Arrivals, Setting, TraceArrivals, build_setting, override_spec

TEST_SEED = 1_000_000
ORACLE, SEARCH, BOUND = "greedy-oracle", "offline search", "lower bound"
SEES = {
    "greedy-oracle": "queues in the slot",
    "least-loaded-exact": "queues in the slot",
    "water-filling": "queues at slot start",
    "least-loaded": "queues at slot start",
    "two-size-classes": "queues at slot start",
    "three-size-classes": "queues at slot start",
    "priced-greedy": "queues in the slot",
    "tabular": "slot and own size",
    SEARCH: "everything",
}
MEASURES = ("mean_s", "p50_s", "p95_s", "p99_s", "max_s", "fairness", "class1_s", "class2_s", "class3_s")


@dataclass(frozen=True)
class Study:
    """One setting to compare all on.

    Attributes:
        setting: The setting.
        max_tasks: Most tasks of a station in a slot.
        episodes: Test episodes.
        seeds: Seeds of fits and choices.
        effort: Scales the budgets of the fits.
    """

    setting: Setting
    max_tasks: int
    episodes: int
    seeds: int
    effort: float

    @property
    def slots(self) -> int:
        """Slots that are played: an episode's last one is not decided."""
        return self.setting.num_slots - 1

    @property
    def arrivals(self) -> Arrivals:
        """The test arrivals."""
        return evaluation_arrivals(self.setting, self.episodes, TEST_SEED)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_options(parser, SettingOptions)
    parser.add_argument(
        "--vary-max-tasks",
        type=int,
        nargs="*",
        default=[10, 20, 30, 40, 50, 60],
        metavar="N",
        help="other settings to compare on: most tasks of a station in a slot (10 20 30 40 50 60)",
    )
    parser.add_argument("--episodes", type=int, default=20, help="test episodes on the setting (20)")
    parser.add_argument("--load-episodes", type=int, default=2, help="test episodes with other numbers of tasks (2)")
    parser.add_argument("--seeds", type=int, default=2, help="fits on the setting; one with other numbers of tasks (2)")
    parser.add_argument("--effort", type=float, default=1.0, help="scales the episodes that fits may use (1)")
    parser.add_argument("--load-effort", type=float, default=0.5, help="the same with other numbers of tasks (0.5)")
    parser.add_argument("--iterations", type=int, default=60, help="of the first part of offline search (60)")
    parser.add_argument("--rounds", type=int, default=20, help="most rounds of its second part (20)")
    parser.add_argument("--output", default="results/yardsticks", metavar="DIR", help="(results/yardsticks)")
    parser.add_argument("--resume", action="store_true", help="keep the rows that are in the output folder")
    small = {"setting": "small", "vary_max_tasks": [4], "episodes": 2, "load_episodes": 1, "seeds": 2}
    flags.add_smoke(parser, **small, effort=0.02, load_effort=0.02, iterations=20, rounds=5)
    parsed = parser.parse_args(arguments)
    parsed.command = "yardsticks"
    return parsed


def run(parsed: argparse.Namespace) -> int:
    """Fit, play, search and write; returns the exit status."""
    check_at_least(1, parsed, "episodes", "load_episodes", "seeds", "iterations", "rounds")
    for option in ("effort", "load_effort"):
        if not getattr(parsed, option) > 0:
            name = option.replace("_", "-")
            raise ConfigurationError(f"--{name} must be positive, got {getattr(parsed, option):g}")
    output = writable_folder(parsed.output)
    studies = _studies(parsed)
    rows = ResultRows(output / "yardsticks.csv", parsed.resume, setting=studies[0].setting.name)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        for seed in range(parsed.seeds):
            for study in studies:
                if seed < study.seeds:
                    _compare(study, seed, parsed, rows, progress)
    text = describe(rows.frame, studies)
    (output / "yardsticks.md").write_text(text, encoding="utf-8")
    plot(rows.frame, studies[0], output / "yardsticks.png")
    print(text)
    return 0


def _studies(parsed: argparse.Namespace) -> list[Study]:
    spec = setting_spec(parsed)
    setting = build_setting(spec)
    main = Study(setting, setting.arrivals.max_tasks, parsed.episodes, parsed.seeds, parsed.effort)
    if isinstance(setting.arrivals, TraceArrivals) and parsed.vary_max_tasks:
        raise ConfigurationError("the tasks of a request log are its own; give --vary-max-tasks without numbers")
    others = [number for number in parsed.vary_max_tasks if number != main.max_tasks]
    changed = [build_setting(override_spec(spec, {"arrivals": {"max_tasks": number}})) for number in others]
    return [
        main,
        *(Study(s, n, parsed.load_episodes, 1, parsed.load_effort) for s, n in zip(changed, others, strict=True)),
    ]


def _compare(study: Study, seed: int, parsed: argparse.Namespace, rows: ResultRows, progress: Progress) -> None:
    """Add the rows of one study and seed that are not there yet."""
    setting, arrivals, key = study.setting, study.arrivals, {"max_tasks": study.max_tasks, "seed": seed}
    names = possible_heuristics(setting.network, arrivals)

    def add(name: str, values: dict[str, Any]) -> None:
        rows.add(key | {"load": setting.load, "episodes": study.episodes, "scheduler": name} | values)

    for name in (*names, *FITTED):
        if rows.has(**key, scheduler=name):
            continue
        began = time.perf_counter()
        scheduler = make_heuristic(name) if name in names else _fit(name, study, seed, progress)
        fitted_s = time.perf_counter() - began
        record = play(scheduler, setting.network, arrivals, np.random.default_rng(seed), study.slots)
        fit = {"effort": study.effort, "fit_s": fitted_s} if name in FITTED else {}
        add(name, schedule_quality(record) | fit)
    if seed == 0 and not rows.has(**key, scheduler=BOUND):
        tasks = arrivals.task_counts[:, : study.slots].sum(axis=(1, 2))
        bound = lower_bound_s(setting.network, arrivals, study.slots)
        add(BOUND, {"mean_s": float((bound * tasks).sum() / tasks.sum())})
    if seed == 0 and not rows.has(**key, scheduler=SEARCH):
        began = time.perf_counter()
        quality = schedule_quality(_search(study, arrivals, parsed, progress))
        how = {"iterations": parsed.iterations, "rounds": parsed.rounds}
        add(SEARCH, quality | how | {"fit_s": (time.perf_counter() - began) / study.episodes})


def _fit(name: str, study: Study, seed: int, progress: Progress) -> Any:
    budget = max(round(FITTED[name].budget * study.effort), 2)
    bar = progress.add_task(f"{study.max_tasks} tasks: {name}", total=budget)
    scheduler = fit_scheduler(
        name,
        study.setting.network,
        study.setting.arrivals,
        np.random.default_rng([seed, study.max_tasks]),
        study.slots,
        budget,
        lambda done: progress.update(bar, completed=done),
    )
    progress.remove_task(bar)
    return scheduler


def _search(study: Study, arrivals: Arrivals, parsed: argparse.Namespace, progress: Progress) -> EpisodeRecord:
    network, rng = study.setting.network, np.random.default_rng(0)
    bar = progress.add_task(f"{study.max_tasks} tasks: {SEARCH}", total=parsed.iterations * study.episodes)

    def show(done: int) -> None:
        progress.update(bar, completed=done)

    settled = settle(network, arrivals, rng, study.slots, parsed.iterations, progress=show)
    progress.reset(bar, total=parsed.rounds * study.episodes)
    found = local_search(network, arrivals, settled, rng, parsed.rounds, progress=show)
    progress.remove_task(bar)
    return found


def over_oracle(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with their mean over the greedy oracle's of the same setting and seed."""
    oracle = rows[rows["scheduler"] == ORACLE].set_index(["max_tasks", "seed"])["mean_s"]
    return rows.assign(over_oracle=rows["mean_s"] / rows.set_index(["max_tasks", "seed"]).index.map(oracle))


def describe(rows: pd.DataFrame, studies: list[Study]) -> str:
    """The tables in Markdown, with what is needed to make them again."""
    main = studies[0]
    rows = over_oracle(rows)
    own = rows[rows["max_tasks"] == main.max_tasks].groupby("scheduler", sort=False)
    mean, sd = own[[*MEASURES, "over_oracle", "fit_s"]].mean(), own["mean_s"].std(ddof=1).fillna(0.0)
    lines = [
        f"# Yardsticks on setting `{main.setting.name}` (load {main.setting.load:.2f})",
        "",
        f"Service delays in s over {main.episodes} test episodes, the same for every row; mean over {main.seeds} seeds",
        "of fits and choices (± sd of the mean delay). Fairness: Jain's index of the slowdowns. Small, medium, large:",
        "mean delay of the thirds of the tasks by workload. Fit: seconds of the fit, of the search per episode.",
        "",
        "| scheduler | sees | mean | / oracle | p50 | p95 | p99 | max | fairness | small | medium | large | fit |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in mean.iterrows():
        spread = f" ± {sd[name]:.2f}" if main.seeds > 1 and sd[name] > 0.0005 else ""
        numbers = [f"{row['mean_s']:.2f}{spread}", f"{row['over_oracle']:.3f}"]
        numbers += [_shown(row[column], 3 if column == "fairness" else 2) for column in MEASURES[1:]]
        lines.append(f"| {name} | {SEES.get(str(name), '–')} | {' | '.join(numbers)} | {_shown(row['fit_s'], 0)} |")
    lines += ["", *_load_table(rows, studies)] if len(studies) > 1 else []
    lines += [
        "",
        f"Command: `{command_line()}`; commit {source_commit()}; "
        f"{platform.machine()}, Python {platform.python_version()}.",
        "",
    ]
    return "\n".join(lines)


def _load_table(rows: pd.DataFrame, studies: list[Study]) -> list[str]:
    """Mean delays and ratios by load, of the first seed."""
    first = rows[rows["seed"] == 0]
    means, ratios = (
        first.pivot(index="scheduler", columns="max_tasks", values=column).reindex(first["scheduler"].unique())
        for column in ("mean_s", "over_oracle")
    )
    load = {study.max_tasks: study.setting.load for study in studies}
    counts = {study.max_tasks: study.episodes for study in studies}
    head = " | ".join(f"≤ {n} tasks, load {load[n]:.2f}, {counts[n]} episodes" for n in means.columns)
    lines = ["Mean delay in s by load (over the greedy oracle's), first seed; with other numbers of tasks than the"]
    lines += [
        f"setting's, fits with {studies[1].effort:g} × the budget of {studies[0].effort:g}:",
        "",
        f"| scheduler | {head} |",
    ]
    lines.append("|---" * (len(means.columns) + 1) + "|")
    for name in means.index:
        cells = [f"{means.loc[name, n]:.3f} ({ratios.loc[name, n]:.3f})" for n in means.columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _shown(value: float, digits: int) -> str:
    return "–" if pd.isna(value) else f"{value:.{digits}f}"


def plot(rows: pd.DataFrame, main: Study, path: Path) -> None:
    """Above: mean and tail of each on the setting. Below: mean over the oracle's, by load."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = over_oracle(rows)
    own = rows[rows["max_tasks"] == main.max_tasks].groupby("scheduler", sort=False)[list(MEASURES)].mean()
    own = own.sort_values("mean_s", ascending=False)
    figure, (delays, loads) = pyplot.subplots(2, 1, figsize=(9, 10), height_ratios=(3, 2))
    place = np.arange(len(own))
    delays.barh(place, own["mean_s"], color="#0b6fa4", label="mean")
    for column, marker in (("p50_s", "|"), ("p95_s", "o"), ("p99_s", "s"), ("max_s", "x")):
        delays.plot(own[column], place, marker, color="#c1440e", label=column.removesuffix("_s"), markersize=7)
    delays.set_yticks(place, own.index)
    delays.set_xscale("log")
    delays.set_xlabel("service delay [s]")
    delays.set_title(f"{main.setting.name}: load {main.setting.load:.2f}, {main.episodes} test episodes")
    delays.legend(loc="center right")
    shown = rows[(rows["seed"] == 0) & rows["scheduler"].isin([*FITTED, ORACLE, "water-filling", SEARCH, BOUND])]
    for name, line in shown.sort_values("load").groupby("scheduler", sort=False):
        loads.plot(line["load"], line["over_oracle"], "k--" if name == BOUND else ".-", label=name)
    loads.set_xlabel("load")
    loads.set_ylabel("mean delay / greedy oracle's")
    loads.set_ylim(0, 2)
    loads.legend(fontsize=8)
    for axes in (delays, loads):
        axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(run_command(run, parse()))

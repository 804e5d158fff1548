"""What a learner has to be measured against: heuristics, fitted schedulers, offline search and a bound, by load.

    python -m experiments.yardsticks                      the paper's setting, and other numbers of tasks
    python -m experiments.yardsticks --vary-max-tasks     the setting alone

Fits schedulers to training arrivals, plays all on the same test arrivals, looks for better schedules of
these offline (with the first seed), and writes into --output: every row (yardsticks.csv, kept by --resume), tables
(yardsticks.md) and a picture (yardsticks.png).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from lad_rllib.cli.program import Program
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.comparison import LOWER_BOUND
from lad_rllib.runs.configuration import setting_spec
from lad_rllib.runs.options import Count, SettingOptions, option
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.plots import pyplot, save
from lad_rllib.runs.progress import bars
from lad_rllib.runs.rows import ResultRows
from lad_rllib.runs.tables import markdown_page, markdown_table, put_page, summary_table
from lad_rllib.runs.yardsticks import OFFLINE_SEARCH, Budget, Yardsticks
from lad_rllib.scheduling import FITTED
from lad_rllib.simulator import TraceArrivals, build_setting, override_spec

ORACLE = "greedy-oracle"
SEES = {
    ORACLE: "queues in the slot",
    "least-loaded-exact": "queues in the slot",
    "water-filling": "queues at slot start",
    "least-loaded": "queues at slot start",
    "two-size-classes": "queues at slot start",
    "three-size-classes": "queues at slot start",
    "priced-greedy": "queues in the slot",
    "tabular": "slot and own size",
    OFFLINE_SEARCH: "everything",
}
MEASURES = ("mean_s", "p50_s", "p95_s", "p99_s", "max_s", "fairness", "class1_s", "class2_s", "class3_s")
Share = Annotated[float, Field(gt=0)]


class YardstickOptions(SettingOptions):
    """Where yardsticks are compared, and what that may cost."""

    command: ClassVar[str] = "yardsticks"
    title = "run"

    vary_max_tasks: list[int] = option(
        [10, 20, 30, 40, 50, 60],
        "other settings to compare on: most tasks of a station in a slot",
        "N",
        may_be_empty=True,
    )
    episodes: Count = option(20, "test episodes on the setting")
    load_episodes: Count = option(2, "test episodes with other numbers of tasks")
    seeds: Count = option(2, "fits on the setting; one with other numbers of tasks")
    effort: Share = option(1.0, "scales the episodes that fits may use")
    load_effort: Share = option(0.5, "the same with other numbers of tasks")
    iterations: Count = option(60, "of the first part of offline search")
    rounds: Count = option(20, "most rounds of its second part")
    output: str = option("results/yardsticks", "output folder", "DIR")
    resume: bool = option(False, "keep the rows that are in the output folder")


def run(options: YardstickOptions) -> int:
    """Fit, play, search and write; returns the exit status."""
    spec = setting_spec(options)
    setting = build_setting(spec)
    if isinstance(setting.arrivals, TraceArrivals) and options.vary_max_tasks:
        raise ConfigurationError("the tasks of a request log are its own; give --vary-max-tasks without numbers")
    output = writable_folder(options.output)
    rows = ResultRows(output / "yardsticks.csv", options.resume, setting=setting.name)
    search = (options.iterations, options.rounds)
    budget = Budget(options.load_episodes, options.load_effort, *search)
    with bars() as progress:
        main = Yardsticks(setting, Budget(options.episodes, options.effort, *search), rows, progress)
        main.compare(0)
        for number in options.vary_max_tasks:
            if number != main.max_tasks:
                changed = build_setting(override_spec(spec, {"arrivals": {"max_tasks": number}}))
                Yardsticks(changed, budget, rows, progress).compare(0)
        for seed in range(1, options.seeds):
            main.compare(seed)
    table = rows.frame
    oracle = table[table["scheduler"] == ORACLE].set_index(["max_tasks", "seed"])["mean_s"]
    table["over_oracle"] = table["mean_s"] / table.set_index(["max_tasks", "seed"]).index.map(oracle)
    title = f"setting {setting.name} (load {setting.load:.2f})"
    plot(table, main.max_tasks, output / "yardsticks.png", title)
    put_page(output / "yardsticks.md", describe(table, main.max_tasks, title, options))
    return 0


SHOWN = {"scheduler": "scheduler", "sees": "sees", "mean_s": "mean", "over_oracle": "/ oracle"}
SHOWN |= {name: name.removesuffix("_s") for name in MEASURES[1:6]}
SHOWN |= {"class1_s": "small", "class2_s": "medium", "class3_s": "large", "fit_s": "fit"}


def describe(rows: pd.DataFrame, max_tasks: int, title: str, options: YardstickOptions) -> str:
    """The tables in Markdown."""
    own = rows[rows["max_tasks"] == max_tasks].groupby("scheduler", sort=False)
    table = own[[*MEASURES, "over_oracle", "fit_s"]].mean().assign(mean_s_sd=own["mean_s"].std(ddof=1)).reset_index()
    table["sees"] = table["scheduler"].map(lambda name: SEES.get(name, "–"))
    return markdown_page(
        f"Yardsticks on {title}",
        f"Service delays in s over {options.episodes} test episodes, the same for every row; mean over {options.seeds} "
        "seeds of fits and choices (± sd of the mean delay). Fairness: Jain's index of the slowdowns. Small, medium, "
        "large: mean delay of the thirds of the tasks by workload. Fit: seconds of the fit, of the search per episode.",
        summary_table(table, SHOWN),
        *(_by_load(rows[rows["seed"] == 0], options) if rows["max_tasks"].nunique() > 1 else []),
    )


def _by_load(first: pd.DataFrame, options: YardstickOptions) -> list[str]:
    """Mean delays and ratios by load, of the first seed."""
    means, ratios = (
        first.pivot(index="scheduler", columns="max_tasks", values=column).reindex(first["scheduler"].unique())
        for column in ("mean_s", "over_oracle")
    )
    about = first.drop_duplicates("max_tasks").set_index("max_tasks")
    loads = [f"≤ {n} tasks, load {about['load'][n]:.2f}, {about['episodes'][n]} episodes" for n in means]
    cells = [(name, *(f"{means[n][name]:.3f} ({ratios[n][name]:.3f})" for n in means)) for name in means.index]
    return [
        "Mean delay in s by load (over the greedy oracle's), first seed; with other numbers of tasks than the "
        f"setting's, fits with {options.load_effort:g} × the budget of {options.effort:g}:",
        markdown_table(["scheduler", *loads], cells),
    ]


def plot(rows: pd.DataFrame, max_tasks: int, path: Path, title: str) -> None:
    """Above: mean and tail of each on the setting. Below: mean over the oracle's, by load."""
    own = rows[rows["max_tasks"] == max_tasks].groupby("scheduler", sort=False)[list(MEASURES)].mean()
    own = own.sort_values("mean_s", ascending=False)
    figure, (delays, loads) = pyplot().subplots(2, 1, figsize=(9, 10), height_ratios=(3, 2))
    place = np.arange(len(own))
    delays.barh(place, own["mean_s"], color="#0b6fa4", label="mean")
    for column, marker in (("p50_s", "|"), ("p95_s", "o"), ("p99_s", "s"), ("max_s", "x")):
        delays.plot(own[column], place, marker, color="#c1440e", label=column.removesuffix("_s"), markersize=7)
    delays.set_yticks(place, own.index)
    delays.set(xscale="log", xlabel="service delay [s]", title=title)
    delays.legend(loc="center right")
    drawn = [*FITTED, ORACLE, "water-filling", OFFLINE_SEARCH, LOWER_BOUND]
    shown = rows[(rows["seed"] == 0) & rows["scheduler"].isin(drawn)].sort_values("load")
    for name, line in shown.groupby("scheduler", sort=False):
        loads.plot(line["load"], line["over_oracle"], "k--" if name == LOWER_BOUND else ".-", label=name)
    loads.set(xlabel="load", ylabel="mean delay / greedy oracle's", ylim=(0, 2))
    loads.legend(fontsize=8)
    for axes in (delays, loads):
        axes.grid(alpha=0.3)
    save(figure, path)


SMOKE = {"setting": "small", "vary_max_tasks": [4], "episodes": 2, "load_episodes": 1, "seeds": 2}
main = Program(
    run, YardstickOptions, __doc__, SMOKE | {"effort": 0.02, "load_effort": 0.02, "iterations": 20, "rounds": 5}
)

if __name__ == "__main__":
    sys.exit(main())

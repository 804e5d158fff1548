"""Pictures of cases: delays over the episodes, and ratios to the greedy oracle as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lad_rllib import names
from lad_rllib.runs.over_seeds import ROLLING
from lad_rllib.runs.plots import pyplot, save

COLOURS = {
    "lad-ts": "#0b6fa4",
    "d2sac-ts": "#8e44ad",
    "sac-ts": "#c9b458",
    "dqn-ts": "#2f2f2f",
}
ORACLE_COLOUR = "#c1440e"
YARDSTICK_STYLES = {
    names.ORACLE_DELAY: ("greedy oracle (Opt-TS)", ORACLE_COLOUR, "-"),
    names.WATER_FILLING_DELAY: ("water-filling", "#6aa84f", "--"),
    names.PROPORTIONAL_DELAY: ("capacity-proportional", "#8a8a8a", ":"),
    names.LEAST_WORK_DELAY: ("least work left", "#6aa84f", "--"),
}


def plot_learning(curves: pd.DataFrame, labels: Mapping[str, str], path: Path, title: str) -> None:
    """Delays and ratios to the greedy oracle of several cases over the episodes, beside the yardsticks.

    Rolling means of ten episodes: mean over seeds, and a band of one sd; of a single seed the episodes, too. The
    yardsticks that learn nothing are drawn as well: closeness to the oracle says little without them.
    """
    figure, (delays, ratios) = pyplot().subplots(2, 1, figsize=(9, 8.5), sharex=True)
    for case, runs in curves.groupby("case", sort=False):
        for axes, column in ((delays, names.MEAN_DELAY), (ratios, names.DELAY_OVER_ORACLE)):
            _draw_case(axes, runs, column, labels[case], COLOURS.get(case))
    styles = {column: style for column, style in YARDSTICK_STYLES.items() if column in curves}
    means = curves.groupby("episodes")[list(styles)].mean().rolling(ROLLING, min_periods=1).mean()
    for column, (label, colour, style) in styles.items():
        delays.plot(means.index, means[column], style, color=colour, linewidth=1.3, label=label)
        ratios.plot(means.index, means[column] / means[names.ORACLE_DELAY], style, color=colour, linewidth=1.3)
    spread = "and of all seeds, band: ± sd" if curves["seed"].nunique() > 1 else "thick, single episodes thin"
    delays.set(ylabel="mean service delay [s]", title=f"{title}\nmean of {ROLLING} episodes {spread}")
    delays.set_ylim(bottom=0)
    ratios.set(xlabel="episode", ylabel="mean delay / greedy oracle's")
    least, most = curves[names.DELAY_OVER_ORACLE].agg(["min", "max"])
    ratios.set_ylim(min(0.9, least - 0.05), min(3.0, most + 0.1))
    ratios.xaxis.get_major_locator().set_params(integer=True)
    delays.legend(fontsize=8, ncols=2)
    for axes in (delays, ratios):
        axes.grid(alpha=0.3)
    save(figure, path)


def _draw_case(axes: Any, curves: pd.DataFrame, column: str, label: str, colour: str | None) -> None:
    episodes = curves.pivot_table(index="episodes", columns="seed", values=column)
    table = episodes.rolling(ROLLING, min_periods=1).mean()
    mean, sd = table.mean(axis=1), table.std(axis=1).fillna(0.0)
    (line,) = axes.plot(table.index, mean, color=colour, linewidth=1.8, label=label)
    if episodes.shape[1] == 1:
        axes.plot(episodes.index, episodes, color=line.get_color(), linewidth=0.8, alpha=0.3)
    axes.fill_between(table.index, mean - sd, mean + sd, color=line.get_color(), alpha=0.15, linewidth=0)


def plot_sweep(points: pd.DataFrame, path: Path, label: str) -> None:
    """Delay and ratio to the greedy oracle of each method against a swept value.

    Args:
        points: One row for each ``value`` and ``method``, as of :func:`~lad_rllib.runs.over_seeds.last_episodes`.
        path: The picture.
        label: What is swept, with its unit.
    """
    figure, (delays, ratios) = pyplot().subplots(1, 2, figsize=(11, 4.2))
    for method, rows in points.groupby("method", sort=False):
        for axes, column, sd in ((delays, "delay_s", "delay_sd_s"), (ratios, "over_oracle", "over_oracle_sd")):
            style = {"color": COLOURS[str(method)], "label": names.ALGORITHMS[str(method)], "marker": "o", "capsize": 3}
            axes.errorbar(rows["value"], rows[column], yerr=rows[sd].fillna(0), **style)
    styles = {column: style for column, style in YARDSTICK_STYLES.items() if column in points}
    means = points.groupby("value")[list(styles)].mean()
    for column, (name, colour, line) in styles.items():
        delays.plot(means.index, means[column], line, color=colour, label=name)
        ratios.plot(means.index, means[column] / means[names.ORACLE_DELAY], line, color=colour)
    delays.set(xlabel=label, ylabel="mean service delay [s]")
    ratios.set(xlabel=label, ylabel="mean delay / greedy oracle's")
    delays.legend(fontsize=8)
    for axes in (delays, ratios):
        axes.grid(alpha=0.3)
    save(figure, path)


def draw_ratios(axes: Any, labels: Sequence[str], ratios: Any, spread: Any, colours: Any = COLOURS["lad-ts"]) -> None:
    """Bars of ratios to the greedy oracle, from above to below; ``spread`` is half of each, or (2, N) both ways."""
    axes.barh(labels, ratios, xerr=np.nan_to_num(spread), color=colours, capsize=3)
    axes.axvline(1.0, color=ORACLE_COLOUR, linewidth=1, label="greedy oracle")
    axes.invert_yaxis()
    axes.set_xlabel("mean delay / greedy oracle's")

"""The picture of a workload of the benchmark suite: every scheduler against least work left, load by load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lad_rllib.runs.plots import pyplot, save

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colours of orders of service, which the colour-blind tell apart, too (Okabe and Ito)."""

MEASURES = {"over_same_order": "mean delay ÷ least work left's", "p99_over_same_order": "99th percentile ÷ its"}
"""Ratios that are drawn, one row of panels each."""

FAR = 4.0
"""Ratio at which a scale ends; what is beyond is drawn at its end as an arrow."""


def plot_workload(table: pd.DataFrame, path: Path, title: str) -> None:
    """Ratios to least work left under the same order of service: schedulers by name, loads side by side.

    Args:
        table: Rows of the suite of one workload, in which schedulers are told the same of service times.
        path: Picture to write.
        title: Above it.
    """
    loads, orders = sorted(table["load"].unique()), list(table["order"].unique())
    ranked = np.log(table["over_same_order"]).groupby(table["scheduler"]).mean().sort_values(ascending=False)
    schedulers = list(ranked.index)
    size = (2.4 * len(loads) + 2, 0.24 * len(schedulers) * len(MEASURES) + 1.6)
    figure, axes = pyplot().subplots(len(MEASURES), len(loads), figsize=size, sharey=True, sharex="row", squeeze=False)
    for row, (measure, label) in zip(axes, MEASURES.items(), strict=True):
        for each, load in zip(row, loads, strict=True):
            for place, order in enumerate(orders):
                shift = 0.22 * ((len(orders) - 1) / 2 - place)
                played = table[(table["load"] == load) & (table["order"] == order)].set_index("scheduler")
                _draw(each, played, measure, schedulers, shift, COLOURS[place % len(COLOURS)])
            _dress(each, schedulers, 0.95 * min(table[measure].min(), 1.0))
            each.set_xlabel(label, fontsize=8)
    for each, load in zip(axes[0], loads, strict=True):
        each.set_title(f"load {load:g}", fontsize=10)
    lines = [pyplot().Line2D([], [], marker="o", linestyle="", color=colour) for colour in COLOURS[: len(orders)]]
    figure.legend(lines, orders, loc="outside upper right", ncols=len(orders), fontsize=8, frameon=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    save(figure, path)


def _draw(axes: Any, played: pd.DataFrame, measure: str, schedulers: Sequence[str], shift: float, colour: str) -> None:
    """The ratios of one order of service; of means with their intervals."""
    for height, name in enumerate(schedulers):
        if name not in played.index:
            continue
        row = played.loc[name]
        ratio = float(row[measure])
        axes.plot(
            min(ratio, FAR), height + shift, ">" if ratio > FAR else "o", color=colour, markersize=4, clip_on=False
        )
        if f"{measure}_low" in played and ratio <= FAR:
            axes.plot([row[f"{measure}_low"], row[f"{measure}_high"]], [height + shift] * 2, color=colour, linewidth=1)


def _dress(axes: Any, schedulers: Sequence[str], least: float) -> None:
    """A line at 1, names at the side, and a scale from the least ratio to :data:`FAR`."""
    axes.set_xscale("log")
    axes.set_xlim(least, FAR)
    axes.axvline(1.0, color="black", linewidth=0.8)
    ticks = (0.5, 0.75, 1, 1.5, 2, 3, 4) if least > 0.3 else (0.05, 0.1, 0.2, 0.5, 1, 2, 4)
    shown = [tick for tick in ticks if least <= tick <= FAR]
    axes.set_xticks(shown, [f"{tick:g}" for tick in shown], fontsize=7)
    axes.set_xticks([], minor=True)
    axes.set_yticks(range(len(schedulers)), schedulers, fontsize=8)
    axes.set_ylim(-0.6, len(schedulers) - 0.4)
    axes.grid(axis="y", alpha=0.2)
    axes.grid(axis="x", alpha=0.3)

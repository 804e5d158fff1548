"""Pictures of cases over episodes or over a swept value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.comparison.tables import ROLLING
from lad_rllib import names

COLOURS = {"lad-ts": "#0b6fa4", "d2sac-ts": "#8e44ad", "sac-ts": "#c9b458", "dqn-ts": "#2f2f2f"}
YARDSTICK_STYLES = {
    names.ORACLE_DELAY: ("greedy oracle (Opt-TS)", "#c1440e", "-"),
    names.WATER_FILLING_DELAY: ("water-filling", "#6aa84f", "--"),
    names.PROPORTIONAL_DELAY: ("capacity-proportional", "#8a8a8a", ":"),
}


def pyplot() -> Any:
    """Matplotlib without a screen."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def save(figure: Any, path: Path, dpi: int = 120) -> None:
    """Write a figure and let go of it."""
    figure.tight_layout()
    figure.savefig(path, dpi=dpi)
    pyplot().close(figure)


def draw_learning(axes: Any, curves: pd.DataFrame, column: str, label: str, colour: str | None) -> None:
    """Rolling mean of ten episodes: mean over seeds, and a band of one sd."""
    table = curves.pivot(index="episodes", columns="seed", values=column).rolling(ROLLING, min_periods=1).mean()
    mean, sd = table.mean(axis=1), table.std(axis=1).fillna(0.0)
    (line,) = axes.plot(table.index, mean, color=colour, linewidth=1.8, label=label)
    axes.fill_between(table.index, mean - sd, mean + sd, color=line.get_color(), alpha=0.15, linewidth=0)


def draw_yardsticks(axes: Any, curves: pd.DataFrame, over: str | None = None) -> None:
    """The yardsticks on the same arrivals, mean of all runs and ten episodes, as delays or as ratios to one."""
    means = curves.groupby("episodes")[list(YARDSTICK_STYLES)].mean().rolling(ROLLING, min_periods=1).mean()
    for column, (label, colour, style) in YARDSTICK_STYLES.items():
        values = means[column] / means[over] if over else means[column]
        axes.plot(means.index, values, style, color=colour, linewidth=1.3, label=label)


def plot_learning(curves: pd.DataFrame, labels: dict[str, str], path: Path, title: str) -> None:
    """Delays and ratios to the greedy oracle of several cases over the episodes."""
    plt = pyplot()
    figure, (delays, ratios) = plt.subplots(2, 1, figsize=(9, 8.5), sharex=True)
    for case, runs in curves.groupby("case", sort=False):
        draw_learning(delays, runs, names.MEAN_DELAY, labels[case], COLOURS.get(case))
        draw_learning(ratios, runs, names.DELAY_OVER_ORACLE, labels[case], COLOURS.get(case))
    draw_yardsticks(delays, curves)
    draw_yardsticks(ratios, curves, names.ORACLE_DELAY)
    delays.set(
        ylabel="mean service delay [s]", title=f"{title}\nmean of {ROLLING} episodes and of all seeds, band: ± sd"
    )
    ratios.set(xlabel="episode", ylabel="mean delay / greedy oracle's")
    ratios.set_ylim(0.9, min(3.0, float(np.nanmax(curves[names.DELAY_OVER_ORACLE])) + 0.1))
    delays.legend(fontsize=8, ncols=2)
    for axes in (delays, ratios):
        axes.grid(alpha=0.3)
    save(figure, path, dpi=130)

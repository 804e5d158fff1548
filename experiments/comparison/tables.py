"""Means over seeds, convergence, and Markdown."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lad_rllib import names
from lad_rllib.runs.provenance import command_line, source_commit

ROLLING = 10
"""Episodes of the rolling mean."""
RATIOS = {
    "over_oracle": names.ORACLE_DELAY,
    "over_water_filling": names.WATER_FILLING_DELAY,
    "over_proportional": names.PROPORTIONAL_DELAY,
}
"""Ratio of the mean delay, and the yardstick that it is over, on the same arrivals."""


def last_episodes(curves: pd.DataFrame, window: int, by: Sequence[str] = ("case",)) -> pd.DataFrame:
    """Mean delay of the last episodes and its ratios to the yardsticks, as mean and sd over seeds.

    Args:
        curves: One row for each case, seed and episode.
        window: How many episodes, counted from each run's last.
        by: Columns that tell cases apart.

    Returns:
        One row for each case in the order of ``curves``: ``by``, ``seeds``, ``episodes`` ("41-50"), ``delay_s``,
        ``delay_sd_s``, the yardsticks' delays [s], and each of :data:`RATIOS` with its ``_sd``.
    """
    columns = [names.MEAN_DELAY, *names.YARDSTICKS.values()]
    rows = []
    for key, runs in curves.groupby(list(by), sort=False):
        last = int(runs["episodes"].max())
        first = max(1, last - window + 1)
        means = runs[runs["episodes"] >= first].groupby("seed")[columns].mean()
        row: dict[str, Any] = dict(zip(by, key, strict=True))
        row |= {"seeds": len(means), "episodes": f"{first}-{last}"}
        row |= {"delay_s": means[names.MEAN_DELAY].mean(), "delay_sd_s": means[names.MEAN_DELAY].std()}
        row |= means[list(names.YARDSTICKS.values())].mean().to_dict()
        for name, yardstick in RATIOS.items():
            ratio = means[names.MEAN_DELAY] / means[yardstick]
            row |= {name: ratio.mean(), f"{name}_sd": ratio.std()}
        rows.append(row)
    return pd.DataFrame(rows)


def converged_at(delay_s: Iterable[float], final: int = 50, within: float = 0.1) -> float:
    """First episode from which the mean of the last ten episodes stays close to a run's own final delay.

    The final delay is the mean of the last ``final`` episodes (of a tenth of a shorter run); close is at most the share
    ``within`` above or below it. NaN if the run is too short, or came close only within those last episodes.

    >>> converged_at([20.0] * 30 + [10.0] * 170)  # up to 38, two of ten episodes are at 20: a mean of 12
    39.0
    >>> converged_at([20.0] * 30 + [10.0] * 170, within=0.05)
    40.0
    """
    delays = np.asarray(list(delay_s), dtype=float)
    final = min(final, max(len(delays) // 10, 1))
    if len(delays) < 2 * ROLLING:
        return float("nan")
    means = np.convolve(delays, np.full(ROLLING, 1 / ROLLING), mode="valid")  # of the episodes up to 10, 11, ...
    is_close = np.abs(means / delays[-final:].mean() - 1) <= within + 1e-9
    away = np.flatnonzero(~is_close)
    episode = ROLLING + (int(away[-1]) + 1 if len(away) else 0)
    return float(episode) if episode <= len(delays) - final else float("nan")


def mean_sd(mean: float, sd: float, digits: int) -> str:
    """``mean ± sd``; the mean alone for one seed, a dash for nothing."""
    if np.isnan(mean):
        return "–"
    return f"{mean:.{digits}f}" + ("" if np.isnan(sd) else f" ± {sd:.{digits}f}")


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table."""
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    return lines + [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]


def provenance() -> str:
    """What is needed to make a result again."""
    return (
        f"Command: `{command_line()}`; commit {source_commit()}; "
        f"{platform.machine()}, Python {platform.python_version()}."
    )


def against(published: float, ours: float, sd: float) -> str:
    """What a published number has come to.

    "agrees": within 5 % or 2 sd of ours; otherwise by how much ours is above or below it.
    """
    if np.isnan(ours) or np.isnan(published):
        return "not measured"
    spread = 0.0 if np.isnan(sd) else sd
    if abs(ours - published) <= max(0.05 * published, 2 * spread):
        return "agrees"
    return f"{abs(ours / published - 1):.0%} {'above' if ours > published else 'below'} the paper's"

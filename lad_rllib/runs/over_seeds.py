"""Results of several seeds: means and standard deviations, and the episode at which a run has converged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lad_rllib import names

ROLLING = 10
"""Episodes of the rolling mean."""
RATIOS = {
    "over_oracle": names.ORACLE_DELAY,
    "over_water_filling": names.WATER_FILLING_DELAY,
    "over_proportional": names.PROPORTIONAL_DELAY,
}
"""Ratio of the mean delay, and the yardstick that it is over, on the same arrivals."""
MEAN_SD = ("mean", "std")
"""What :func:`aggregated` is asked for of a number that has a spread."""


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
    rows = []
    for key, runs in curves.groupby(list(by), sort=False):
        last = int(runs["episodes"].max())
        row = window_row(runs, max(1, last - window + 1), last)
        rows.append(dict(zip(by, key, strict=True)) | row)
    return pd.DataFrame(rows)


def window_row(runs: pd.DataFrame, first: int, last: int) -> dict[str, Any]:
    """Delays [s] and ratios of one case from the first to the last episode, as in :func:`last_episodes`."""
    columns = [names.MEAN_DELAY, *names.YARDSTICKS.values()]
    means = runs[runs["episodes"].between(first, last)].groupby("seed")[columns].mean()
    row: dict[str, Any] = {"seeds": len(means), "episodes": f"{first}-{last}"}
    row |= {"delay_s": means[names.MEAN_DELAY].mean(), "delay_sd_s": means[names.MEAN_DELAY].std()}
    row |= means[list(names.YARDSTICKS.values())].mean().to_dict()
    for name, yardstick in RATIOS.items():
        ratio = means[names.MEAN_DELAY] / means[yardstick]
        row |= {name: ratio.mean(), f"{name}_sd": ratio.std()}
    return row


def over_seeds(rows: pd.DataFrame, by: Sequence[str], columns: Sequence[str], spread: Sequence[str]) -> pd.DataFrame:
    """Means over seeds.

    Args:
        rows: One row for each seed and each combination of ``by``.
        by: Columns that tell the rest apart.
        columns: Columns of numbers.
        spread: Those of which ``COLUMN_sd`` is wanted.

    Returns:
        One row for each combination in the order of ``rows``: ``by``, ``columns``, the sds and ``seeds``.
    """
    grouped = rows.groupby(list(by), sort=False)
    table = grouped[list(columns)].mean()
    table[[f"{column}_sd" for column in spread]] = grouped[list(spread)].std()
    table["seeds"] = grouped["seed"].nunique()
    return table.reset_index()


def aggregated(rows: pd.DataFrame, by: Sequence[str], columns: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """What rows that belong together have in common, with spreads beside the numbers that they are of.

    Args:
        rows: The rows.
        by: Columns that tell the rest apart.
        columns: What is wanted of each column, as pandas calls it: one of "mean", "max", "count", ..., and "std".

    Returns:
        One row for each combination in the order of ``rows``: ``by`` and the columns, ``COLUMN_sd`` for "std".

    >>> rows = pd.DataFrame({"scheduler": ["one", "one"], "mean_s": [1.0, 3.0], "seed": [0, 1]})
    >>> aggregated(rows, ["scheduler"], {"mean_s": MEAN_SD, "seed": ["count"]}).round(2).to_dict("records")
    [{'scheduler': 'one', 'mean_s': 2.0, 'mean_s_sd': 1.41, 'seed': 2}]
    """
    table = rows.groupby(list(by), sort=False).agg({name: list(kinds) for name, kinds in columns.items()})
    table.columns = pd.Index([f"{name}_sd" if kind == "std" else name for name, kind in table.columns])
    return table.reset_index()


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

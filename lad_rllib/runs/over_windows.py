"""Results on the windows of a request log: how far a ratio depends on the windows that it was measured on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import bootstrap

from lad_rllib.scheduling import EpisodeRecord

ORACLE = "greedy-oracle"


def window_table(record: EpisodeRecord) -> pd.DataFrame:
    """Number of tasks and mean delay [s] of each window."""
    tasks = record.mask.sum(axis=(1, 2, 3))
    return pd.DataFrame({"window": np.arange(len(tasks)), "tasks": tasks, "mean_s": record.episode_mean_delay_s})


def over_windows(windows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """How far each scheduler's ratio to the greedy oracle depends on the windows.

    Args:
        windows: One row for each seed and window of each ``by``, as of :func:`window_table`; with a ``scheduler``.
        by: Columns that tell the rest apart.

    Returns:
        One row for each ``by`` and scheduler: ``windows``, ``better_windows`` (in which the mean over seeds is below
        the oracle's), and ``over_oracle_low`` and ``_high``: 95 % bootstrap interval over windows (NaN for one).
    """
    group = [*by, "scheduler"]
    windows = windows.assign(total_s=windows["tasks"] * windows["mean_s"])
    total = windows.groupby([*group, "window"], sort=False)["total_s"].mean()
    totals = {key: own.to_numpy() for key, own in total.groupby(group, sort=False)}
    rows = []
    for key, own in totals.items():
        oracle = totals[*key[:-1], ORACLE]
        low, high = ratio_interval(own, oracle)
        rows.append([*key, len(own), int((own < oracle).sum()), low, high])
    return pd.DataFrame(rows, columns=[*group, "windows", "better_windows", "over_oracle_low", "over_oracle_high"])


def ratio_interval(own: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, float]:
    """95 % bootstrap interval of the ratio of two sums over windows or episodes; NaN for fewer than two.

    Both of a pair are drawn together (a paired bootstrap, percentiles of ``scipy.stats.bootstrap``).

    Args:
        own: What is added up in each window, shape (windows,).
        other: The same of what it is compared with.
    """

    def ratio(own: NDArray[np.float64], other: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        quotient: NDArray[np.float64] = own.sum(axis=axis) / other.sum(axis=axis)
        return quotient

    if len(own) < 2:
        return np.nan, np.nan
    draws = np.random.default_rng(0)
    drawn = bootstrap((own, other), ratio, paired=True, method="percentile", rng=draws)
    return float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)

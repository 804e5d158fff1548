"""Means over seeds, convergence, and intervals over windows."""

import math

import numpy as np
import pandas as pd
import pytest

from lad_rllib.runs.over_seeds import converged_at, last_episodes
from lad_rllib.runs.over_windows import over_windows


def curves(delays_by_seed, case="lad-ts"):
    """Curves of one case; every yardstick has 10 s."""
    rows = [
        {"case": case, "seed": seed, "episodes": episode, "mean_service_delay_s": delay}
        | dict.fromkeys(("greedy_oracle_delay_s", "water_filling_delay_s", "capacity_proportional_delay_s"), 10.0)
        | {"delay_over_oracle": delay / 10.0}
        for seed, delays in enumerate(delays_by_seed)
        for episode, delay in enumerate(delays, start=1)
    ]
    return pd.DataFrame(rows)


def test_the_last_episodes_count_as_means_of_each_seed_and_their_spread_over_seeds():
    row = last_episodes(curves([[99.0, 10.0, 12.0], [99.0, 13.0, 17.0]]), window=2).iloc[0]
    assert (row["episodes"], row["seeds"]) == ("2-3", 2)
    assert (row["delay_s"], row["delay_sd_s"]) == (13.0, pytest.approx(math.sqrt(8)))
    assert (row["over_oracle"], row["over_oracle_sd"]) == (pytest.approx(1.3), pytest.approx(math.sqrt(0.08)))


def test_a_run_has_converged_where_the_rolling_mean_has_come_to_stay():
    falling = np.r_[np.linspace(30, 10, 100), np.full(100, 10.0)]
    rolling = pd.Series(falling).rolling(10).mean()
    by_hand = rolling[rolling > 11.0].index.max() + 2  # the episode after the last one above, counted from 1
    assert converged_at(falling) == by_hand
    relapsed = np.r_[falling[:150], np.full(10, 30.0), np.full(40, 10.0)]
    assert converged_at(relapsed) > 160
    assert converged_at(np.full(100, 5.0)) == 10
    assert math.isnan(converged_at([5.0] * 19))
    assert math.isnan(converged_at(np.linspace(100, 1, 100)))


@pytest.mark.filterwarnings("error")
def test_a_ratio_over_windows_has_the_interval_that_its_windows_allow():
    means = {"greedy-oracle": [2.0, 1.0, 2.0], "random": [1.0, 1.0, 3.0]}
    windows = pd.DataFrame(
        {"load": 0.6, "work": "mean", "scheduler": name, "seed": seed, "window": window, "tasks": 10, "mean_s": mean}
        for seed in (0, 1)
        for name in means
        for window, mean in enumerate(means[name])
    )
    table = over_windows(windows, ["load", "work"]).set_index("scheduler")
    assert table.loc["random", ["windows", "better_windows"]].tolist() == [3, 1]
    interval = ["over_oracle_low", "over_oracle_high"]
    assert table.loc["random", interval].tolist() == [0.5, 1.5]  # the same window three times
    assert table.loc["greedy-oracle", interval].tolist() == [1.0, 1.0]
    alone = over_windows(windows[windows["window"] == 0], ["load", "work"])
    assert alone[interval].isna().all(axis=None)

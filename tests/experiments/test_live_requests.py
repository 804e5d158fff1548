"""The comparison on a running fleet: late seeds are left out, and the whole runs from end to end."""

import pandas as pd
import pytest

from experiments.live_requests import LEARNED, RULES, LiveRequestsOptions, compared, describe, main

SCHEDULERS = (*RULES, LEARNED)


def rows(**in_time):
    """Means 10, 9 and 8 s in seed 1, twice that in seed 2."""
    return pd.DataFrame(
        {
            **{"seed": seed, "in_time": in_time[f"seed{seed}"], "scheduler": name, "load": 0.7, "tasks": 400},
            **{"mean_s": seed * (10.0 - rank), "p95_s": 30.0, "p99_s": 40.0, "simulated_s": 9.0, "late_s": 1.0},
        }
        for seed in (1, 2)
        for rank, name in enumerate(SCHEDULERS)
    )


def test_ratios_are_of_the_same_seed():
    table = compared(rows(seed1=True, seed2=True)).set_index("scheduler")
    assert table.loc[LEARNED, "over_mean_s"] == pytest.approx(0.8)
    assert table.loc[LEARNED, "over_mean_s_sd"] == pytest.approx(0.0)
    assert table.loc[LEARNED, "mean_s"] == pytest.approx(12.0) and table.loc[LEARNED, "seeds"] == 2


def test_a_late_seed_is_in_no_mean_but_in_the_table_of_all_runs():
    text = describe(rows(seed1=True, seed2=False), LiveRequestsOptions())
    assert f"| {LEARNED} | 8.00 | 30.00 | 9.00 | 0.800 |" in text and "| 2 | False |" in text
    assert "Every seed was late" in describe(rows(seed1=False, seed2=False), LiveRequestsOptions())


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.extended
def test_a_smoke_run_calibrates_trains_and_serves(ray_cluster, tmp_path, capsys):
    assert main(["--smoke", "--output", str(tmp_path)]) == 0
    table = pd.read_csv(tmp_path / "live_requests.csv")
    assert table["scheduler"].tolist() == list(SCHEDULERS) and (table["failed"] == 0).all()
    assert (table["mean_s"] > 0).all() and (table["simulated_s"] > 0).all()

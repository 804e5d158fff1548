"""The experiment on a request log: every rule and a trained policy on each unseen window, over the best rule."""

import numpy as np
import pandas as pd
import pytest

from experiments.recorded_requests import LEARNED, SEARCH, main, summarised
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS


def test_a_smoke_run_plays_all_on_the_same_windows_and_is_not_repeated(tmp_path, capsys):
    words = ["--smoke", "--work", "predicted", "--output", str(tmp_path)]
    assert main(words) == 0
    rows = pd.read_csv(tmp_path / "recorded_requests.csv")
    cells = rows.groupby(["pauses", "scheduler"])["window"].agg(list)
    assert set(rows["scheduler"]) == {LEARNED, *REQUEST_SCHEDULERS} and len(cells) == 2 * rows["scheduler"].nunique()
    assert all(windows == [0, 1] for windows in cells) and (rows["mean_s"] < rows["p95_s"]).all()
    assert rows["swaps"].between(0, 1, inclusive="neither").all()
    text = capsys.readouterr().out
    assert f"| {LEARNED} |" in text and "## Work predicted, pauses kept, load 0.9" in text
    assert (tmp_path / "recorded_requests.png").exists()
    assert main([*words, "--resume"]) == 0
    assert pd.read_csv(tmp_path / "recorded_requests.csv").equals(rows)


def test_ratios_are_over_the_rule_of_least_mean_in_the_cell_with_seeds_and_windows_told_apart():
    cell = {"work": "known", "pauses": "kept", "load": 0.9, "p95_s": 1.0, "p99_s": 1.0, "swaps": 0.0}
    means = {("one", 0): [2.0, 2.0], ("two", 0): [1.0, 5.0], (SEARCH, 0): [0.5, 0.5]}
    means |= {(LEARNED, 0): [1.0, 1.0], (LEARNED, 1): [1.0, 3.0]}
    rows = [
        cell | {"scheduler": name, "seed": seed, "window": window, "mean_s": mean}
        for (name, seed), values in means.items()
        for window, mean in enumerate(values)
    ]
    table = summarised(pd.DataFrame(rows)).set_index("scheduler")
    assert table["over_best"].to_dict() == pytest.approx({"one": 1.0, "two": 1.5, SEARCH: 0.25, LEARNED: 0.75})
    assert table.loc[LEARNED, ["seeds", "windows", "low", "high"]].tolist() == pytest.approx([2, 2, 0.5, 1.0])
    assert table.loc[LEARNED, "over_best_sd"] == pytest.approx(np.std([0.5, 1.0], ddof=1))
    assert table.index[0] == SEARCH and table["mean_s"].is_monotonic_increasing

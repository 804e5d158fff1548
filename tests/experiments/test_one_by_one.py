"""The experiment on requests one by one: every cell has the rules and a trained policy, over least work left."""

import pandas as pd
import pytest

from experiments.one_by_one import LEARNED, RULES, main, over_first


def test_a_smoke_run_leaves_rows_a_table_and_a_picture_and_is_not_repeated(tmp_path, capsys):
    assert main(["--smoke", "--output", str(tmp_path)]) == 0
    rows = pd.read_csv(tmp_path / "one_by_one.csv")
    assert rows["scheduler"].tolist() == [*RULES, LEARNED] and (rows["p99_s"] >= rows["mean_s"]).all()
    assert (tmp_path / "one_by_one.png").exists() and "| lad-dispatch | 1 |" in capsys.readouterr().out
    assert main(["--smoke", "--resume", "--output", str(tmp_path)]) == 0
    assert pd.read_csv(tmp_path / "one_by_one.csv").equals(rows)


def test_ratios_are_over_the_first_scheduler_of_the_same_cell_and_seed():
    cell = {"workload": "w", "load": 0.5, "order": "fifo"}
    rows = [
        cell | {"seed": seed, "scheduler": name, "mean_s": mean, "p95_s": 1.0, "p99_s": 1.0}
        for seed, name, mean in ((0, RULES[0], 2.0), (0, LEARNED, 1.0), (1, RULES[0], 4.0), (1, LEARNED, 3.0))
    ]
    assert over_first(pd.DataFrame(rows))["over_mean_s"].tolist() == pytest.approx([1.0, 0.5, 1.0, 0.75])

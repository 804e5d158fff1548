"""The experiment on the guard: what is worse is left within the stated time."""

import pandas as pd

from experiments.policy_guard import main


def test_a_smoke_run_finds_a_bad_scheduler(tmp_path, capsys):
    assert main(["--smoke", "--output", str(tmp_path)]) == 0
    [row] = pd.read_csv(tmp_path / "policy_guard.csv").to_dict("records")
    assert row["policy"] == "random" and row["mean_ratio"] > 1.2 and row["left_after_s"] <= 900
    assert "| random |" in capsys.readouterr().out

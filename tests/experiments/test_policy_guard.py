"""The experiment on the guard: what is worse is left within the stated time, and rows outlive a run."""

import pandas as pd

from experiments.policy_guard import BAD, main


def test_a_smoke_run_finds_a_bad_policy_and_a_resumed_one_keeps_its_row(tmp_path, capsys):
    assert main(["--smoke", "--output", str(tmp_path)]) == 0
    file = tmp_path / "policy_guard.csv"
    [row] = pd.read_csv(file).to_dict("records")
    assert row["policy"] == BAD and row["mean_ratio"] > 1.2 and row["left_after_s"] <= 600
    assert f"| {BAD} |" in capsys.readouterr().out
    assert main(["--smoke", "--policies", BAD, "least-work-left", "--output", str(tmp_path), "--resume"]) == 0
    bad, rule = pd.read_csv(file).to_dict("records")
    assert bad == row and rule["worse_looks"] == 0 and pd.isna(rule["left_after_s"])
    assert main(["--smoke", "--go-back-after", "60", "--output", str(tmp_path), "--resume"]) == 2
    assert "has rows of go_back_after 600.0, not 60.0" in capsys.readouterr().err

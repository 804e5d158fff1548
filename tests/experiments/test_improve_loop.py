"""The experiment on the loop: a world that changes, what ``improve`` says, and what that is worth on fresh requests."""

import pandas as pd

from experiments.improve_loop import main


def test_a_smoke_run_judges_old_and_new_on_fresh_requests_and_a_resumed_one_keeps_them(tmp_path, capsys):
    assert main(["--smoke", "--output", str(tmp_path)]) == 0
    rows = pd.read_csv(tmp_path / "improve_loop.csv")
    assert rows["scheduler"].tolist() == ["least-work-left", "old policy", "after improve"]
    assert rows["mean_ratio"][0] == 1.0 and (rows["p99_s"] > rows["mean_s"]).all()
    assert rows["verdict"].isin(["better", "heuristic", "keep"]).all()
    assert "| old policy |" in capsys.readouterr().out
    assert main(["--smoke", "--output", str(tmp_path), "--resume"]) == 0
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "improve_loop.csv"), rows)
    assert main(["--smoke", "--iterations", "3", "--output", str(tmp_path), "--resume"]) == 2
    assert "has rows of iterations 2, not 3" in capsys.readouterr().err

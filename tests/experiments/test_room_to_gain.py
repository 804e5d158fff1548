"""The search finds no mean below the bound, and begins from nothing that the rules know."""

import pandas as pd

from experiments.room_to_gain import BOUND, RULES, SEARCH, main


def test_a_smoke_run_leaves_rows_between_bound_and_rules_and_is_not_repeated(tmp_path, capsys):
    assert main(["--smoke", "--iterations", "30", "--rounds", "10", "--output", str(tmp_path)]) == 0
    rows = pd.read_csv(tmp_path / "room_to_gain.csv").set_index("scheduler")
    assert rows.index.tolist() == [*RULES, SEARCH, BOUND]
    assert rows.loc[BOUND, "mean_s"] <= rows.loc[SEARCH, "mean_s"] < rows.loc[RULES[0], "mean_s"]
    assert "| offline search | 1 |" in capsys.readouterr().out
    assert main(["--smoke", "--resume", "--iterations", "30", "--rounds", "10", "--output", str(tmp_path)]) == 0
    assert len(pd.read_csv(tmp_path / "room_to_gain.csv")) == len(rows)

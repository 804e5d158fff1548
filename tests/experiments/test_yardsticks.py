"""The comparison of all yardsticks: what the script leaves."""

import pandas as pd
import pytest

from experiments import yardsticks
from lad_rllib.scheduling import FITTED, HEURISTICS


def test_every_yardstick_has_its_rows_a_resumed_run_keeps_them_and_none_is_below_the_bound(tmp_path, capsys):
    arguments = ["--smoke", "--output", str(tmp_path)]
    assert yardsticks.main(arguments) == 0
    rows = pd.read_csv(tmp_path / "yardsticks.csv")
    assert "shortest-expected-delay" in HEURISTICS  # here the greedy oracle, since the work of tasks is known
    names = {*HEURISTICS, *FITTED, "offline search", "lower bound"} - {"shortest-expected-delay"}
    for key in ((6, 0), (6, 1), (4, 0)):
        of_key = rows[(rows["max_tasks"] == key[0]) & (rows["seed"] == key[1])].set_index("scheduler")["mean_s"]
        expected = names if key[1] == 0 else names - {"offline search", "lower bound"}
        assert set(of_key.index) == expected and len(of_key) == len(expected)
        if key[1] == 0:
            assert of_key.nsmallest(2).index.tolist() == ["lower bound", "offline search"]
    text = (tmp_path / "yardsticks.md").read_text()
    assert text in capsys.readouterr().out and all(f"| {name} |" in text for name in names)
    assert "≤ 4 tasks" in text and (tmp_path / "yardsticks.png").stat().st_size > 10_000
    before = (tmp_path / "yardsticks.csv").read_text()
    assert yardsticks.main([*arguments, "--resume"]) == 0
    assert (tmp_path / "yardsticks.csv").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--effort", "0"], "--effort must be a number above 0, got 0.0"),
        (["--seeds", "0"], "--seeds must be a whole number of at least 1, got 0"),
        (
            ["--setting", "sample-trace"],
            "the tasks of a request log are its own; give --vary-max-tasks without numbers",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(tmp_path, capsys, arguments, message):
    assert yardsticks.main([*arguments, "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"lad-rllib yardsticks: {message}\n"

"""LAD-Dispatch on the paper's slots: both ways of deciding are trained and tested, and the table reads the looks."""

import pandas as pd

from experiments.pages.fleets import paper_slots
from experiments.paper_slots import main


def test_a_smoke_run_trains_both_ways_and_keeps_its_rows(tmp_path, capsys):
    assert main(["--smoke", "--output", str(tmp_path)]) == 0
    rows = pd.read_csv(tmp_path / "paper_slots.csv")
    assert rows[["training", "on"]].to_numpy().tolist() == [
        ["at-once/1", "look"],
        ["at-once/1", "test"],
        ["one-by-one/1", "look"],
        ["one-by-one/1", "test"],
    ]
    means = rows[rows["on"] == "test"].set_index("training")["mean"]
    assert means["one-by-one/1"] < means["at-once/1"]  # it knows more, and neither has learned much
    assert main(["--smoke", "--resume", "--output", str(tmp_path)]) == 0
    assert pd.read_csv(tmp_path / "paper_slots.csv").equals(rows)
    assert "| at once | 1 | 1 |" in capsys.readouterr().out


def test_a_training_must_say_how_tasks_are_decided_and_for_how_long(capsys):
    assert main(["--trainings", "at-once"]) == 2
    assert "at-once/EPISODES or one-by-one/EPISODES" in capsys.readouterr().err


def test_the_table_has_the_time_to_the_first_look_that_reached_a_goal():
    looks = [
        {"training": "at-once/30", "seed": seed, "on": "look", "cpu_s": cpu_s, "mean": mean, "p95": 1.0, "p99": 1.0}
        for seed, curve in enumerate([[(10.0, 0.72), (20.0, 0.69), (30.0, 0.63)], [(10.0, 0.7), (20.0, 0.68)]])
        for cpu_s, mean in curve
    ]
    tests = [
        {"training": "at-once/30", "seed": seed, "on": "test", "cpu_s": 40.0, "mean": mean, "p95": 1.5, "p99": 2.0}
        for seed, mean in enumerate([0.62, 0.66])
    ]
    header, [row] = paper_slots(pd.DataFrame(looks + tests))
    told = dict(zip(header, row, strict=True))
    assert told["mean"] == "0.640 ± 0.028" and told["furthest seed"] == "0.020"
    assert told["CPU s to 0.70"] == "15 (2 of 2)" and told["CPU s to 0.65"] == "30 (1 of 2)"
    assert told["CPU s to 0.60"] == "not reached" and told["CPU s in all"] == "40"

"""``lad-rllib evaluate`` prints the quality of each schedule, and the lower bound on request."""

import json

import pandas as pd
import pytest

from lad_rllib.cli import main
from lad_rllib.runs.evaluate import evaluate, numbered
from lad_rllib.runs.options import EvaluateOptions

SMALL = ["evaluate", "--setting", "small", "--episodes", "3", "--schedulers"]


def test_every_row_has_tail_fairness_and_size_classes_and_the_bound_is_below_all(tmp_path, capsys):
    arguments = [*SMALL, "greedy-oracle", "random", "--bounds", "--deadline", "2", "--output", str(tmp_path)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("p99", "max", "fair.", "missed", "lower bound"))
    table = pd.read_csv(tmp_path / "evaluation.csv").set_index("scheduler")
    assert list(table.index) == ["greedy-oracle", "random", "lower bound"]
    assert table["tasks"].nunique() == 1
    played = table.drop(index="lower bound")
    assert 0 < table.loc["lower bound", "mean_s"] < played["mean_s"].min()
    assert table.loc["lower bound", "over_oracle"] == pytest.approx(
        table.loc["lower bound", "mean_s"] / table.loc["greedy-oracle", "mean_s"]
    )
    assert table.loc["lower bound", ["p50_s", "max_s", "fairness"]].isna().all()
    assert played["fairness"].between(0, 1).all() and played["miss_rate"].between(0, 1).all()
    assert (played[["class1_s", "class2_s", "class3_s"]] > 0).all(axis=None)
    assert (tmp_path / "evaluation.png").exists()


def test_without_a_deadline_or_bounds_their_columns_and_rows_are_not_there(tmp_path, capsys):
    assert main([*SMALL, "random", "--output", str(tmp_path)]) == 0
    assert "missed" not in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "evaluation.csv")
    assert table["scheduler"].tolist() == ["random"] and "miss_rate" not in table


def test_the_bound_needs_no_oracle_beside_it(tmp_path):
    assert main([*SMALL, "random", "--bounds", "--output", str(tmp_path)]) == 0
    table = pd.read_csv(tmp_path / "evaluation.csv")
    assert table["mean_s"][1] < table["mean_s"][0] and table["over_oracle"][1] < 1  # played for the ratio alone


def test_a_negative_deadline_is_refused(tmp_path, capsys):
    assert main([*SMALL, "random", "--deadline", "-1", "--output", str(tmp_path)]) == 2
    assert "--deadline must be a number of at least 0, got -1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--slots", "1"], "an episode needs at least 2 slots, got 1"),
        (["--arrivals", "poisson", "--mean-tasks", "0"], "no task arrives in these episodes; play more of them, or"),
    ],
)
def test_episodes_without_anything_to_evaluate_are_refused(arguments, message, tmp_path, capsys):
    assert main([*SMALL, "random", *arguments, "--output", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_an_evaluation_that_was_cut_short_is_not_taken_for_done(tmp_path, monkeypatch, capsys):
    def killed(*_):
        raise SystemExit(1)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr("lad_rllib.runs.plots.plot_comparison", killed)
        main([*SMALL, "random", "--output", str(tmp_path)])
    for says_done in (False, True):
        assert main([*SMALL, "random", "--resume", "--output", str(tmp_path)]) == 0
        assert ("has the results of this command already" in capsys.readouterr().out) is says_done


@pytest.mark.parametrize("option", [["--part", "0.5", "1"], ["--greedy-actions"]])
def test_an_option_without_effect_is_refused(option, tmp_path, capsys):
    assert main([*SMALL, "random", *option, "--output", str(tmp_path)]) == 2
    assert f"{option[0]} has no effect " in capsys.readouterr().err


def test_policies_side_by_side_are_named_by_what_tells_them_apart():
    assert numbered(["LAD-TS"]) == ["LAD-TS"]
    assert numbered(["LAD-TS", "LAD-PMD"]) == ["LAD-TS", "LAD-PMD"]
    assert numbered(["LAD-TS", "LAD-PMD", "LAD-TS"]) == ["LAD-TS, 1", "LAD-PMD", "LAD-TS, 2"]


def test_json_is_the_rows_of_the_table_alone_on_standard_output_also_when_they_are_there(tmp_path, capsys):
    command = [*SMALL, "greedy-oracle", "random", "--bounds", "--json", "--output", str(tmp_path)]
    for resume in ([], ["--resume"]):
        assert main([*command, *resume]) == 0
        rows = json.loads(capsys.readouterr().out)
        table = pd.read_csv(tmp_path / "evaluation.csv")
        assert [row["scheduler"] for row in rows] == table["scheduler"].tolist() and set(rows[0]) == set(table)
        assert [row["mean_s"] for row in rows] == pytest.approx(table["mean_s"]) and rows[-1]["max_s"] is None


def test_resumed_results_are_those_of_the_same_options_however_they_are_asked_for(tmp_path, capsys):
    options = EvaluateOptions(setting="small", episodes=1, schedulers=["random"], output=str(tmp_path))
    assert evaluate(options).is_new
    again = options.model_copy(update={"resume": True})
    assert not evaluate(again).is_new
    assert evaluate(again.model_copy(update={"seed": 3})).is_new  # in the same process
    words = ["evaluate", "--setting", "small", "--episodes", "1", "--schedulers", "random", "--seed", "3"]
    capsys.readouterr()
    assert main([*words, "--resume", "--output", str(tmp_path)]) == 0
    assert "has the results of this command already" in capsys.readouterr().out
    command = pd.read_csv(tmp_path / "evaluation.csv")["command"][0]
    assert command == "lad-rllib evaluate --setting small --episodes 1 --seed 3 --schedulers random"


def test_nothing_is_evaluated_if_the_only_scheduler_does_not_fit_the_setting(tmp_path, capsys):
    words = ["evaluate", "--setting", "small", "--servers", "2", "--capacity", "10", "--schedulers", "local-only"]
    assert main([*words, "--output", str(tmp_path)]) == 2
    assert "nothing to evaluate is left" in capsys.readouterr().err

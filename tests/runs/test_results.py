"""Tables of a search, from results as Ray Tune gives them."""

from dataclasses import replace

import pandas as pd
import pytest

from lad_rllib.runs.search import SearchPlan
from lad_rllib.runs.search_report import SearchReport
from lad_rllib.runs.search_results import TrialOutcome, best_trials, episode_table, hyperparameters, trial_table
from lad_rllib.runs.search_space import SearchSpace
from lad_rllib.runs.trial import SCORE


def result(trial, gamma, seed, scores, error=None, done=True):
    rows = [
        {
            "training_iteration": i + 1,
            "episodes": i + 1,
            SCORE: score,
            "iteration_delay_s": 2 * score,
            "mean_service_delay_s": 5 * score,
            "done": done and i + 1 == len(scores),
        }
        for i, score in enumerate(scores)
    ]
    return TrialOutcome(
        trial=trial,
        config={"training": {"gamma": gamma}, "seeds": seed},
        metrics=rows[-1] if rows else {},
        reports=pd.DataFrame(rows) if rows else None,
        error=error,
        path=f"/experiment/trial_{trial}",
    )


RESULTS = [
    result("a", 0.5, 0, [3.0, 2.0, 1.2]),
    result("b", 0.5, 1, [3.0, 2.0, 1.4]),
    result("c", 0.9, 0, [3.0, 1.9, 1.1]),
    result("d", 0.9, 1, [3.0, 2.0, 1.8]),
    result("e", 0.1, 0, [3.0, 1.0]),
    result("f", 2.0, 0, [], error=ValueError("Traceback\n  in some file\ngamma must be in [0, 1]\n")),
]


def test_trials_are_sorted_by_score_those_stopped_early_behind_and_failed_ones_last():
    table = trial_table(RESULTS, ["gamma"], 3)
    assert table["trial"].tolist() == ["c", "a", "b", "d", "e", "f"]
    assert table["status"].tolist() == ["done"] * 4 + ["stopped early", "failed"]
    assert table["error"].tolist()[-1] == "gamma must be in [0, 1]"
    assert table["gamma"].tolist() == [0.9, 0.5, 0.5, 0.9, 0.1, 2.0]


def test_the_best_configuration_is_the_one_with_the_best_mean_over_its_seeds_trained_to_the_end():
    best = best_trials(trial_table(RESULTS, ["gamma"], 3), ["gamma"])
    assert best["trial"].tolist() == ["a", "b"]  # c alone is better, and e, but c's other seed is bad and e is not done
    assert hyperparameters(best, ["gamma"]) == {"gamma": 0.5}
    assert best[SCORE].mean() == pytest.approx(1.3)


def test_there_is_no_best_one_if_none_got_to_the_end():
    assert best_trials(trial_table(RESULTS[-1:], ["gamma"], 3), ["gamma"]).empty


CUT = [
    result("a", 0.5, 0, [3.0, 2.0, 1.2], done=False),
    result("b", 0.7, 0, [3.0, 1.1], done=False),
    result("c", 0.9, 0, [], done=False),
]


def test_trials_that_were_cut_short_are_interrupted_and_the_best_is_among_those_with_the_most_episodes():
    table = trial_table(CUT, ["gamma"], 100)
    assert table["trial"].tolist() == ["a", "b", "c"] and set(table["status"]) == {"interrupted"}
    assert best_trials(table, ["gamma"])["trial"].tolist() == ["a"]
    assert trial_table([], ["gamma"], 100).empty and best_trials(trial_table([], ["gamma"], 100), ["gamma"]).empty


@pytest.mark.parametrize(
    ("interrupted", "budget_s", "cause"),
    [(True, None, "interrupted"), (True, 60.0, "interrupted"), (False, 60.0, "ended by the time budget of 60 s")],
)
def test_a_search_that_was_cut_short_says_so_and_tells_what_was_run(interrupted, budget_s, cause, tmp_path):
    plan = SearchPlan("cut", None, SearchSpace({"gamma": ("uniform", (0.1, 0.9))}, {}), 24, 100, time_budget_s=budget_s)
    described = {"configuration": {"setting": {}, "training": {}, "command": "lad-rllib tune"}}
    report = SearchReport(plan, CUT, 90.0, described, interrupted)
    report.write(tmp_path)
    assert "3 trials (0 to the end, 0 stopped early, 3 interrupted, 0 failed) in 1.5 min" in report.text
    assert f"{cause}: of 24 trials 2 were cut short, by 195 episodes, and 22 not begun" in report.text
    assert "over the last 3 of 3 episodes (100 were asked for)" in report.text and "median" not in report.text
    assert "over the last 3 of 3 episodes (100 were asked for)" in (tmp_path / "best.yaml").read_text()
    assert pd.read_csv(tmp_path / "trials.csv")["status"].tolist() == ["interrupted"] * 3


def test_a_search_that_was_not_cut_says_nothing_of_it():
    plan = SearchPlan("whole", None, SearchSpace({"gamma": ("choice", (0.1, 0.9))}, {}), len(RESULTS), 3)
    described = {"configuration": {"setting": {}, "training": {}, "command": "lad-rllib tune"}}
    text = SearchReport(plan, RESULTS, 90.0, described).text
    assert "6 trials (4 to the end, 1 stopped early, 1 failed)" in text and "cut short" not in text
    assert "over the last 3 of 3 episodes (6.50 s)" in text


def test_a_search_knows_how_many_trials_it_has():
    space = SearchSpace({"gamma": ("uniform", (0.1, 0.9)), "batch": ("choice", (1, 2))}, {})
    grid = SearchPlan("grid", None, space, search="grid", grid_points=3, seeds=(0, 1), seeds_as_grid=True)
    assert grid.number_of_trials == 3 * 2 * 2
    assert replace(grid, search="random", trials=5).number_of_trials == 5 * 2
    assert replace(grid, given=({}, {"gamma": 0.5}), cases={"one": None, "two": None}).number_of_trials == 2 * 2 * 2


def test_an_iteration_done_again_after_a_failure_counts_once():
    again = result("a", 0.5, 0, [3.0, 2.0, 1.5])
    again = replace(again, reports=pd.concat([again.reports.iloc[:2], again.reports.iloc[1:]]))
    table = episode_table([again, RESULTS[-1]])
    assert table["episodes"].tolist() == [1, 2, 3]
    assert table["trial"].unique().tolist() == ["a"]

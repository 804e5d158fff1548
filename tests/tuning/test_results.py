"""Tables of a search, from results as Ray Tune gives them."""

from dataclasses import replace

import pandas as pd
import pytest

from lad_rllib.tuning.results import TrialOutcome, best_trials, episode_table, hyperparameters, trial_table
from lad_rllib.tuning.trial import SCORE


def result(trial, gamma, seed, scores, error=None):
    rows = [
        {"training_iteration": i + 1, "episodes": i + 1, SCORE: score, "iteration_delay_s": 2 * score}
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
    table = trial_table(RESULTS, ["gamma"])
    assert table["trial"].tolist() == ["c", "a", "b", "d", "e", "f"]
    assert table["status"].tolist() == ["done"] * 4 + ["stopped early", "failed"]
    assert table["error"].tolist()[-1] == "gamma must be in [0, 1]"
    assert table["gamma"].tolist() == [0.9, 0.5, 0.5, 0.9, 0.1, 2.0]


def test_the_best_configuration_is_the_one_with_the_best_mean_over_its_seeds_trained_to_the_end():
    best = best_trials(trial_table(RESULTS, ["gamma"]), ["gamma"])
    assert best["trial"].tolist() == ["a", "b"]  # c alone is better, and e, but c's other seed is bad and e is not done
    assert hyperparameters(best, ["gamma"]) == {"gamma": 0.5}
    assert best[SCORE].mean() == pytest.approx(1.3)


def test_there_is_no_best_one_if_none_got_to_the_end():
    assert best_trials(trial_table(RESULTS[-1:], ["gamma"]), ["gamma"]).empty


def test_an_iteration_done_again_after_a_failure_counts_once():
    again = result("a", 0.5, 0, [3.0, 2.0, 1.5])
    again = replace(again, reports=pd.concat([again.reports.iloc[:2], again.reports.iloc[1:]]))
    table = episode_table([again, RESULTS[-1]])
    assert table["episodes"].tolist() == [1, 2, 3]
    assert table["trial"].unique().tolist() == ["a"]

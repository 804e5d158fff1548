"""LAD-PMD beside the greedy oracle: it trains, plays beside the yardsticks and the bound, and leaves its results."""

import pandas as pd
import pytest

from experiments import beyond


@pytest.mark.extended
@pytest.mark.cluster
def test_smoke_every_scheduler_is_evaluated_on_the_same_arrivals_and_none_is_below_the_bound(
    ray_cluster, tmp_path, capsys
):
    assert beyond.main(["--smoke", "--parts", "tails", "--output", str(tmp_path)]) == 0
    evaluation = pd.read_csv(tmp_path / "beyond_tails_evaluation.csv")
    assert set(evaluation["study"]) == {"p95 bounded", "p99 bounded", "fixed tail loss"}
    for _, rows in evaluation.groupby("study"):
        delays = rows.set_index("scheduler")["mean_s"]
        assert delays.drop("lower bound").min() >= delays["lower bound"]
        assert rows["tasks"].nunique() == 1
    text = (tmp_path / "beyond_tails.md").read_text()
    assert "| **LAD-PMD** |" in text and text in capsys.readouterr().out
    assert (tmp_path / "beyond_tails.png").stat().st_size > 5_000
    curves = pd.read_csv(tmp_path / "beyond_tails.csv")
    assert curves.groupby("case")["episodes"].apply(list).tolist() == [[1, 2]] * 3


def test_bounds_are_the_greedy_oracles_percentiles_and_the_fixed_loss_is_one(tmp_path):
    options = beyond.main.parse(["--smoke", "--output", str(tmp_path)])
    p95, p99, fixed = (study.training for study in beyond.bounded(options, beyond.studies_of("tails", 2, None)))
    assert (p95["bounded_percentile"], p99["bounded_percentile"]) == (95.0, 99.0)
    assert 0 < p95["percentile_bound_s"] < p99["percentile_bound_s"]
    threshold_s = 0.94 * p95["percentile_bound_s"]
    assert fixed["penalty"] == {"name": "tail", "threshold_s": pytest.approx(threshold_s), "strength": 8.0}
    assert "bounded_percentile" not in fixed


def test_a_request_log_is_refused(tmp_path, capsys):
    assert beyond.main(["--arrivals", "log.csv", "--output", str(tmp_path)]) == 2
    assert "experiments.trace learns from a request log" in capsys.readouterr().err


def test_a_study_that_a_part_does_not_have_is_refused(tmp_path, capsys):
    arguments = ["--parts", "tails", "--studies", "heads", "--output", str(tmp_path)]
    assert beyond.main(arguments) == 2
    assert "part tails has no study 'heads'; it has ['p95 bounded'" in capsys.readouterr().err

"""The learning curves of several seeds: what the script leaves."""

import pandas as pd
import pytest

from experiments import learning, methods


@pytest.mark.extended
@pytest.mark.cluster
def test_every_episode_of_every_seed_and_their_means_are_left_and_kept_by_a_resumed_run(ray_cluster, tmp_path, capsys):
    arguments = ["--smoke", "--output", str(tmp_path / "learning")]
    assert learning.main(arguments) == 0
    curves = pd.read_csv(tmp_path / "learning" / "learning_published_code.csv")
    assert curves[["seed", "episodes"]].values.tolist() == [[s, e] for s in (0, 1) for e in (1, 2, 3, 4)]
    ratio = curves["mean_service_delay_s"] / curves["greedy_oracle_delay_s"]
    assert curves["delay_over_oracle"].tolist() == pytest.approx(ratio.tolist())
    table = pd.read_csv(tmp_path / "learning" / "learning_published_code_summary.csv").iloc[0]
    assert (table["episodes"], table["seeds"]) == ("1-4", 2)
    assert table["mean_service_delay_s"] == pytest.approx(curves["mean_service_delay_s"].mean())
    assert (tmp_path / "learning" / "learning_published_code.png").stat().st_size > 10_000
    assert learning.main([*arguments, "--resume"]) == 0
    assert pd.read_csv(tmp_path / "learning" / "learning_published_code.csv").equals(curves)
    assert learning.main(arguments) == 2
    assert "holds a search already; give --resume" in capsys.readouterr().err


@pytest.mark.extended  # one method with several seeds: the test above
@pytest.mark.slow
@pytest.mark.cluster
def test_methods_are_compared_on_the_same_arrivals_and_a_resumed_run_changes_nothing(ray_cluster, tmp_path, capsys):
    chosen = ["d2sac-ts", "dqn-ts"]
    arguments = ["--smoke", "--seeds", "1", "--methods", *chosen, "--output", str(tmp_path)]
    assert methods.main(arguments) == 0
    assert "about" in capsys.readouterr().out
    curves = pd.read_csv(tmp_path / "methods.csv")
    assert curves[["case", "episodes"]].values.tolist() == [[m, e] for m in chosen for e in (1, 2, 3, 4)]
    oracle = curves.pivot(index="episodes", columns="case", values="greedy_oracle_delay_s")
    assert (oracle.nunique(axis=1) == 1).all()
    assert curves.groupby("case")["mean_service_delay_s"].mean().nunique() == 2
    table = pd.read_csv(tmp_path / "methods_summary.csv").set_index("case")
    assert list(table.index) == chosen and table["paper_delay_s"].tolist() == [8.4, 9.4]
    last = curves[curves["episodes"] == 4].set_index("case")
    assert table["delay_s"].to_dict() == pytest.approx(last["mean_service_delay_s"].to_dict(), rel=1e-5)
    assert "| DQN-TS | 1 |" in (tmp_path / "methods.md").read_text()
    assert (tmp_path / "methods.png").stat().st_size > 10_000
    assert methods.main([*arguments, "--resume"]) == 0
    assert pd.read_csv(tmp_path / "methods.csv").equals(curves)

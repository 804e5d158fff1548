"""The learning curves of several seeds: what the script leaves."""

import pandas as pd
import pytest

from experiments import learning
from lad_rllib.cli.main import run_command


@pytest.mark.cluster
def test_every_episode_of_every_seed_and_their_means_are_left_and_kept_by_a_resumed_run(ray_cluster, tmp_path, capsys):
    arguments = ["--smoke", "--output", str(tmp_path / "learning")]
    assert run_command(learning.run, learning.parse(arguments)) == 0
    curves = pd.read_csv(tmp_path / "learning" / "learning_published_code.csv")
    assert curves[["seed", "episodes"]].values.tolist() == [[s, e] for s in (0, 1) for e in (1, 2, 3, 4)]
    ratio = curves["mean_service_delay_s"] / curves["greedy_oracle_delay_s"]
    assert curves["delay_over_oracle"].tolist() == pytest.approx(ratio.tolist())
    table = pd.read_csv(tmp_path / "learning" / "learning_published_code_summary.csv").iloc[0]
    assert (table["episodes"], table["seeds"]) == ("1-4", 2)
    assert table["mean_service_delay_s"] == pytest.approx(curves["mean_service_delay_s"].mean())
    assert (tmp_path / "learning" / "learning_published_code.png").stat().st_size > 10_000
    assert run_command(learning.run, learning.parse([*arguments, "--resume"])) == 0
    assert pd.read_csv(tmp_path / "learning" / "learning_published_code.csv").equals(curves)
    assert run_command(learning.run, learning.parse(arguments)) == 2
    assert "holds a search already; give --resume" in capsys.readouterr().err

"""Training on measured delays over two Ray nodes, from end to end and very briefly."""

import subprocess
import sys

import pandas as pd
import pytest

from experiments import live_training


@pytest.mark.cluster
@pytest.mark.extended  # what it is made of: tests/envs/test_live_training.py and tests/cli/test_generate.py
def test_two_nodes_train_and_every_scheduler_serves_the_same_tasks(tmp_path):
    brief = ["--seeds", "1", "--episodes", "2", "--simulated-episodes", "2", "--slots", "4", "--max-tasks", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "experiments.live_training", *brief, "--output", tmp_path],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    curve = pd.read_csv(tmp_path / "live_training.csv")
    assert curve["nodes"].tolist() == [2] and curve["episodes"].tolist() == [2]
    served = pd.read_csv(tmp_path / "live_evaluation.csv")
    learned = {live_training.LIVE, live_training.SIMULATED}
    assert set(served["scheduler"]) == learned | set(live_training.HEURISTICS)
    assert served["tasks"].nunique() == 1 and (served["failed"] == 0).all() and (served["mean_s"] > 0).all()
    assert "| least-loaded-exact |" in done.stdout and (tmp_path / "live_training.png").exists()


def test_numbers_below_one_are_refused(tmp_path, capsys):
    assert live_training.main(["--episodes", "0", "--output", str(tmp_path)]) == 2
    assert (
        capsys.readouterr().err.strip()
        == "lad-rllib live_training: --episodes must be a whole number of at least 1, got 0"
    )

"""The search command: what it leaves, what trains with it, and how it goes on after a kill."""

import os
import signal
import subprocess
import sys
import time

import pandas as pd
import psutil
import pytest
import yaml

from lad_rllib.cli import main
from lad_rllib.runs.search_report import SearchProgress
from tests.cli.fleet_files import COMMAND, ROOT

SMALL = {"learning_starts": 20, "train_batch_size_per_learner": 8, "replay_capacity": 200}


@pytest.fixture
def small(tmp_path):
    """Arguments that make a trial learn from the second episode on."""
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump({"training": SMALL}))
    return ["--smoke", "--config", str(file)]


@pytest.mark.slow
@pytest.mark.cluster
def test_a_search_leaves_tables_pictures_and_a_configuration_that_trains(ray_cluster, small, tmp_path, capsys):
    output = tmp_path / "search"
    shared = ["--storage-path", str(tmp_path / "shared")]
    arguments = ["--episodes", "12", "--seeds", "0", "1", "--trials", "2", "--confirm-seeds", "1"]
    arguments += ["--output", str(output), *shared]
    assert main(["tune", *small, *arguments]) == 0
    out, err = capsys.readouterr()
    assert "2 trials (" in out and "| tuned | 1 |" in out and "| defaults | 1 |" in out
    assert f"writing to {output}" in out and "trials:" in err
    trials = pd.read_csv(output / "trials.csv")
    assert len(trials) == 2 and {"actor_lr", "gamma", "delay_over_oracle", "status", "path"} <= set(trials)
    assert trials["seeds"].tolist() == ["0 1"] * 2
    best = yaml.safe_load((output / "best.yaml").read_text())["training"]
    assert best["gamma"] == trials["gamma"].iloc[0] and best["learning_starts"] == 20
    assert (output / "trials.png").stat().st_size > 10_000
    confirmed = pd.read_csv(output / "confirmation.csv")
    assert confirmed["configuration"].tolist() == ["tuned", "defaults"]
    assert confirmed["seeds"].tolist() == [1000] * 2
    assert {path.name for path in (tmp_path / "shared").iterdir()} == {
        "search",
        "search-confirmation",
        "search-results",
    }
    train = ["train", "--smoke", "--quiet", "--config", str(output / "best.yaml"), "--output", str(tmp_path / "run")]
    assert main(train) == 0
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["training"] == best
    assert main(["tune", *small, "--output", str(output)]) == 2
    assert "holds a search already; give --resume" in capsys.readouterr().err
    assert main(["tune", "--resume", "--episodes", "40", "--output", str(output)]) == 2
    assert f"--episodes 40 contradicts what {output} was begun with, 12" in capsys.readouterr().err


@pytest.mark.cluster
def test_a_trial_that_fails_for_good_is_told_and_the_others_count(ray_cluster, small, tmp_path, capsys):
    space = tmp_path / "space.yaml"
    space.write_text("beta_min: {choice: [0.1, 11.0]}")
    arguments = ["--space", str(space), "--search", "grid", "--parameters", "beta_min", "--output", str(tmp_path / "s")]
    assert main(["tune", *small, *arguments]) == 1
    out, err = capsys.readouterr()
    assert "1 failed" in out and "beta_min 11.0 must not exceed beta_max 10.0" in out
    assert yaml.safe_load((tmp_path / "s" / "best.yaml").read_text())["training"]["beta_min"] == 0.1
    assert "Traceback" not in err


@pytest.mark.extended  # LAD-PMD, which lacks other settings: the test below
@pytest.mark.cluster
def test_a_baseline_is_searched_over_what_it_has(ray_cluster, small, tmp_path, capsys):
    arguments = ["--algorithm", "dqn-ts", "--trials", "1", "--output", str(tmp_path / "search")]
    assert main(["tune", *small, *arguments]) == 0
    assert "not searched, since DQN-TS has none: actor_lr" in capsys.readouterr().err
    trials = pd.read_csv(tmp_path / "search" / "trials.csv")
    assert len(trials) == 1 and "gamma" in trials and "actor_lr" not in trials
    train = ["train", "--smoke", "--quiet", "--algorithm", "dqn-ts", "--output", str(tmp_path / "run")]
    assert main([*train, "--config", str(tmp_path / "search" / "best.yaml")]) == 0


@pytest.mark.extended
@pytest.mark.cluster
def test_the_delay_of_all_is_searched_over_what_it_has(ray_cluster, tmp_path, capsys):
    chosen = ["--algorithm", "lad-pmd"]
    names = ["--parameters", "gamma", "step_size", "momentum", "--trials", "1", "--episodes", "2"]
    output = tmp_path / "search"
    assert main(["tune", "--smoke", *chosen, *names, "--output", str(output)]) == 0
    trials = pd.read_csv(output / "trials.csv")
    assert trials["status"].tolist() == ["done"] and trials["gamma"].between(0.8, 1.0).all()
    best = yaml.safe_load((output / "best.yaml").read_text())["training"]
    assert set(best) == {"gamma", "step_size", "momentum"}
    assert main(["tune", "--smoke", *chosen, "--parameters", "tau", "--output", str(tmp_path / "other")]) == 2
    assert "the search space has no tau; it has actor_lr, gamma, step_size" in capsys.readouterr().err


@pytest.mark.cluster
def test_a_search_that_a_signal_ends_says_so_everywhere(ray_cluster, small, tmp_path, capsys, monkeypatch):
    signals = iter([signal.SIGTERM])
    monkeypatch.setattr(SearchProgress, "on_trial_result", lambda *_, **__: [signal.raise_signal(s) for s in signals])
    arguments = ["--episodes", "1000", "--scheduler", "none", "--max-concurrent", "1", "--output", str(tmp_path)]
    assert main(["tune", *small, *arguments]) == 143
    captured = capsys.readouterr()
    assert "0 to the end" in captured.out and "interrupted: of 3 trials 1 were cut short" in captured.out
    assert "Traceback" not in captured.err and "lad-rllib tune: interrupted; lad-rllib tune --resume" in captured.err
    assert set(pd.read_csv(tmp_path / "trials.csv")["status"]) == {"interrupted"}


@pytest.mark.extended
@pytest.mark.cluster
def test_a_killed_search_goes_on_where_it_was(small, tmp_path):
    output = tmp_path / "search"
    command = [sys.executable, *COMMAND, "tune", "--address", "local", "--output", str(output)]
    begin = [*command, *small, "--episodes", "80", "--trials", "2", "--scheduler", "none", "--max-concurrent", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(begin, env=environment, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            end = time.monotonic() + 120
            # Of a trial's checkpoints only the last ones stay, and its episodes are short: any that comes will do.
            while not list(output.glob("experiment/search/trial_*/checkpoint_*")):
                assert time.monotonic() < end and process.poll() is None
                time.sleep(0.05)
        finally:
            of_ray = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGKILL)
    assert not psutil.wait_procs(of_ray, timeout=30)[1]  # nothing of its Ray lives on
    assert not (output / "trials.csv").exists()
    resume = subprocess.run(
        [*command, "--resume"], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert resume.returncode == 0, resume.stderr
    trials, rows = pd.read_csv(output / "trials.csv"), pd.read_csv(output / "episodes.csv")
    assert trials["status"].tolist() == ["done", "done"] and trials["episodes"].tolist() == [80, 80]
    for _, of_trial in rows.groupby("trial"):
        assert of_trial["episodes"].tolist() == list(range(1, 81))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trials", "0"], "--trials must be a whole number of at least 1, got 0"),
        (["--resume"], "holds no search to resume"),
        (["--space", "nowhere.yaml"], "cannot read search space nowhere.yaml"),
        (["--parameters", "gama"], "the search space has no gama; it has actor_lr"),
        (["--parameters", "gamma", "--gamma", "0.9"], "nothing to search"),
        (["--search", "optuna", "--seeds-as-grid"], "have all seeds in each trial"),
        (
            ["--scheduler", "pbt", "--parameters", "policy_denoising_steps"],
            "population based training changes actor_lr",
        ),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, arguments, message):
    assert main(["tune", "--smoke", *arguments, "--output", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "tune.yaml").exists()

"""The main job from the command line: train, be interrupted, resume, evaluate."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
import yaml

from lad_rllib import names
from lad_rllib.cli import main
from tests.cli.fleet_files import COMMAND, ROOT, error_of

SMALL = ["--setting", "small", "--seed", "3", "--num-env-runners", "0"]

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture(scope="module")
def learning_file(tmp_path_factory):
    """Hyperparameters small enough to learn on the small setting."""
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text("training: {learning_starts: 20, train_batch_size_per_learner: 8, replay_capacity: 60}\n")
    return path


def run(*arguments: object) -> int:
    """Run a command in this process; returns its exit status."""
    return main([str(argument) for argument in arguments])


def started(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """``lad-rllib train`` in a process and with a Ray of its own, in a folder."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("RAY_ADDRESS", None)
    return subprocess.Popen(
        [sys.executable, *COMMAND, "train", *map(str, arguments)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def whole_run(ray_cluster, tmp_path_factory, learning_file):
    """Eight episodes without interruption."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with contextlib.redirect_stdout(io.StringIO()) as output:
        assert run("train", *SMALL, "--config", learning_file, "--episodes", 8, "--output", folder) == 0
    assert all(text in output.getvalue() for text in ("8/8", "x oracle", "left"))
    return folder


def delays(folder: Path) -> list[float]:
    return pd.read_csv(folder / "progress.csv")[names.MEAN_DELAY].tolist()


def test_a_run_leaves_progress_checkpoint_configuration_and_picture(whole_run):
    progress = pd.read_csv(whole_run / "progress.csv")
    assert progress["episodes"].tolist() == list(range(1, 9))
    ratio = progress[names.MEAN_DELAY] / progress[names.ORACLE_DELAY]
    assert (ratio - progress[names.DELAY_OVER_ORACLE]).abs().max() < 1e-9
    assert (progress[list(names.YARDSTICKS.values())] > 0).all(axis=None)
    configuration = yaml.safe_load((whole_run / "config.yaml").read_text())
    assert configuration["setting"]["network"]["stations"] == 4
    assert configuration["training"]["learning_starts"] == 20 and configuration["seed"] == 3
    assert configuration["kernels"] == "auto"
    assert (whole_run / "checkpoint" / "algorithm_state.pkl").exists()
    assert (whole_run / "learning_curve.png").stat().st_size > 10_000


def test_a_killed_run_resumes_and_ends_like_one_that_was_not(whole_run, tmp_path, learning_file):
    arguments = [*SMALL, "--config", learning_file, "--checkpoint-every", 2, "--episodes", 500, "--output", "run"]
    process = started(tmp_path, *arguments)
    try:
        wait_for_rows(tmp_path / "run" / "progress.csv", 3)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert run("train", "--resume", "--episodes", 8, "--output", tmp_path / "run") == 0
    assert delays(tmp_path / "run")[:8] == delays(whole_run)
    assert pd.read_csv(tmp_path / "run" / "progress.csv")["episodes"].is_monotonic_increasing


@pytest.mark.extended  # that it saves: the next one, in this process
def test_ctrl_c_ends_a_process_that_trains_with_the_signal_in_its_exit_status(tmp_path, learning_file):
    arguments = [*SMALL, "--config", learning_file, "--checkpoint-every", 4000, "--episodes", 5000, "--output", "run"]
    process = started(tmp_path, *arguments)
    wait_for_rows(tmp_path / "run" / "progress.csv", 3)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert "interrupted after" in output


def test_ctrl_c_saves_everything_and_says_so_in_the_exit_status(tmp_path, learning_file, capsys):
    folder = tmp_path / "run"
    arguments = [*SMALL, "--config", learning_file, "--checkpoint-every", 4000, "--episodes", 5000, "--output", folder]

    def press_ctrl_c():
        wait_for_rows(folder / "progress.csv", 3)
        os.kill(os.getpid(), signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        pressed = pool.submit(press_ctrl_c)
        assert run("train", *arguments) == 128 + signal.SIGINT
        pressed.result()
    assert "interrupted after" in capsys.readouterr().out
    rows = len(pd.read_csv(folder / "progress.csv"))
    assert len(pd.read_csv(folder / "checkpoint" / "run" / "progress.csv")) == rows
    assert (folder / "learning_curve.png").exists()


@pytest.mark.parametrize(
    ("algorithm", "title"),
    [
        pytest.param("d2sac-ts", "D2SAC-TS", marks=pytest.mark.extended),
        pytest.param("sac-ts", "SAC-TS", marks=pytest.mark.extended),
        ("dqn-ts", "DQN-TS"),
    ],
)
def test_a_baseline_trains_resumes_and_is_judged_under_its_own_name(algorithm, title, tmp_path, learning_file):
    output = tmp_path / "run"
    arguments = [*SMALL, "--algorithm", algorithm, "--config", learning_file, "--output", output]
    assert run("train", *arguments, "--episodes", 2) == 0
    assert run("train", "--resume", "--episodes", 3, "--output", output) == 0
    assert len(delays(output)) == 3
    assert yaml.safe_load((output / "config.yaml").read_text())["algorithm"] == algorithm
    judged = ["--checkpoint", output / "checkpoint", "--episodes", 1, "--schedulers", "greedy-oracle"]
    assert run("evaluate", *judged) == 0
    assert pd.read_csv(output / "evaluation.csv")["scheduler"].tolist() == [title, "greedy-oracle"]


def wait_for_rows(path: Path, rows: int, timeout_s: float = 120.0) -> None:
    """Wait until a run has recorded so many episodes."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if path.exists() and len(path.read_text().splitlines()) > rows:
            return
        time.sleep(0.1)
    raise TimeoutError(f"{path} did not reach {rows} rows")


def test_evaluation_puts_the_checkpoint_beside_every_heuristic_on_the_same_tasks(whole_run, tmp_path):
    assert run("evaluate", "--checkpoint", whole_run / "checkpoint", "--episodes", 3, "--output", tmp_path) == 0
    table = pd.read_csv(tmp_path / "evaluation.csv").set_index("scheduler")
    assert {"LAD-TS", "greedy-oracle", "water-filling", "capacity-proportional", "local-only"} <= set(table.index)
    assert table["tasks"].nunique() == 1
    parts = table[["upload_s", "waiting_s", "computing_s", "download_s"]].sum(axis=1)
    assert (parts - table["mean_s"]).abs().max() < 1e-9
    assert table.loc["greedy-oracle", "over_oracle"] == 1.0
    assert (table["p50_s"] <= table["p95_s"]).all() and (table["p95_s"] <= table["max_s"]).all()
    servers = pd.read_csv(tmp_path / "evaluation_servers.csv")
    assert servers["utilisation"].between(0, 1 + 1e-9).all()
    assert (tmp_path / "evaluation.png").stat().st_size > 10_000


def test_a_checkpoint_of_another_network_size_is_one_line(whole_run, tmp_path, capsys):
    capsys.readouterr()
    arguments = ["--checkpoint", whole_run / "checkpoint", "--setting", "paper", "--episodes", 1, "--output", tmp_path]
    assert "trained for 4 base stations and 4 edge servers" in error_of(capsys, "evaluate", *arguments)

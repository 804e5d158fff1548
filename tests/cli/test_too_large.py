"""Requests that this machine cannot hold are refused in one line, with what they would take, before memory is taken."""

import pytest

from lad_rllib.cli import main
from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator import sizes


@pytest.fixture(autouse=True)
def sixteen_gib(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(sizes, "machine_bytes", lambda: 16 * sizes.GIB)


def refused(capsys, tmp_path, *arguments):
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "--slots", "1000000000"], "an episode of 1,000,000,000 slots, 20 base stations"),
        (["train", "--servers", "1000000000"], "and 1,000,000,000 edge servers would take at least 74 GiB"),
        (["train", "--max-tasks", "1000000000"], "up to 1,000,000,000 tasks each"),
        (["train", "--num-envs-per-env-runner", "1000000000"], "lower --num-envs-per-env-runner"),
        (["train", "--num-env-runners", "1000000"], "1,000,000 runners and learners would take at least 292,968 GiB"),
        (
            ["train", "--stations", "2000", "--servers", "20000"],
            "training would take at least 1,223 GiB (replay buffers: ",
        ),
        (["tune", "--num-envs-per-env-runner", "1000000000"], "lower --num-envs-per-env-runner"),
        (["evaluate", "--episodes", "1000000000"], "1,000,000,000 episodes, each played by"),
        (["evaluate", "--setting", "small", "--slots", "1000000000"], "an episode of 1,000,000,000 slots"),
        (["generate", "--tasks", "1000000000"], "1,000,000,000 tasks would take at least 1,907 GiB"),
    ],
)
def test_a_request_beyond_the_machines_memory_is_refused_with_what_it_would_take(capsys, tmp_path, arguments, told):
    line = refused(capsys, tmp_path, *arguments)
    assert told in line and ", this machine has 16 GiB; lower " in line


LOCKSTEP = [
    "--setting",
    "small",
    "--address",
    "auto",
    "--num-env-runners",
    "1",
    "--num-envs-per-env-runner",
    "1000000000",
]


def test_what_nodes_of_a_cluster_play_is_not_held_against_this_machine(capsys, tmp_path, monkeypatch):
    def connected(*_):
        raise ConfigurationError("it came so far")

    monkeypatch.setattr("lad_rllib.runs.train.start_ray", connected)
    assert "it came so far" in refused(capsys, tmp_path, "train", *LOCKSTEP)
    monkeypatch.setattr(sizes, "machine_bytes", lambda: 2**17)
    assert "(replay buffers: " in refused(capsys, tmp_path, "train", *LOCKSTEP)  # which stay on this machine


@pytest.mark.cluster
@pytest.mark.parametrize("command", ["train", "tune"])
def test_what_nodes_of_a_cluster_play_must_fit_into_the_largest_of_them(ray_cluster, capsys, tmp_path, command):
    assert main([command, *LOCKSTEP, "--output", str(tmp_path / "out")]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "1,000,000,000 episodes in lockstep" in line and "the largest node of the cluster has" in line


@pytest.mark.parametrize(
    ("values", "part"),
    [("hidden_sizes: [65536, 65536]", "networks"), ("replay_capacity: 100000000", "replay buffers")],
)
def test_training_that_does_not_fit_names_its_largest_part(capsys, tmp_path, values, part):
    (tmp_path / "config.yaml").write_text(values)
    line = refused(capsys, tmp_path, "train", "--setting", "small", "--config", str(tmp_path / "config.yaml"))
    assert f"({part}: " in line and "this machine has 16 GiB" in line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["generate", "--size", "1000000", "1000000"], "width"),
        (["generate", "--steps", "1000000000", "1000000000"], "within 1 to 1000"),
        (["train", "--policy-denoising-steps", "1000000000"], "policy_denoising_steps must be"),
        (["train", "--seed", str(10**30)], "--seed must be a whole number of at least 0 and of at most 4294967295"),
        (["tune", "--trials", "1000000000"], "a search may have 100,000 trials"),
        (["tune", "--search", "grid", "--grid-points", "1000000000"], "lower the number of trials, points of a grid"),
        (
            ["tune", "--confirm-seeds", "1000000000"],
            "--confirm-seeds must be a whole number of at least 0 and of at most 1000",
        ),
        (["train", "--num-env-runners", "-1"], "--num-env-runners must be a whole number of at least 0, got -1"),
        (
            ["train", "--num-envs-per-env-runner", "0"],
            "--num-envs-per-env-runner must be a whole number of at least 1, got 0",
        ),
    ],
)
def test_numbers_that_nothing_can_have_are_refused_in_one_line(capsys, tmp_path, arguments, told):
    assert told in refused(capsys, tmp_path, *arguments)

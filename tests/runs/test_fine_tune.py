"""Whoever learns on from a policy keeps what is the policy's own, by `improve` as by `train --init-from`."""

import pytest

from lad_rllib.cli.flags import read
from lad_rllib.cli.main import parser
from lad_rllib.runs.configuration import resolve
from lad_rllib.runs.fine_tune import fine_tune
from lad_rllib.runs.options import TrainOptions
from lad_rllib.runs.run_folder import newest_policy
from lad_rllib.simulator.requests import build_request_setting
from tests.cli.fleet_files import written

QUICK = {"sampled_requests": 40, "updates_per_iteration": 1, "train_batch_size_per_learner": 8}
SETTING = {"servers": [1.0, 0.5], "requests": 60, "traffic": {"kind": "poisson", "load": 0.8}}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Folder of a policy with a network, a cap on waits and a learning rate of its own."""
    own = {"hidden_size": 8, "wait_cap": 0.7, "actor_lr": 0.001, "step_size_iterations": 1}
    return fine_tune(None, build_request_setting(SETTING), tmp_path_factory.mktemp("start"), 0, **own, **QUICK)


def test_fine_tuning_keeps_the_policys_own_settings_and_learns_as_usual(start, tmp_path):
    tuned = fine_tune(start, build_request_setting(SETTING), tmp_path, 0, step_size_iterations=1, **QUICK)
    settings = newest_policy(tuned).hyperparameters
    assert (settings["hidden_size"], settings["wait_cap"], settings["actor_lr"]) == (8, 0.7, 0.003)


@pytest.mark.parametrize(("said", "cap"), [({}, 0.7), ({"wait_cap": None}, None), ({"wait_cap": 1.5}, 1.5)])
def test_a_run_keeps_them_unless_it_says_others(said, cap, start, tmp_path):
    files = ["--setting", str(written(tmp_path / "setting.yaml", SETTING))]
    files += ["--config", str(written(tmp_path / "learning.yaml", {"training": {"step_size": 4.0, **said}}))]
    parsed = parser().parse_args(["train", "--algorithm", "lad-dispatch", "--init-from", str(start), *files])
    training = resolve(read(TrainOptions, parsed))["training"]
    assert (training["hidden_size"], training["wait_cap"], training["step_size"]) == (8, cap, 4.0)
    assert "actor_lr" not in training


def test_a_policy_of_another_algorithm_gives_nothing(start):
    parsed = parser().parse_args(["train", "--algorithm", "lad-ts", "--setting", "small", "--init-from", str(start)])
    assert not resolve(read(TrainOptions, parsed))["training"]

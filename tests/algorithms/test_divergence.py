"""Training that has diverged ends, and says what; it is never saved over what was well."""

import argparse

import pytest
import torch

from lad_rllib.algorithms.lad_ts import LADTSConfig
from lad_rllib.envs import FleetVectorEnv
from lad_rllib.errors import ConfigurationError, TrainingDiverged
from lad_rllib.runs.command import run_command

pytestmark = pytest.mark.usefixtures("no_cluster")

PACE = {"learning_starts": 7, "train_batch_size_per_learner": 5, "replay_capacity": 100, "kernels": "torch"}


def built(**training):
    config = LADTSConfig().environment(FleetVectorEnv, env_config={"setting": "small"})
    return config.training(**PACE, **training).debugging(seed=0).build_algo()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e24])
@pytest.mark.parametrize("name", ["critics", "actor", "log_temperature"])
def test_training_ends_at_a_weight_that_has_diverged_and_names_it(value, name):
    algo = built()
    try:
        networks = algo.learner_group._learner.module["default_policy"].networks
        weights = next(weights for key, weights in networks.named_parameters() if key.startswith(name))
        algo.train()
        with torch.no_grad():
            weights[(0,) * weights.ndim] = value
        with pytest.raises(TrainingDiverged, match="training has diverged: .* in iteration 2; checkpoints") as error:
            algo.training_step()
        assert "\n" not in str(error.value)
    finally:
        algo.stop()


def test_weights_that_are_not_finite_are_not_saved_though_no_training_step_has_seen_them(tmp_path):
    algo = built()
    try:
        networks = algo.learner_group._learner.module["default_policy"].networks
        with torch.no_grad():
            networks.log_temperature[0] = float("nan")
        with pytest.raises(TrainingDiverged, match="log_temperature is not finite.*no checkpoint is written"):
            algo.save_to_path(str(tmp_path / "checkpoint"))
        assert not (tmp_path / "checkpoint").exists()
    finally:
        algo.stop()


def test_a_command_whose_training_diverges_fails_with_status_1_in_one_line(capsys):
    def run(parsed):
        raise TrainingDiverged("training has diverged: critic_loss is not finite")

    assert run_command(run, argparse.Namespace(command="train")) == 1
    assert capsys.readouterr().err == "lad-rllib train: training has diverged: critic_loss is not finite\n"


def test_a_target_entropy_that_no_policy_can_have_is_refused_once_the_servers_are_known():
    with pytest.raises(ConfigurationError, match=r"target_entropy must be at most log\(4\) = 1.386, .* got 5"):
        built(target_entropy=5.0)
    built(target_entropy=1.3).stop()

"""A run that starts from another's policy never ends worse than it began, as far as held-out episodes can tell."""

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

from lad_rllib.algorithms.common.policy_file import read_policy
from lad_rllib.algorithms.lad_dispatch import DispatchPolicy, LADDispatchConfig
from lad_rllib.envs import RequestFleetEnv

SETTING = {"servers": [1.0, 0.5, 0.25], "requests": 400, "traffic": {"kind": "poisson", "load": 0.9}}
pytestmark = pytest.mark.usefixtures("no_cluster")


def started():
    """An algorithm that starts from the policy of the package."""
    config = LADDispatchConfig().environment(RequestFleetEnv, env_config={"setting": SETTING})
    config.training(sampled_requests=50, updates_per_iteration=2, train_batch_size_per_learner=16)
    algo = config.debugging(seed=0).build_algo()
    algo.start_from("any-fleet")
    return algo


def networks(algo):
    return algo.learner_group._learner.module[DEFAULT_MODULE_ID].networks


def spoil(algo):
    """Make the learned actor send requests where it should not."""
    with torch.no_grad():
        for actor in (networks(algo).actor, networks(algo).average):
            actor.weights.copy_(torch.randn(actor.weights.shape, generator=torch.Generator().manual_seed(0)))


def test_a_worse_policy_is_given_up_for_the_one_it_started_from(tmp_path):
    algo, start = started(), read_policy("any-fleet").weights["networks.average.weights"]
    spoil(algo)
    assert "the old one is kept" in algo.settle()
    for kept in (networks(algo).actor, networks(algo).average, algo.env_runner.module.networks.average):
        np.testing.assert_array_equal(kept.weights.detach().numpy(), start)
    saved = DispatchPolicy.from_checkpoint(algo.save_to_path(tmp_path / "checkpoint"))
    np.testing.assert_array_equal(saved.weights, start)


def test_a_better_policy_is_kept_also_after_a_restart(tmp_path):
    algo = started()
    algo._start.weights = {name: -value for name, value in algo._start.weights.items()}  # it began with a bad one
    checkpoint = algo.save_to_path(tmp_path / "checkpoint")
    again = started()
    again.restore_from_path(checkpoint)
    good = networks(again).average.weights.detach().clone()
    assert "the new one is kept" in again.settle()
    assert torch.equal(networks(again).average.weights, good)


def test_the_policy_is_judged_on_the_same_episodes_each_time_and_not_on_those_of_training():
    algo = started()
    actors = [algo._start.weights["networks.average.weights"]] * 2
    first = algo.env_runner.judged(actors, 2)
    assert first[0] == first[1]
    algo.train()
    assert algo.env_runner.judged(actors, 2) == first


def test_it_knows_what_the_policy_that_it_started_from_had_seen():
    algo, seen = started(), read_policy("any-fleet").seen
    algo.train()
    assert (algo.seen.low <= seen.low).all() and (algo.seen.high >= seen.high).all()


def test_a_run_that_began_anew_has_nothing_to_be_judged_against():
    config = LADDispatchConfig().environment(RequestFleetEnv, env_config={"setting": SETTING})
    assert config.build_algo().settle() is None

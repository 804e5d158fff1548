"""Remote environment runners and learners: failures, restarts, and the same numbers as the local ones."""

import sys
import time

import numpy as np
import pytest
import ray
import torch
from ray.rllib.utils.test_utils import check_train_results_new_api_stack

from lad_rllib.errors import ConfigurationError
from tests.algorithms.small import (
    NUM_SLOTS,
    actor_weights,
    assert_same,
    curve,
    delay,
    learner_state,
    small_config,
)

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture(scope="module")
def two_runners(ray_cluster):
    algo = small_config().env_runners(num_env_runners=2, rollout_fragment_length=3).build_algo()
    yield algo
    algo.stop()


def kill(algo, *indices):
    for index in indices:
        ray.kill(algo.env_runner_group._worker_manager.actors()[index], no_restart=False)


def runner_views(algo):
    """Memory of slot 0, actors and arrivals' position of each remote runner, by index."""
    views = algo.env_runner_group.foreach_env_runner(
        lambda runner: (runner.worker_index, runner.get_runner_state(), actor_weights(runner)), local_env_runner=False
    )
    return {index: (state, weights) for index, state, weights in views}


def test_a_remote_runner_is_deterministic_without_the_import_of_torchs_compiler(two_runners):
    told = two_runners.env_runner_group.foreach_env_runner(
        lambda _: (torch.are_deterministic_algorithms_enabled(), "torch._inductor" in sys.modules),
        local_env_runner=False,
    )
    assert told == [(True, False)] * 2


def test_two_runners_play_an_episode_each_with_memories_and_arrivals_of_their_own(two_runners, monkeypatch):
    share, known = two_runners.weights.share, []
    monkeypatch.setattr(
        two_runners.weights, "share", lambda: known.append(actor_weights(two_runners.env_runner)) or share()
    )
    for iteration in (1, 2):
        result = check_train_results_new_api_stack(two_runners.train())
        assert result["env_runners"]["num_episodes"] == 2
        assert result["num_env_steps_sampled_lifetime"] == iteration * 2 * NUM_SLOTS
        assert np.isfinite(delay(result)) and np.isfinite(result["learners"]["default_policy"]["critic_loss"])
    (one, weights_one), (two, weights_two) = (runner_views(two_runners)[index] for index in (1, 2))
    assert not np.array_equal(one["latent_memory"]["latents"][0], two["latent_memory"]["latents"][0])
    assert one["environment"]["seed"] != two["environment"]["seed"]
    np.testing.assert_array_equal(weights_one, weights_two)
    np.testing.assert_array_equal(weights_one, known[-1])  # what it played with: new ones come with the next request
    assert not np.array_equal(known[-1], known[-2])


def test_without_a_runner_to_evaluate_on_the_error_says_what_to_set(two_runners):
    with pytest.raises(ConfigurationError, match="evaluation_interval"):
        two_runners.evaluate()


def test_remote_runners_continue_from_a_checkpoint_exactly(tmp_path, two_runners):
    algo = two_runners
    checkpoint = algo.save_to_path(tmp_path / "checkpoint")
    expected = curve(algo, 2), learner_state(algo)
    algo.restore_from_path(checkpoint)
    assert curve(algo, 2) == expected[0]
    assert_same(learner_state(algo), expected[1])

    # Into another number of runners: those without a memory of their own take the first one's.
    local = small_config().build_algo()
    local.restore_from_path(checkpoint)
    taken = local.env_runner.get_runner_state()["latent_memory"]["latents"]
    algo.restore_from_path(checkpoint)
    assert_same(taken, runner_views(algo)[1][0]["latent_memory"]["latents"])
    assert np.isfinite(curve(local, 2)).all()


def test_training_survives_the_loss_of_one_and_of_all_runners(two_runners):
    algo = two_runners

    # One dies after the first fragment of the episode: the other one plays on.
    add, killed = algo.replay_buffer.add, []

    def add_and_kill(sample):
        if not killed:
            killed.append(kill(algo, 1))
        add(sample)

    algo.replay_buffer.add = add_and_kill
    remembered = algo.rollouts.states[1]
    result = algo.train()
    algo.replay_buffer.add = add
    assert np.isfinite(delay(result)) and result["env_runners"]["num_episodes"] == 1
    assert result["fault_tolerance"]["num_healthy_workers"] == 1

    # It comes back with what it had after its last finished episode, and with the present weights.
    for _ in range(60):
        if algo.restore_env_runners(algo.env_runner_group) == [1]:
            break
        time.sleep(0.5)
    state, weights = runner_views(algo)[1]
    assert_same(state["latent_memory"]["latents"], remembered["latent_memory"]["latents"])
    assert state["environment"] == remembered["environment"]
    np.testing.assert_array_equal(weights, actor_weights(algo.env_runner))

    # All die: they are brought back and play the episode.
    kill(algo, 1, 2)
    result = algo.train()
    assert np.isfinite(delay(result)) and result["env_runners"]["num_episodes"] >= 1
    assert np.isfinite(curve(algo, 1)).all()


@pytest.mark.extended  # two of them, and from a checkpoint: the test below
def test_one_remote_learner_learns_what_the_local_one_learns():
    local = small_config().build_algo()
    expected = curve(local, 3)
    remote = small_config().learners(num_learners=1).build_algo()
    try:
        assert curve(remote, 3) == expected
        assert_same(learner_state(remote), learner_state(local))
    finally:
        remote.stop()


def test_two_learners_stay_equal_and_continue_from_a_checkpoint(tmp_path):
    algo = small_config(seed=None).learners(num_learners=2).env_runners(num_env_runners=1).build_algo()
    try:
        results = [algo.train() for _ in range(3)]
        states = [r.get() for r in algo.learner_group.foreach_learner(lambda learner: learner.get_state())]
        assert states[0]["num_updates"] == states[1]["num_updates"] > 10
        one, two = (state["rl_module"]["default_policy"] for state in states)
        assert_same(one, two)
        metrics = results[-1]["learners"]["default_policy"]
        assert np.isfinite([metrics[key] for key in ("critic_loss", "actor_loss", "alpha_value")]).all()
        assert metrics["num_module_steps_trained"] == NUM_SLOTS * 16  # of both learners together

        checkpoint = algo.save_to_path(tmp_path / "checkpoint")
        expected = curve(algo, 2), learner_state(algo)
        algo.restore_from_path(checkpoint)
        assert curve(algo, 2) == expected[0]
        assert_same(learner_state(algo), expected[1])
    finally:
        algo.stop()

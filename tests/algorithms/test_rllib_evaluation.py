"""Evaluation: fresh arrivals of its own, the trained latent memory, and no trace left in training."""

import numpy as np
import pytest
from ray.rllib.callbacks.callbacks import RLlibCallback

from tests.algorithms.small import NUM_SLOTS, assert_same, curve, delay, learner_state, small_config

local = pytest.mark.usefixtures("no_cluster")


class Arrivals(RLlibCallback):
    """Keeps what arrived in the first slot of each episode."""

    training: list[np.ndarray] = []
    evaluation: list[np.ndarray] = []

    def on_episode_end(self, *, episode, env_runner, **kwargs):
        kept = self.evaluation if env_runner.config.in_evaluation else self.training
        kept.append(episode.get_observations(0)["tasks"])


def evaluating_config(**evaluation):
    Arrivals.training, Arrivals.evaluation = [], []
    return small_config().evaluation(evaluation_duration=2, **evaluation).callbacks(Arrivals)


def all_differ(arrays):
    return len({array.tobytes() for array in arrays}) == len(arrays)


@local
@pytest.mark.parametrize("interval", [None, 1], ids=["on the training runner", "on a runner of its own"])
@pytest.mark.parametrize("explore", [True, False])
def test_evaluating_leaves_the_training_curve_as_it_is(interval, explore):
    expected_algo = small_config().build_algo()
    expected = curve(expected_algo, 4)
    algo = evaluating_config(
        evaluation_interval=interval, evaluation_num_env_runners=0, evaluation_config={"explore": explore}
    ).build_algo()
    delays = []
    for _ in range(4):
        result = algo.train()
        results = [result["evaluation"] if interval else algo.evaluate(), algo.evaluate()]
        delays.append(delay(result))
        for evaluation in results:
            assert np.isfinite(delay(evaluation))
            assert evaluation["env_runners"]["num_episodes"] == 2
            assert evaluation["env_runners"]["episode_len_mean"] == NUM_SLOTS
        assert result["env_runners"]["num_episodes_lifetime"] == len(delays)
        assert result["env_runners"]["num_episodes"] == 1
    assert delays == expected
    assert_same(learner_state(algo), learner_state(expected_algo))
    assert len(Arrivals.evaluation) == 16 and len(Arrivals.training) == 4
    assert all_differ(Arrivals.training + Arrivals.evaluation)


@local
@pytest.mark.parametrize("interval", [None, 1], ids=["on the training runner", "on a runner of its own"])
def test_the_evaluation_config_says_whether_to_explore(interval):
    algo = evaluating_config(evaluation_interval=interval, evaluation_config={"explore": False}).build_algo()
    runner = algo.eval_env_runner or algo.env_runner
    chosen, decide = [], runner._decide

    def record(observation, slot, explore):
        chosen.append(explore)
        return decide(observation, slot, explore)

    runner._decide = record
    algo.evaluate()
    assert chosen == [False] * 2 * NUM_SLOTS
    assert algo.env_runner.config.explore and not algo.env_runner.config.in_evaluation


@local
def test_evaluation_runs_on_the_trained_latent_memory():
    algo = evaluating_config(evaluation_interval=1).build_algo()
    curve(algo, 2)
    trained = algo.env_runner.get_runner_state()["latent_memory"]["latents"]
    seen = []
    runner = algo.eval_env_runner
    take_over = runner.set_latent_memory
    runner.set_latent_memory = lambda state: (seen.append(state["latents"]), take_over(state))
    algo.evaluate()
    for slot, latent in trained.items():
        np.testing.assert_array_equal(seen[0][slot], latent)
    # What the evaluation remembered stayed with it.
    after = algo.env_runner.get_runner_state()["latent_memory"]["latents"]
    evaluated = runner.get_runner_state()["latent_memory"]["latents"]
    assert all(np.array_equal(after[slot], trained[slot]) for slot in trained)
    assert not any(np.array_equal(evaluated[slot], trained[slot]) for slot in range(NUM_SLOTS))


@local
def test_an_evaluation_that_fails_gives_the_training_runner_back():
    expected = curve(small_config().build_algo(), 3)
    algo = small_config().build_algo()
    delays = curve(algo, 1)
    runner, step = algo.env_runner, algo.env_runner._step_slot

    def fail(*args, **kwargs):
        step(*args, **kwargs)
        raise RuntimeError("no more")

    runner._step_slot = fail
    with pytest.raises(RuntimeError, match="no more"):
        algo.evaluate()
    runner._step_slot = step
    assert delays + curve(algo, 2) == expected


@local
def test_a_checkpoint_keeps_evaluations_from_repeating_their_arrivals(tmp_path):
    algo = evaluating_config().build_algo()
    algo.train()
    algo.evaluate()
    checkpoint = algo.save_to_path(tmp_path / "checkpoint")
    fresh = small_config().callbacks(Arrivals).build_algo()
    fresh.restore_from_path(checkpoint)
    fresh.evaluate()
    assert all_differ(Arrivals.evaluation)


@pytest.mark.extended  # beside remote training runners: the test below
@pytest.mark.cluster
def test_a_remote_evaluation_runner_leaves_training_as_it_is(ray_cluster):
    expected = curve(small_config().build_algo(), 3)
    config = small_config().evaluation(
        evaluation_interval=1,
        evaluation_num_env_runners=1,
        evaluation_duration=2,
        evaluation_config={"explore": False},
    )
    algo = config.build_algo()
    results = [algo.train() for _ in range(3)]
    evaluations = [delay(result["evaluation"]) for result in results] + [delay(algo.evaluate())]
    algo.stop()
    assert [delay(result) for result in results] == expected
    assert len(set(evaluations)) == 4 and np.isfinite(evaluations).all()
    assert all(result["evaluation"]["env_runners"]["num_episodes"] == 2 for result in results)


@pytest.mark.cluster
def test_evaluating_beside_training_and_with_remote_training_runners(ray_cluster):
    config = small_config().env_runners(num_env_runners=1)
    config.evaluation(
        evaluation_interval=1,
        evaluation_num_env_runners=1,
        evaluation_parallel_to_training=True,
        evaluation_duration=2,
    )
    algo = config.build_algo()
    result = [algo.train() for _ in range(3)][-1]
    algo.stop()
    assert np.isfinite(delay(result)) and np.isfinite(delay(result["evaluation"]))

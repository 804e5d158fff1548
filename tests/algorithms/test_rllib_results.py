"""Results, seeds and callbacks of LADTS as an RLlib algorithm, with a local runner and a local learner."""

import numpy as np
import pytest
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.test_utils import check_train_results_new_api_stack

from tests.algorithms.small import NUM_SLOTS, SERVERS, STATIONS, TASKS, assert_same, curve, learner_state, small_config

pytestmark = pytest.mark.usefixtures("no_cluster")


def test_every_iteration_reports_what_users_of_rllib_expect():
    algo = small_config().build_algo()
    for iteration in range(1, 4):
        result = check_train_results_new_api_stack(algo.train())
        runners, learner = result["env_runners"], result["learners"]["default_policy"]
        assert result["training_iteration"] == iteration
        assert result["num_env_steps_sampled_lifetime"] == iteration * NUM_SLOTS
        assert runners["num_env_steps_sampled"] == runners["episode_len_mean"] == NUM_SLOTS
        assert (runners["num_episodes"], runners["num_episodes_lifetime"]) == (1, iteration)
        assert runners["mean_service_delay_s"] > 0 > runners["episode_return_mean"]
        for key in ("critic_loss", "actor_loss", "alpha_loss", "total_loss", "qf_mean", "entropy_mean"):
            assert np.isfinite(learner[key]), key
        assert 0 < learner["alpha_value"] < 0.05  # the temperature falls from 0.05 with the published target entropy
        assert np.isfinite(learner["num_trainable_parameters"])
        for timer in ("training_step", "env_runner_sampling_timer", "learner_update_timer", "synch_weights"):
            assert result["timers"][timer] > 0
        assert 0 < result["replay_buffer_size"] <= 200


def test_delays_are_reported_before_the_first_update_too():
    algo = small_config(learning_starts=150).build_algo()
    result = check_train_results_new_api_stack(algo.train())
    assert np.isfinite(result["env_runners"]["mean_service_delay_s"])
    assert "critic_loss" not in result["learners"]["default_policy"]


def test_diagnostics_are_those_of_the_stations_that_were_updated():
    algo = small_config(learning_starts=150).build_algo()
    algo.train()
    sizes = np.sort(algo.replay_buffer.size)
    algo = small_config(learning_starts=int(sizes[1])).build_algo()
    result, learner = algo.train(), algo.learner_group._learner
    expected = learner._diagnostics["critic_loss"][learner._active].mean()
    assert 0 < learner._active.sum() < STATIONS
    np.testing.assert_allclose(result["learners"]["default_policy"]["critic_loss"], expected, rtol=1e-6)


def test_the_same_seed_gives_the_same_curve_and_weights_and_another_seed_another():
    same = [small_config(seed=3).build_algo() for _ in range(2)]
    other = small_config(seed=4).build_algo()
    first, second, third = (curve(algo, 4) for algo in (*same, other))
    assert first == second
    assert_same(*map(learner_state, same))
    assert not set(first) & set(third)


def test_without_a_seed_every_run_is_another():
    first, second = (curve(small_config(seed=None).build_algo(), 2) for _ in range(2))
    assert not set(first) & set(second)


class Recorder(RLlibCallback):
    """Counts calls, and keeps what the last episode held when they came."""

    calls: dict[str, int] = {}
    episodes: list[SingleAgentEpisode] = []

    def _count(self, name):
        self.calls[name] = self.calls.get(name, 0) + 1

    def on_algorithm_init(self, *, algorithm, metrics_logger, **kwargs):
        assert algorithm.env_runner is not None
        self._count("init")

    def on_environment_created(self, *, env_runner, metrics_logger, env, env_context, **kwargs):
        assert env_context["setting"] == "small"
        self._count("environment")

    def on_episode_created(self, *, episode, env_runner, metrics_logger, env, env_index, rl_module, **kwargs):
        assert not episode.is_reset
        self._count("created")

    def on_episode_start(self, *, episode, env_index, **kwargs):
        assert episode.t == 0
        assert episode.get_observations(0)["tasks"].shape == (STATIONS, TASKS, 2)
        self._count("start")

    def on_episode_step(self, *, episode, env_index, **kwargs):
        np.testing.assert_allclose(
            episode.get_rewards(-1), -episode.get_infos(-1)["task_delays_s"].astype(float).sum(), rtol=1e-6
        )
        self._count("step")

    def on_episode_end(self, *, episode, prev_episode_chunks, metrics_logger, env_runner, env_index, **kwargs):
        assert episode.is_done and not prev_episode_chunks
        metrics_logger.log_value("queues_at_end", episode.get_observations(-1)["queues"].sum(), reduce="mean")
        self.episodes.append(episode)
        self._count("end")

    def on_sample_end(self, *, env_runner, samples, **kwargs):
        assert all(isinstance(episode, SingleAgentEpisode) and len(episode) == NUM_SLOTS for episode in samples)
        self._count("sample_end")

    def on_train_result(self, *, algorithm, result, **kwargs):
        result["marked"] = True
        self._count("train_result")


def test_callbacks_get_whole_episodes_as_often_as_they_happen():
    Recorder.calls, Recorder.episodes = {}, []
    algo = small_config().env_runners(num_envs_per_env_runner=3).callbacks(Recorder).build_algo()
    results = [algo.train(), algo.train()]
    assert Recorder.calls == {
        "init": 1,
        "environment": 1,
        "created": 6,
        "start": 6,
        "step": 6 * NUM_SLOTS,
        "end": 6,
        "sample_end": 2,
        "train_result": 2,
    }
    assert results[-1]["marked"]
    assert results[-1]["env_runners"]["queues_at_end"] > 0
    episode = Recorder.episodes[-1]
    assert np.shape(episode.get_actions()) == (NUM_SLOTS, STATIONS, TASKS)
    assert len(episode.get_observations()) == len(episode.get_infos()) == NUM_SLOTS + 1
    tasks = sum(np.sum(observation["task_counts"]) for observation in episode.get_observations()[:-1])
    means = [-e.get_return() / _tasks(e) for e in Recorder.episodes[-3:]]
    assert tasks == _tasks(episode)
    np.testing.assert_allclose(results[-1]["env_runners"]["mean_service_delay_s"], np.mean(means), rtol=1e-6)
    returns = [episode.get_return() for episode in Recorder.episodes]
    np.testing.assert_allclose(results[-1]["env_runners"]["episode_return_mean"], np.mean(returns[-3:]))


def _tasks(episode):
    return sum(np.sum(observation["task_counts"]) for observation in episode.get_observations()[:-1])


def test_actions_are_servers():
    Recorder.calls, Recorder.episodes = {}, []
    algo = small_config().callbacks(Recorder).build_algo()
    algo.train()
    actions = np.array(Recorder.episodes[0].get_actions())
    assert actions.min() >= 0 and actions.max() < SERVERS and len(np.unique(actions)) > 1


def test_several_environments_of_a_runner_go_in_lockstep_into_the_replay_buffer():
    algo = small_config(updates_per_slot=0.5).env_runners(num_envs_per_env_runner=3).build_algo()
    result = algo.train()
    assert result["num_env_steps_sampled_lifetime"] == 3 * NUM_SLOTS
    assert result["env_runners"]["num_episodes"] == 3
    # Every decided task but the last ones of an episode, whose next state is in the slot that is only seen.
    tasks = sum(_tasks(episode) for episode in algo.env_runner._ongoing_episodes)
    assert algo.replay_buffer.count.sum() >= tasks - 3 * STATIONS
    # Half an update for each slot of each environment, once a station has enough.
    assert algo.learner_group._learner._num_updates <= 3 * NUM_SLOTS // 2
    latents = algo.env_runner.latent_memory.get_state()["latents"][0]
    assert not np.array_equal(latents[0], latents[1])


def test_fragments_of_any_length_play_the_same_episode():
    config = small_config(updates_per_slot=0.0)
    curves = [
        curve(config.copy(copy_frozen=False).env_runners(rollout_fragment_length=n).build_algo(), 2) for n in (1, 3)
    ]
    assert curves[0] == curves[1]

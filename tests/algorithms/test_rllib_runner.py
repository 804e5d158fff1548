"""The environment runner by itself: RLlib's sample(), failing environments, and RLlib's stock runner on our module."""

import numpy as np
import pytest
import torch
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from lad_rllib.algorithms.common.env_runner import FleetEnvRunner
from lad_rllib.envs import FleetVectorEnv
from tests.algorithms.small import NUM_SLOTS, SERVERS, STATIONS, TASKS, curve, small_config


def runner_of(config, cls=FleetEnvRunner):
    return cls(config=config)


def test_sample_returns_whole_episodes_and_chunks_as_rllib_does():
    runner = runner_of(small_config().env_runners(num_envs_per_env_runner=2))
    episodes = runner.sample(num_episodes=1)
    assert [len(e) for e in episodes] == [NUM_SLOTS, NUM_SLOTS] and all(e.is_done and e.is_numpy for e in episodes)
    first = episodes[0].get_observations(0)["tasks"]
    assert not np.array_equal(first, runner.sample(num_episodes=1)[0].get_observations(0)["tasks"])

    chunks = runner.sample(num_timesteps=6, force_reset=True)
    assert [len(c) for c in chunks] == [3, 3] and not any(c.is_done for c in chunks)
    rest = runner.sample(num_timesteps=8)
    assert [(len(c), c.is_done, c.id_) for c in rest] == [(4, True, c.id_) for c in chunks]
    metrics = runner.get_metrics()
    assert metrics["num_env_steps_sampled"].peek() == 2 * (2 * NUM_SLOTS + NUM_SLOTS)
    assert metrics["episode_len_mean"].peek() == NUM_SLOTS

    actions = runner.sample(num_timesteps=2, random_actions=True)[0].get_actions()
    assert actions.shape == (1, STATIONS, TASKS)


def test_episodes_keep_the_lookback_that_is_asked_for_and_are_lists_if_asked_for():
    config = small_config().env_runners(episode_lookback_horizon=2, episodes_to_numpy=False)
    runner = runner_of(config)
    first, second = runner.sample(num_timesteps=3)[0], runner.sample(num_timesteps=2)[0]
    assert not first.is_numpy and not second.is_numpy
    np.testing.assert_array_equal(second.get_actions([-2, -1], neg_index_as_lookback=True), first.get_actions()[-2:])


def test_sample_and_collect_play_the_same_slots():
    sampled, collected = (runner_of(small_config()) for _ in range(2))
    actions = sampled.sample(num_episodes=1)[0].get_actions()
    np.testing.assert_array_equal(actions, np.concatenate([sample.action for sample in collected.collect()]))


def test_the_same_seed_plays_the_same_and_another_runner_plays_other_arrivals():
    def first_tasks(**kwargs):
        runner = FleetEnvRunner(config=small_config(), **kwargs)
        return runner.sample(num_episodes=1)[0].get_observations(0)["tasks"]

    np.testing.assert_array_equal(first_tasks(worker_index=1), first_tasks(worker_index=1))
    assert not np.array_equal(first_tasks(worker_index=1), first_tasks(worker_index=2))


class FailsOnce(FleetVectorEnv):
    """Raises at its fifth slot, the first time."""

    failed = False
    made = 0

    def __init__(self, config):
        super().__init__(config)
        type(self).made += 1

    def step(self, actions):
        if not FailsOnce.failed and self.simulator.slot == 4:
            FailsOnce.failed = True
            raise RuntimeError("lost the edge server")
        return super().step(actions)


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize("fragment", [1, 3])
def test_an_environment_that_fails_is_made_anew_and_its_episode_is_not_counted(fragment):
    FailsOnce.failed, FailsOnce.made = False, 0
    config = small_config(env=FailsOnce).env_runners(rollout_fragment_length=fragment)
    algo = config.fault_tolerance(restart_failed_sub_environments=True).build_algo()
    result = algo.train()
    assert FailsOnce.failed and FailsOnce.made == 2
    assert np.isfinite(result["env_runners"]["mean_service_delay_s"])
    assert result["env_runners"]["episode_len_mean"] == result["env_runners"]["num_env_steps_sampled"] == NUM_SLOTS
    assert np.isfinite(curve(algo, 2)).all()
    transitions = algo.replay_buffer.rows[0, : algo.replay_buffer.size[0]]
    assert np.isfinite(transitions).all()


@pytest.mark.usefixtures("no_cluster")
def test_without_restarts_the_failure_reaches_the_user():
    FailsOnce.failed = False
    with pytest.raises(RuntimeError):
        small_config(env=FailsOnce).build_algo().train()


class Stateless(FleetVectorEnv):
    """A user's environment that cannot tell where it is."""

    get_state = property()
    set_state = property()


@pytest.mark.usefixtures("no_cluster")
def test_an_environment_without_state_goes_on_with_new_arrivals(tmp_path):
    algo = small_config(env=Stateless).build_algo()
    first = _first_tasks(algo)
    checkpoint = algo.save_to_path(tmp_path / "checkpoint")
    fresh = small_config(env=Stateless).build_algo()
    fresh.restore_from_path(checkpoint)
    assert not np.array_equal(_first_tasks(fresh), first)


def _first_tasks(algo):
    algo.train()
    return algo.env_runner._ongoing_episodes[0].get_observations(0)["tasks"]


def test_the_stock_runner_plays_our_module_without_a_memory():
    config = small_config().env_runners(env_runner_cls=SingleAgentEnvRunner)
    runner = runner_of(config, SingleAgentEnvRunner)
    for explore in (True, False):
        episode = runner.sample(num_episodes=1, explore=explore)[0]
        actions = episode.get_actions()
        assert actions.shape == (NUM_SLOTS, STATIONS, TASKS) and 0 <= actions.min() <= actions.max() < SERVERS


@pytest.mark.usefixtures("no_cluster")
def test_weights_travel_by_rllibs_ways():
    algo = small_config().build_algo()
    curve(algo, 2)
    weights = algo.learner_group.get_weights()["default_policy"]
    runner = algo.env_runner.get_state(components=COMPONENT_RL_MODULE)["rl_module"]
    assert {key for key in weights if key.startswith("networks.actor.")} == set(runner)
    for key, value in runner.items():
        np.testing.assert_array_equal(value, weights[key])
    other = small_config(seed=9).build_algo()
    other.learner_group.set_weights({"default_policy": weights})
    np.testing.assert_array_equal(
        other.learner_group.get_weights()["default_policy"]["networks.log_temperature"],
        weights["networks.log_temperature"],
    )
    observation = algo.env_runner.env.reset(seed=1)[0]
    batch = {"obs": {key: torch.from_numpy(value) for key, value in observation.items()}}
    module = algo.get_module()
    out = module.forward_inference(batch)["action_dist_inputs"]
    chosen = module.get_inference_action_dist_cls().from_logits(out).to_deterministic().sample()
    torch.testing.assert_close(chosen, out.argmax(-1))

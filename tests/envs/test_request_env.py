"""One step is one request: the environment plays what the simulation plays, and its rewards sum to all delays."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import FlattenObservations

from lad_rllib.envs.request_env import OF_SERVERS, RequestFleetEnv
from lad_rllib.registry import REQUEST_ENV
from lad_rllib.simulator.requests.loop import View
from lad_rllib.simulator.requests.play import play_decisions

SMALL = {"servers": [1.0, 0.5, 0.25], "requests": 60, "traffic": {"kind": "poisson", "load": 0.9}}


def played(env, seed=3):
    """Servers, rewards and infos of an episode of random decisions."""
    env.reset(seed=seed)
    rng, servers, rewards, over = np.random.default_rng(0), [], [], False
    while not over:
        servers.append(int(rng.integers(env.action_space.n)))
        _, reward, over, truncated, infos = env.step(servers[-1])
        rewards.append(reward)
        assert not truncated
    return np.array(servers), np.array(rewards), infos


def delays_s(env, servers, seed=3):
    requests = env.setting.draw(np.random.default_rng([seed, 0]))
    return play_decisions(servers, env.setting.world, requests).delay_s


def test_random_fleets_have_another_world_in_each_episode_and_servers_that_are_not_up():
    setting = {"preset": "any-fleet", "fleets": {"servers": [2, 9], "requests": [20, 20]}}
    env = RequestFleetEnv({"setting": setting})
    ups = []
    for seed in range(4):
        observation, _ = env.reset(seed=seed)
        assert env.observation_space.contains(observation) and observation["up"].shape == (9,)
        up = observation["up"] > 0
        assert (observation["service_s"] > 0).tolist() == up.tolist() == sorted(up.tolist(), reverse=True)
        ups.append(up.sum())
        assert env.step(int(up.sum()) - 1)[1] < 0
        if not up.all():
            with pytest.raises(IndexError, match="servers are 0"):
                env.step(8)
    assert len(set(ups)) > 1


def test_gymnasiums_own_check_passes():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of bounds that are infinite
        check_env(gym.make(REQUEST_ENV, setting=SMALL).unwrapped)


@pytest.mark.parametrize("order", ["fifo", "shortest_first", "aged:service_weight=3"])
@pytest.mark.parametrize("setting", [SMALL, "small"])
def test_rewards_of_an_episode_sum_to_minus_all_delays_of_the_simulation(setting, order):
    env = RequestFleetEnv({"setting": setting, "order": order})
    servers, rewards, infos = played(env)
    expected = delays_s(env, servers)
    assert rewards.sum() == pytest.approx(-expected.sum())
    assert infos["mean_service_delay_s"] == pytest.approx(expected.mean())


def test_first_in_first_out_with_work_known_each_reward_is_the_requests_own_delay():
    env = RequestFleetEnv(setting={**SMALL, "work": "known"})
    servers, rewards, _ = played(env)
    np.testing.assert_allclose(rewards, -delays_s(env, servers), atol=1e-9)


def test_the_observation_has_every_part_of_the_view_but_the_clock():
    assert set(View._fields) == {*OF_SERVERS, "facts", "now_s"}
    env = RequestFleetEnv(setting=SMALL)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation) and observation["up"].all()
    over = False
    while not over:
        observation, _, over, _, _ = env.step(0)
        assert env.observation_space.contains(observation)
    assert not any(values.any() for values in observation.values())
    with pytest.raises(gym.error.ResetNeeded, match="the episode is over"):
        env.step(0)


def test_a_seed_gives_the_same_episodes_and_a_state_goes_on_with_them():
    one, other = RequestFleetEnv(setting=SMALL), RequestFleetEnv(setting=SMALL)
    one.reset(seed=5)
    other.set_state(one.get_state())
    np.testing.assert_array_equal(one.reset()[0]["service_s"], other.reset()[0]["service_s"])


def test_several_are_made_in_lockstep():
    env = gym.make_vec(REQUEST_ENV, num_envs=2, vectorization_mode="sync", setting=SMALL)
    observation, _ = env.reset(seed=1)
    assert observation["work_left_s"].shape == (2, 3)


@pytest.mark.usefixtures("ray_cluster")
def test_an_algorithm_of_rllib_trains_on_it():
    config = (
        PPOConfig()
        .environment(RequestFleetEnv, env_config={"setting": SMALL})
        .env_runners(num_env_runners=0, env_to_module_connector=lambda env, spaces, device: FlattenObservations())
        .training(train_batch_size_per_learner=120, minibatch_size=60, num_epochs=1)
        .debugging(seed=1)
    )
    algo = config.build_algo()
    result = algo.train()["env_runners"]
    algo.stop()
    assert result["num_episodes"] == 2 and result["episode_len_mean"] == 60
    assert result["episode_return_mean"] < 0

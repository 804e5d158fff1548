"""The environments' names are Gymnasium's, too: ``make`` gives one network, ``make_vec`` several in lockstep."""

import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from lad_rllib.envs import FleetVectorEnv, LiveFleetVectorEnv
from lad_rllib.errors import ConfigurationError
from lad_rllib.registry import FLEET_ENV, LIVE_ENV, STATION_ENV
from tests.envs.live_fleets import env_config

MAKERS = pytest.mark.parametrize("make", [gym.make, gym.make_vec])


def play(env, action, batched):
    env.reset(seed=7)
    over, played = False, []
    while not over:
        observation, reward, _, truncated, infos = env.step(action[None] if batched else action)
        over = bool(np.all(truncated))
        first = 0 if batched else ...
        played.append((np.float64(reward).item(), observation["queues"][first], infos["task_delays_s"][first]))
    return played


def test_importing_the_package_is_enough_whichever_comes_first():
    look = "import importlib.util; importlib.util.find_spec('gymnasium')"  # as many packages do
    script = f"import lad_rllib; {look}; import gymnasium; gymnasium.spec({FLEET_ENV!r})"
    subprocess.run([sys.executable, "-c", script], check=True)
    assert {FLEET_ENV, LIVE_ENV, STATION_ENV} <= gym.registry.keys()


def test_gymnasiums_own_check_passes():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of bounds that are infinite, or equal on purpose
        check_env(gym.make(FLEET_ENV, setting="small").unwrapped)


def test_one_environment_is_the_vector_environments_first_network():
    one, fleet = gym.make(FLEET_ENV, setting="small"), FleetVectorEnv({"setting": "small"})
    action = np.random.default_rng(0).integers(0, 4, one.action_space.shape)
    alone, together = play(one, action, batched=False), play(fleet, action, batched=True)
    assert len(alone) == len(together) == 7
    for got, expected in zip(alone, together, strict=True):
        assert got[0] == expected[0] < 0
        np.testing.assert_array_equal(got[1], expected[1])
        np.testing.assert_array_equal(got[2], expected[2])
    with pytest.raises(gym.error.ResetNeeded, match="the episode is over"):
        one.unwrapped.step(action)


def test_make_vec_gives_networks_in_lockstep():
    env = gym.make_vec(FLEET_ENV, num_envs=3, setting="small", queue_unit="slots")
    assert isinstance(env, FleetVectorEnv) and env.num_envs == 3
    assert env.observation_space.contains(env.reset(seed=1)[0])


def test_a_live_fleet_is_made_by_name():
    config = env_config()
    assert isinstance(gym.make_vec(LIVE_ENV, **config), LiveFleetVectorEnv)
    assert isinstance(gym.make(LIVE_ENV, **config).unwrapped.fleet, LiveFleetVectorEnv)
    with pytest.raises(ConfigurationError, match="num_envs is 2; use more env runners"):
        gym.make_vec(LIVE_ENV, num_envs=2, **config)


@MAKERS
def test_an_environment_of_many_agents_says_what_to_use_instead(make):
    with pytest.raises(ConfigurationError, match=r"one agent per base station.*StationMultiAgentEnv\(config\)"):
        make(STATION_ENV, setting="small")


@MAKERS
def test_a_wrong_key_is_refused_as_by_the_environment_itself(make):
    with pytest.raises(ConfigurationError, match="env_config: unknown key 'settings'"):
        make(FLEET_ENV, settings="small")

"""The live environment on emulated servers in this process: measured delays, late ones, failures, and the clock."""

import time

import numpy as np
import pytest

from lad_rllib import names
from lad_rllib.envs import FleetVectorEnv, LiveFleetVectorEnv
from lad_rllib.errors import ConfigurationError
from tests.envs.live_fleets import FLEET, env_config, setting

pytestmark = pytest.mark.serial  # compares times on the wall clock


@pytest.fixture
def make_env():
    envs = []

    def make(**changes):
        envs.append(LiveFleetVectorEnv(env_config(**changes)))
        return envs[-1]

    yield make
    for env in envs:
        env.close()


def play(env, choose, seed=0):
    """One episode; returns all observations, rewards, infos, and the reported delays (T, B, N), NaN if none."""
    observation, _ = env.reset(seed=seed)
    shape = (env.setting.num_slots - 1, *env.single_action_space.shape)
    delays, observations, rewards, infos = np.full(shape, np.nan), [observation], [], []
    for slot in range(shape[0]):
        observation, reward, terminated, truncated, info = env.step(choose(slot))
        for row in info[names.REPORTED_DELAYS][0]:
            place = tuple(row[:3].astype(int))
            assert np.isnan(delays[place]), "reported twice"
            assert place[0] <= slot, "reported before it was decided"
            delays[place] = row[3]
        observations.append(observation)
        rewards.append(reward[0])
        infos.append(info)
        assert not terminated[0]
    assert truncated[0]
    return observations, rewards, infos, delays


def test_it_sees_what_the_simulator_sees_with_the_same_seed(make_env):
    env, simulated = make_env(), FleetVectorEnv({"setting": setting()})
    assert env.single_observation_space == simulated.single_observation_space
    assert env.single_action_space == simulated.single_action_space
    observation, _ = env.reset(seed=3)
    expected, _ = simulated.reset(seed=3)
    for key, value in expected.items():
        np.testing.assert_array_equal(observation[key], value)
        assert observation[key].dtype == value.dtype


def test_every_delay_is_reported_once_and_lies_near_the_simulator_s(make_env):
    env = make_env()
    action = np.random.default_rng(0).integers(2, size=(4, *env.action_space.shape))
    _, rewards, infos, delays = play(env, lambda slot: action[slot])
    mask = env.arrivals.mask[0, :-1]
    assert (~np.isnan(delays) == mask).all()
    assert -sum(rewards) == pytest.approx(delays[mask].sum(), rel=1e-5)
    assert sum(info[names.FAILED_TASKS][0] for info in infos) == 0
    simulated = FleetVectorEnv({"setting": setting()})
    simulated.reset(seed=0)
    expected = [simulated.step(action[slot])[4][names.TASK_DELAYS][0] for slot in range(4)]
    assert 0.85 < delays[mask].mean() / np.stack(expected)[mask].mean() < 3  # a busy machine adds to them


def test_late_delays_come_in_later_slots(make_env):
    env = make_env(setting=setting(load=3.0))
    _, _, infos, _ = play(env, lambda slot: np.zeros(env.action_space.shape, int))
    slots = [set(info[names.REPORTED_DELAYS][0][:, 0].astype(int)) for info in infos]
    assert any(earlier < slot for slot, reported in enumerate(slots) for earlier in reported)


def test_a_slot_lasts_no_less_than_the_setting_and_the_time_scale_say(make_env):
    env = make_env()
    env.reset(seed=0)
    begin = time.perf_counter()
    for _ in range(3):
        env.step(np.zeros(env.action_space.shape, int))
    slot_s = env.setting.network.slot_s * FLEET["time_scale"]
    assert time.perf_counter() - begin >= 3 * slot_s - 0.005  # the first slot began within reset()


def test_queues_are_those_of_what_was_sent_and_empty_at_the_start(make_env):
    env = make_env()
    observations, *_ = play(env, lambda slot: np.ones(env.action_space.shape, int))
    assert (observations[0][names.QUEUES] == 0).all()
    first = observations[1][names.QUEUES][0]
    work = env.arrivals.workload_gcycles[0, 0].sum()
    done = env.setting.network.capacity_gcycles_per_s[1] * env.setting.network.slot_s
    assert first[0] == 0
    assert first[1] == pytest.approx(max(work - done, 0), abs=0.25 * work)


def test_decisions_that_come_late_are_told(make_env):
    env = make_env()
    env.reset(seed=0)
    slot_s = env.setting.network.slot_s
    time.sleep(2.5 * slot_s * FLEET["time_scale"])
    _, _, _, _, infos = env.step(np.zeros(env.action_space.shape, int))
    assert infos[names.SLOT_OVERRUN][0] == pytest.approx(1.5 * slot_s, rel=0.2)


def test_a_task_that_fails_counts_the_failure_delay(make_env):
    refuses, serves = FLEET["servers"]
    fleet = FLEET | {"servers": [refuses | {"allowed_sizes": [[8, 8]]}, serves]}
    env = make_env(fleet=fleet, setting=setting(load=5.0), failure_delay_s=77.0)
    _, _, infos, delays = play(env, lambda slot: np.zeros(env.action_space.shape, int))
    failed = sum(int(info[names.FAILED_TASKS][0]) for info in infos)
    assert failed == env.arrivals.mask[0, :-1].sum()
    assert (delays == 77.0).sum() == failed


def test_tasks_beyond_the_room_of_the_queues_are_late_and_not_lost(make_env):
    fleet = FLEET | {"servers": [server | {"queue_limit": 1} for server in FLEET["servers"]]}
    env = make_env(fleet=fleet, setting=setting(load=5.0), failure_delay_s=77.0)
    _, _, infos, delays = play(env, lambda slot: np.zeros(env.action_space.shape, int))
    assert sum(int(info[names.FAILED_TASKS][0]) for info in infos) == 0
    assert not (delays == 77.0).any()


def test_an_episode_that_is_given_up_leaves_nothing_behind(make_env):
    env = make_env(setting=setting(load=5.0))
    env.reset(seed=0)
    env.step(np.zeros(env.action_space.shape, int))
    observation, _ = env.reset()
    assert (observation[names.QUEUES] == 0).all()
    play(env, lambda slot: np.zeros(env.action_space.shape, int), seed=None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_envs": 2}, "num_envs is 2; use more env runners"),
        ({"sharing": "some"}, "sharing must be one of own, shared, got 'some'"),
        ({"sharing": "shared"}, "in_process and sharing 'shared' contradict each other"),
        ({"setting": "paper"}, "setting paper is not of a fleet"),
        ({"fleet": "digits"}, "fleet digits has 5 base stations and 5 edge servers, the setting has 3 and 2"),
        ({"in_process": "false"}, "in_process must be true or false, got 'false'"),
        ({"failure_delay_s": float("nan")}, "failure_delay_s must be a number above 0"),
        ({"prompts": 3}, "prompts must be .*, got 3"),
        ({"prompts": []}, "prompts must be .*at least 1, .*got"),
        ({"flete": "digits"}, "env_config: unknown key 'flete'; did you mean 'fleet'"),
    ],
)
def test_a_configuration_that_cannot_work_is_one_line(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        LiveFleetVectorEnv(env_config(**changes))

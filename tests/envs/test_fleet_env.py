"""FleetVectorEnv keeps the Gymnasium vector API and is E single networks in lockstep."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from lad_rllib.envs import FleetVectorEnv
from lad_rllib.errors import ConfigurationError

STEPS = 7  # decided slots of the preset small


def make(num_envs=1, **config):
    return FleetVectorEnv({"setting": "small", "num_envs": num_envs} | config)


def rollout(env, seed=None, steps=2 * (STEPS + 1), action_seed=0):
    """Everything an environment puts out under random actions: a list of flat arrays per step."""
    rng = np.random.default_rng(action_seed)
    observation, infos = env.reset(seed=seed)
    record = [(observation, None)]
    for _ in range(steps):
        one = rng.integers(0, 4, env.single_action_space.shape)
        observation, reward, terminated, truncated, infos = env.step(np.stack([one] * env.num_envs))
        assert not terminated.any()
        record.append((observation, (reward, truncated, infos.get("task_delays_s"))))
    return record


def assert_equal_rollouts(one, other):
    for (observation, outcome), (other_observation, other_outcome) in zip(one, other, strict=True):
        for key in observation:
            np.testing.assert_array_equal(observation[key], other_observation[key])
        for value, other_value in zip(outcome or (), other_outcome or (), strict=True):
            np.testing.assert_array_equal(value, other_value)


@pytest.mark.parametrize("num_envs", [1, 3])
def test_spaces_contain_what_the_environment_puts_out(num_envs):
    env = make(num_envs)
    for observation, outcome in rollout(env, seed=1):
        assert env.observation_space.contains(observation)
        for index in range(num_envs):
            assert env.single_observation_space.contains({key: value[index] for key, value in observation.items()})
        if outcome is not None:
            assert outcome[0].shape == outcome[1].shape == (num_envs,)
    env.action_space.seed(0)
    action = env.action_space.sample()
    assert action.shape == (num_envs, 4, 6) and action.min() >= 0 and action.max() <= 3
    env.step(action)


def test_the_same_seed_gives_the_same_rollout_and_episodes_differ():
    first, second, other = rollout(make(2), seed=5), rollout(make(2), seed=5), rollout(make(2), seed=6)
    assert_equal_rollouts(first, second)
    assert not np.array_equal(first[0][0]["tasks"], other[0][0]["tasks"])
    tasks = first[0][0]["tasks"]
    assert not np.array_equal(tasks[0], tasks[1])
    assert not np.array_equal(tasks, first[STEPS + 1][0]["tasks"])  # first slot of the second episode
    unseeded = make().reset()[0], make().reset()[0]
    assert not np.array_equal(unseeded[0]["tasks"], unseeded[1]["tasks"])


def test_an_episode_ends_by_truncation_and_the_next_step_starts_the_next_one():
    env = make(2)
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    record = rollout(env, seed=5)
    ends = [bool(outcome[1].all()) for _, outcome in record[1:]]
    assert ends == ([False] * (STEPS - 1) + [True, False]) * 2
    observation, (reward, truncated, delays) = record[STEPS + 1]
    assert not reward.any() and not truncated.any() and delays is None
    assert not observation["queues"].any()
    # What the reset by hand would have brought.
    by_hand = make(2)
    by_hand.reset(seed=5)
    np.testing.assert_array_equal(by_hand.reset()[0]["tasks"], observation["tasks"])


def test_rewards_are_minus_the_delays_and_delays_are_nought_without_a_task():
    for (before, _), (_, outcome) in zip((record := rollout(make(2), seed=1, steps=STEPS)), record[1:], strict=False):
        reward, _, delays = outcome
        np.testing.assert_allclose(reward, -delays.sum((1, 2)), rtol=1e-5)
        has_task = np.arange(6) < before["task_counts"][..., None]
        assert (delays[has_task] > 0).all() and not delays[~has_task].any()
        assert not before["tasks"][~has_task].any()


def test_several_networks_in_lockstep_are_several_single_ones():
    together = rollout(make(3), seed=5)
    alone = rollout(make(1), seed=5)
    assert_equal_rollouts(
        [
            ({k: v[:1] for k, v in observation.items()}, outcome and [None if v is None else v[:1] for v in outcome])
            for observation, outcome in together
        ],
        [(observation, outcome and list(outcome)) for observation, outcome in alone],
    )


def test_a_saved_state_continues_with_the_same_arrivals():
    env, other = make(2), make(2)
    env.reset(seed=5)
    env.reset()
    state = env.get_state()
    expected = rollout(env)
    other.set_state(state)
    assert_equal_rollouts(rollout(other), expected)


def test_queues_in_seconds_are_their_waiting_times():
    gcycles, seconds = rollout(make(), seed=1), rollout(make(queue_unit="seconds"), seed=1)
    capacity = np.array([2.0, 3.0, 5.0, 7.0])
    for (one, _), (other, _) in zip(gcycles, seconds, strict=True):
        np.testing.assert_allclose(one["queues"] / capacity, other["queues"], rtol=1e-6)


def test_arrays_that_cannot_be_written_are_fine_as_actions():
    env, other = make(2), make(2)
    env.reset(seed=1), other.reset(seed=1)
    action = np.random.default_rng(0).integers(0, 4, (2, 4, 6))
    frozen = action.copy()
    frozen.setflags(write=False)
    np.testing.assert_array_equal(env.step(frozen)[1], other.step(action)[1])


@pytest.mark.parametrize("shape", [(), (6,), (4, 6), (1, 4, 6)])
def test_actions_of_another_shape_are_refused_rather_than_stretched(shape):
    env = make(2)
    env.reset(seed=1)
    with pytest.raises(ValueError, match=r"\(E, B, N\) = \(2, 4, 6\), got"):
        env.step(np.zeros(shape, int))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"settings": "small"}, "env_config: unknown key 'settings'; did you mean 'setting'"),
        ({"queue_unit": "hours"}, "queue_unit must be one of gcycles, seconds, slots, got 'hours'"),
        ({"num_envs": 0}, "num_envs must be a whole number of at least 1, got 0"),
        ({"num_envs": "2"}, "num_envs must be .*; leave the quotes out"),
        ({"setting": 3}, "a setting must be a group of keys and values, got 3"),
        ({"setting": "huge"}, "unknown preset 'huge'"),
        ({"setting": {"preset": "small", "slots": 1}}, "at least 2 slots, got 1"),
    ],
)
def test_a_wrong_env_config_is_refused_in_one_line(config, message):
    with pytest.raises(ConfigurationError, match=message):
        FleetVectorEnv(config)

"""One agent per base station: the fleet environment's problem, and what RLlib asks of a multi-agent environment."""

import random

import numpy as np
import pytest
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.utils.pre_checks.env import check_multiagent_environments

from lad_rllib import names
from lad_rllib.envs import FleetVectorEnv, StationCallback, StationMultiAgentEnv
from lad_rllib.envs.episodes import draw_episode
from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling import make_heuristic, play

SPARSE = {"preset": "small", "slots": 20, "arrivals": {"source": "poisson", "max_tasks": 3, "mean_tasks": 0.2}}
UNEQUAL = {"preset": "paper-random", "slots": 5, "network": {"stations": 3, "servers": 5}, "arrivals": {"max_tasks": 4}}


def rollout(env, decide, seed=None):
    """Play one episode; what every ``step`` took and gave back: ``(agent, action, observations, rewards, ...)``."""
    observations, _ = env.reset(seed=seed)
    steps, over = [], False
    while not over:
        (agent,) = observations
        action = decide(agent, observations[agent])
        result = env.step({agent: action})
        steps.append((agent, observations[agent], action, *result))
        observations, over = result[0], result[3]["__all__"]
    return steps


def randomly(seed, num_servers):
    rng = random.Random(seed)
    return lambda agent, observation: rng.randrange(num_servers)


@pytest.mark.parametrize("setting", ["small", "sample-trace", SPARSE, UNEQUAL])
@pytest.mark.parametrize("queue_unit", ["gcycles", "seconds"])
def test_it_is_the_problem_of_the_fleet_environment(setting, queue_unit):
    config = {"setting": setting, "queue_unit": queue_unit}
    fleet, stations = FleetVectorEnv(config), StationMultiAgentEnv(config)
    rng = np.random.default_rng(0)
    seen, _ = fleet.reset(seed=7)
    observations, _ = stations.reset(seed=7)
    for episode in range(2):
        over = False
        while not over:
            actions = rng.integers(stations.setting.network.num_servers, size=fleet.action_space.shape)
            seen_next, _, _, truncated, infos = fleet.step(actions)
            for station in range(stations.setting.network.num_stations):
                for task in range(seen[names.TASK_COUNTS][0, station]):
                    agent = f"station_{station}"
                    expected = np.concatenate([seen[names.TASKS][0, station, task], seen[names.QUEUES][0]])
                    np.testing.assert_array_equal(observations.pop(agent), expected)
                    assert not observations  # nobody else is asked
                    observations, rewards, _, truncateds, _ = stations.step({agent: actions[0, station, task]})
                    assert list(rewards) == [agent]
                    assert np.float32(-rewards[agent]) == infos[names.TASK_DELAYS][0, station, task]
            seen, over = seen_next, truncated[0]
        assert truncateds["__all__"]
        for station in range(stations.setting.network.num_stations):
            expected = np.concatenate([seen[names.TASKS][0, station, 0], seen[names.QUEUES][0]])
            np.testing.assert_array_equal(observations[f"station_{station}"], expected)
        if episode == 0:  # the next episode of the same seed
            seen, *_ = fleet.step(actions)
            observations, _ = stations.reset()


def test_the_same_seed_gives_the_same_rollout_and_another_seed_another():
    env = StationMultiAgentEnv({"setting": "small"})

    def rewards(seed):
        return [(step[0], step[4]) for step in rollout(env, randomly(0, 4), seed)]

    assert rewards(1) == rewards(1)
    assert rewards(1) != rewards(2)


def test_rewards_are_minus_the_service_delay_and_infos_hold_its_parts():
    env = StationMultiAgentEnv({"setting": "small"})
    steps = rollout(env, randomly(1, 4), seed=3)
    delays_s = []
    for agent, _, _, _, rewards, _, _, infos in steps:
        assert set(infos[agent]) == set(names.DELAY_PARTS)
        assert rewards == {agent: pytest.approx(-sum(infos[agent].values()))}
        delays_s.append(-rewards[agent])
    assert env.mean_delay_s == pytest.approx(np.mean(delays_s))


def test_a_station_that_is_asked_again_later_finds_its_last_delay_in_its_infos():
    env = StationMultiAgentEnv({"setting": "small"})
    last = {}
    for agent, _, _, observations, _, _, _, infos in rollout(env, randomly(1, 4), seed=3):
        last[agent] = infos[agent]
        assert {a: infos.get(a) for a in observations} == {a: last.get(a) for a in observations}


def test_the_greedy_oracle_reaches_its_own_delay_when_it_decides_task_by_task():
    env = StationMultiAgentEnv({"setting": "small"})
    env.reset(seed=5)
    played = play(
        make_heuristic("greedy-oracle"), env.setting.network, env.simulator.arrivals, np.random.default_rng(0), 7
    )
    actions = iter(played.action[played.mask])
    rollout(env, lambda agent, observation: next(actions), seed=5)
    assert env.mean_delay_s == pytest.approx(played.mean_delay_s)


def test_every_station_receives_a_last_observation_and_only_the_whole_is_truncated():
    env = StationMultiAgentEnv({"setting": SPARSE})
    for seed in range(5):
        *_, (_, _, _, observations, _, terminateds, truncateds, _) = rollout(env, randomly(seed, 4), seed)
        assert list(observations) == env.possible_agents
        assert (terminateds, truncateds) == ({"__all__": False}, {"__all__": True})
        has_task = env.simulator.tasks.mask[0, :, 0]
        np.testing.assert_array_equal([observation[1] > 0 for observation in observations.values()], has_task)


def test_observations_and_actions_lie_in_their_spaces():
    env = StationMultiAgentEnv({"setting": UNEQUAL})
    for agent, observation, action, observations, *_ in rollout(env, randomly(0, 5), seed=0):
        assert env.action_spaces[agent].contains(action)
        assert env.observation_spaces[agent].contains(observation)
        assert all(env.observation_spaces[a].contains(o) for a, o in observations.items())


def test_rllibs_own_check_of_multi_agent_environments_passes():
    check_multiagent_environments(StationMultiAgentEnv({"setting": "small"}))


def test_an_action_of_a_station_that_was_not_asked_is_refused():
    env = StationMultiAgentEnv({"setting": "small"})
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"turn of station_0, got actions of \['station_1'\]"):
        env.step({"station_1": 0})
    with pytest.raises(ValueError, match="turn of station_0, got actions of"):
        env.step({"station_0": 0, "station_1": 0})
    with pytest.raises(IndexError, match="server 4; servers are 0..3"):
        env.step({"station_0": 4})


def test_a_step_after_the_end_is_refused():
    env = StationMultiAgentEnv({"setting": "small"})
    rollout(env, randomly(0, 4), seed=0)
    with pytest.raises(ValueError, match="the episode is over"):
        env.step({"station_0": 0})


def test_an_episode_without_tasks_is_passed_over():
    rare = {"preset": "small", "slots": 2, "arrivals": {"source": "poisson", "max_tasks": 1, "mean_tasks": 0.05}}
    env = StationMultiAgentEnv({"setting": rare})
    env.reset(seed=0)
    drawn = (draw_episode(env.setting, 0, 0, episode) for episode in range(100))
    first = next(k for k, arrivals in enumerate(drawn) if arrivals.mask[:-1].any())
    assert first > 0
    np.testing.assert_array_equal(env.simulator.arrivals.task_mbit[0], draw_episode(env.setting, 0, 0, first).task_mbit)


def test_a_setting_in_which_no_task_ever_arrives_is_refused():
    never = {"preset": "small", "arrivals": {"source": "poisson", "max_tasks": 1, "mean_tasks": 0.0}}
    with pytest.raises(ConfigurationError, match="nothing to decide"):
        StationMultiAgentEnv({"setting": never}).reset(seed=0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_envs": 2}, "env_config: unknown key 'num_envs'; valid: queue_unit, setting"),
        ({"queue_unit": "hours"}, "queue_unit must be one of gcycles, seconds, slots, got 'hours'"),
        ({"setting": {"preset": "small", "slots": 1}}, "at least 2 slots, got 1"),
    ],
)
def test_wrong_configurations_are_refused(config, message):
    with pytest.raises(ConfigurationError, match=message):
        StationMultiAgentEnv(config)


def runner_of(setting, **env_runner_settings):
    config = (
        PPOConfig()
        .environment(StationMultiAgentEnv, env_config={"setting": setting})
        .env_runners(num_env_runners=0, batch_mode="complete_episodes", **env_runner_settings)
        .multi_agent(policies={"shared"}, policy_mapping_fn=lambda agent_id, *args, **kwargs: "shared")
        .callbacks(StationCallback)
        .debugging(seed=4)
    )
    return MultiAgentEnvRunner(config=config, worker_index=0)


def test_rllibs_episodes_hold_every_decision_and_end_truncated():
    runner = runner_of(SPARSE)
    (episode,) = runner.sample(num_episodes=1, random_actions=True)
    env = StationMultiAgentEnv({"setting": SPARSE})
    env.reset(seed=runner._seed)
    mask = env.simulator.arrivals.mask[0, :-1]
    station_of_task = np.argwhere(mask)[:, 1]
    assert len(episode) == mask.sum()
    for agent_id, single in episode.agent_episodes.items():
        assert len(single) == (station_of_task == int(agent_id.removeprefix("station_"))).sum()
        assert single.is_truncated
        assert not single.is_terminated
        parts = [sum(info.values()) for info in single.get_infos()[1:]]
        np.testing.assert_allclose(parts, -np.array(single.get_rewards()), rtol=1e-5)
    mean_delay_s = -episode.get_return() / len(episode)
    assert runner.get_metrics()[names.MEAN_DELAY].peek() == pytest.approx(mean_delay_s)


def test_every_sample_of_complete_episodes_plays_fresh_arrivals():
    runner = runner_of("small")
    first, second = (runner.sample()[0].agent_episodes["station_0"].get_observations() for _ in range(2))
    assert first[0][0] != second[0][0]


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize(
    ("config", "buffer"),
    [
        (SACConfig(), {"type": "MultiAgentEpisodeReplayBuffer"}),
        (DQNConfig(), {"type": "MultiAgentPrioritizedEpisodeReplayBuffer", "beta": 0.4}),
    ],
    ids=["SAC", "DQN"],
)
def test_rllibs_off_policy_algorithms_learn_from_cut_episodes_and_replay_every_decision_once(config, buffer):
    env_config = {"setting": "small"}
    agents = StationMultiAgentEnv(env_config).possible_agents
    config = (
        config.environment(StationMultiAgentEnv, env_config=env_config)
        .training(
            train_batch_size_per_learner=4,
            num_steps_sampled_before_learning_starts=30,
            replay_buffer_config={**buffer, "capacity": 2000},
        )
        .multi_agent(policies={"shared"}, policy_mapping_fn=lambda agent, *_, **__: "shared")
        .reporting(min_sample_timesteps_per_iteration=200, min_time_s_per_iteration=0)
    )
    assert config.batch_mode == "truncate_episodes"
    algo = config.build_algo()
    try:
        algo.train()
        seed = algo.env_runner.env.envs[0].unwrapped._seed
        episode = algo.local_replay_buffer.episodes[0]
    finally:
        algo.stop()
    assert episode.is_done
    replayed = StationMultiAgentEnv(env_config)
    replayed.reset(seed=seed)  # RLlib resets twice before it plays
    actions = {agent: list(episode.agent_episodes[agent].get_actions()) for agent in agents}
    steps = rollout(replayed, lambda agent, _: int(actions[agent].pop(0)))
    assert not any(actions.values())
    for agent in agents:
        own = [step for step in steps if step[0] == agent]
        np.testing.assert_array_equal(episode.agent_episodes[agent].get_observations()[:-1], [step[1] for step in own])
        np.testing.assert_allclose(episode.agent_episodes[agent].get_rewards(), [step[4][agent] for step in own])

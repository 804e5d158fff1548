"""LAD-Dispatch as an RLlib algorithm: curves, checkpoints, evaluation, runners, learners, Tune, and its policy file."""

import logging
import os
import signal
import time

import numpy as np
import psutil
import pytest
import ray
import torch
from ray import tune
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.utils.test_utils import check_train_results_new_api_stack

import lad_rllib
from lad_rllib.algorithms.common.policy import FleetPolicy
from lad_rllib.algorithms.lad_dispatch import DispatchPolicy, LADDispatch, LADDispatchConfig, load_request_scheduler
from lad_rllib.algorithms.lad_dispatch.env_runner import LADDispatchEnvRunner
from lad_rllib.algorithms.lad_dispatch.improvement import present_logits, stacked
from lad_rllib.envs import FleetVectorEnv, RequestFleetEnv
from lad_rllib.envs.callbacks import RequestYardstickCallback
from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling.request_scheduler import play_requests
from lad_rllib.simulator.requests.play import RequestSimulation
from tests.algorithms.small import assert_same, curve, delay, learner_state, small_config
from tests.service.fleets import until

REQUESTS = 300
SETTING = {
    "servers": [1.0, 0.5, 0.25],
    "requests": REQUESTS,
    "order": "shortest_first",
    "traffic": {"kind": "poisson", "load": 0.8},
}
local = pytest.mark.usefixtures("no_cluster")
cluster = pytest.mark.cluster


def dispatch_config(seed=3, setting=SETTING, env_config=(), **training):
    values = {
        "hidden_size": 8,
        "sampled_requests": 100,
        "updates_per_iteration": 4,
        "train_batch_size_per_learner": 32,
        **training,
    }
    env_config = {"setting": setting, **dict(env_config)}
    config = LADDispatchConfig().environment(RequestFleetEnv, env_config=env_config)
    return config.training(**values).debugging(seed=seed)


def weights(networks):
    return {name: value.clone().numpy() for name, value in networks.state_dict().items()}


@local
def test_every_iteration_reports_what_users_of_rllib_expect():
    algo = dispatch_config().env_runners(num_envs_per_env_runner=2).callbacks(RequestYardstickCallback).build_algo()
    for iteration in (1, 2):
        result = check_train_results_new_api_stack(algo.train())
        runners, learner = result["env_runners"], result["learners"]["default_policy"]
        assert runners["num_episodes"] == 2 and runners["episode_len_mean"] == REQUESTS
        assert result["num_env_steps_sampled_lifetime"] == iteration * 2 * REQUESTS
        assert 0 < delay(result) < runners["p95_service_delay_s"] < runners["p99_service_delay_s"]
        assert runners["greedy_oracle_delay_s"] > 0 and runners["least_work_left_delay_s"] > 0
        assert 0 < learner["entropy_mean"] < np.log(3) and learner["actor_loss"] > 0
        assert learner["num_module_steps_trained"] == 200
    assert runners["episode_return_mean"] < 0
    assert result["step_size"] == pytest.approx(8.0 * (0.5 / 8.0) ** (1 / 60))
    assert learner["actor_learning_rate"] == pytest.approx(3e-3 * (1 / 3) ** (1 / 60))


@local
def test_random_fleets_of_one_iteration_are_learned_from_together():
    fleets = {"preset": "any-fleet", "fleets": {"servers": [2, 7], "requests": [60, 90]}}
    algo = dispatch_config(setting=fleets).env_runners(num_envs_per_env_runner=3).build_algo()
    learned, learner = [], algo.learner_group._learner
    take = learner.take_update
    learner.take_update = lambda networks, batch: learned.append(dict(batch)) or take(networks, batch)
    result = algo.train()
    assert result["env_runners"]["num_episodes"] == 3 and np.isfinite(delay(result))
    up = learned[0]["share"] > 0
    servers, counts = np.unique(up.sum(1).numpy(), return_counts=True)
    assert len(servers) > 1 and up.shape[1] == servers.max() and counts.min() >= 60
    assert (algo.seen.low <= algo.seen.high).all()
    assert algo.trained_for["orders"] == ["fifo", "shortest_first", "aged", "deadline", "priority"]


@local
def test_the_same_seed_gives_the_same_curve_and_weights_and_another_seed_another():
    same = [dispatch_config().build_algo() for _ in range(2)]
    first, second, third = (curve(algo, 3) for algo in (*same, dispatch_config(seed=4).build_algo()))
    assert first == second and not set(first) & set(third)
    assert_same(*map(learner_state, same))


@local
def test_a_checkpoint_continues_exactly_also_into_an_older_state(tmp_path):
    settings = {"bounded_percentile": 95, "percentile_bound_s": 10.0, "latent_start": "memory"}
    algo = dispatch_config(**settings).build_algo()
    curve(algo, 2)
    checkpoint = algo.save_to_path(tmp_path / "checkpoint")
    expected = curve(algo, 2), learner_state(algo)
    again = LADDispatch.from_checkpoint(checkpoint)
    assert (curve(again, 2), again.iteration) == (expected[0], 4)
    assert_same(learner_state(again), expected[1])
    algo.restore_from_path(checkpoint)
    assert curve(algo, 2) == expected[0]


@local
def test_evaluation_plays_fresh_episodes_with_the_mean_actor_and_leaves_training_alone():
    algo, alone = (dispatch_config().build_algo() for _ in range(2))
    expected = curve(alone, 4)
    assert curve(algo, 2) == expected[:2]
    played = algo.evaluate()["env_runners"]
    assert played["num_episodes"] == 10 and not {delay({"env_runners": played})} & set(expected)
    networks = algo.learner_group._learner.module["default_policy"].networks
    assert not torch.equal(networks.actor.weights, networks.average.weights)
    with torch.no_grad():
        algo.env_runner.module.networks.average.weights.zero_()  # the prior decides
    assert delay(algo.evaluate()) != delay({"env_runners": played})
    assert curve(algo, 2) == expected[2:]


@local
def test_an_evaluation_interval_has_runners_of_its_own():
    algo = dispatch_config().evaluation(evaluation_interval=1, evaluation_duration=2).build_algo()
    result = algo.train()
    evaluated = result["evaluation"]["env_runners"]
    assert evaluated["num_episodes"] == 2 and evaluated["mean_service_delay_s"] != delay(result)


@local
def test_the_policy_file_decides_as_the_algorithm_and_as_its_compiled_rule_called_one_by_one(tmp_path):
    algo = dispatch_config().build_algo()
    curve(algo, 2)
    policy = load_request_scheduler(algo.save_to_path(tmp_path / "checkpoint"))
    assert isinstance(policy, DispatchPolicy) and (policy.title, policy.orders) == ("LAD-Dispatch", ("shortest_first",))
    runner = algo.env_runner
    runner.config.in_evaluation = True
    (episode,) = runner.sample(num_episodes=1, explore=False)
    source = runner._sources[0].source
    requests, history, rng = episode.served.requests, source.history(), np.random.default_rng(0)
    played = play_requests(policy, source.world, requests, history, rng)
    np.testing.assert_array_equal(played.server, episode.served.server)
    policy.begin(source.world, history)
    simulation = RequestSimulation(source.world, requests)
    for view in simulation:
        simulation.send(policy.choose(view, rng))
    np.testing.assert_array_equal(simulation.finish().server, episode.served.server)


@local
def test_a_policy_serves_another_fleet_and_warns_of_another_order(tmp_path, caplog):
    algo = dispatch_config().build_algo()
    path = algo.save_to_path(tmp_path / "checkpoint")
    other = RequestFleetEnv({"setting": {**SETTING, "servers": [1.0, 1.0, 0.5, 0.2, 0.2], "order": "fifo"}}).setting
    with caplog.at_level(logging.WARNING, "lad_rllib"):
        load_request_scheduler(path).rule(other.world, other.history())
    assert "was trained for order shortest_first and is served fifo" in caplog.text
    requests = other.draw(np.random.default_rng(0))
    played = play_requests(
        load_request_scheduler(path), other.world, requests, other.history(), np.random.default_rng(0)
    )
    assert set(played.server) == set(range(5))
    fine_tuned = dispatch_config(setting=other.spec).build_algo()
    fine_tuned.start_from(path)
    assert_same(*(weights(a.learner_group._learner.module["default_policy"].networks) for a in (algo, fine_tuned)))


@local
def test_policies_of_slots_and_of_requests_are_not_taken_for_one_another(tmp_path):
    requests = dispatch_config().build_algo().save_to_path(tmp_path / "requests")
    slots = small_config().build_algo().save_to_path(tmp_path / "slots")
    with pytest.raises(ConfigurationError, match="a policy of LAD-Dispatch decides request by request"):
        FleetPolicy.from_checkpoint(requests)
    with pytest.raises(ConfigurationError, match="a policy of LAD-TS decides slot by slot"):
        load_request_scheduler(slots)


@local
def test_the_tasks_of_slots_are_decided_one_by_one():
    algo = dispatch_config(setting="small", env_config={"order": "aged:service_weight=3"}).build_algo()
    result = algo.train()
    assert algo.trained_for["orders"] == ["aged:service_weight=3"] and algo.trained_for["setting"]["preset"] == "small"
    assert 0 < result["env_runners"]["episode_len_mean"] <= 4 * 6 * 7


class Seen(RLlibCallback):
    """Keeps what callbacks of episodes are given."""

    def on_episode_end(self, *, episode, env_runner, env, metrics_logger, rl_module, **kwargs):
        served = episode.served
        assert len(episode) == REQUESTS and episode.get_return() == pytest.approx(-served.delay_s.sum())
        metrics_logger.log_value("share_of_the_fastest", float((served.server == 0).mean()), reduce="mean")


@local
def test_callbacks_see_how_every_request_was_served():
    result = dispatch_config().callbacks(Seen).build_algo().train()
    assert 0 < result["env_runners"]["share_of_the_fastest"] < 1


@local
@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: dispatch_config(hidden_size=0), "hidden_size must be a whole number of at least 1"),
        (
            lambda: dispatch_config(step_length=1.0),
            "has no setting 'step_length'; did you mean 'step_size'",
        ),
        (lambda: dispatch_config(beta_min=20.0), "beta_min 20.0 must not exceed beta_max 10.0"),
        (
            lambda: dispatch_config(bounded_percentile=99),
            "give bounded_percentile and percentile_bound_s or percentile_bound_ratio together, or neither",
        ),
        (lambda: dispatch_config(percentile_bound_ratio=1.0), "give bounded_percentile and percentile_bound_s or"),
        (
            lambda: dispatch_config(bounded_percentile=99, percentile_bound_s=1.0, percentile_bound_ratio=1.0),
            "give percentile_bound_s or percentile_bound_ratio, not both",
        ),
        (lambda: dispatch_config().env_runners(rollout_fragment_length=5), "rollout_fragment_length must be 'auto'"),
        (
            lambda: LADDispatchConfig().environment(FleetVectorEnv, env_config={"setting": "small"}),
            "LAD-Dispatch takes requests that come one by one, lad_rllib/RequestFleet-v0 .* got FleetVectorEnv",
        ),
        (lambda: LADDispatchConfig().environment("CartPole-v1"), "takes requests that come one by one.* got CartPole"),
        (
            lambda: small_config(env=RequestFleetEnv),
            "takes the environment of a whole fleet.* got RequestFleetEnv",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(config, message):
    with pytest.raises(ConfigurationError, match=message):
        config().build_algo()


class SlowRunner(LADDispatchEnvRunner):
    """The first runner takes longer than the others; both tell what they played with."""

    played_with = ()
    turns = None  # a folder: the first runner waits until the other one is two answers ahead

    def collect(self, fragment=None):
        if self.worker_index == 1 and self.turns is None:
            time.sleep(0.1)
        elif self.worker_index == 1:
            until(lambda: len(list(self.turns.glob("2-*"))) >= len(list(self.turns.glob("1-*"))) + 2)
        self.played_with = [*self.played_with, self.module.networks.actor.packed()]
        played = super().collect(fragment)
        if self.turns is not None:
            (self.turns / f"{self.worker_index}-{len(self.played_with)}").touch()
        return played


@pytest.fixture(scope="module")
def ahead(ray_cluster):
    """Two runners that play on while the learner learns."""
    config = dispatch_config(max_staleness=1).env_runners(num_env_runners=2, env_runner_cls=SlowRunner)
    algo = config.build_algo()
    yield algo
    algo.stop()


@cluster
def test_remote_runners_play_as_local_ones_and_come_back_with_what_they_had(ahead, tmp_path, monkeypatch):
    algo = ahead
    monkeypatch.setattr(algo, "config", algo.config.copy(copy_frozen=False).training(max_staleness=0))
    first = algo.train()
    assert first["env_runners"]["num_episodes"] == 2
    alone = dispatch_config(seed=4).build_algo()  # RLlib gives runner k the seed + k
    (played,) = alone.env_runner.sample(num_episodes=1)
    remote = algo.env_runner_group.foreach_env_runner(lambda runner: runner.get_runner_state(), local_env_runner=False)
    assert remote[0]["entropy"] == alone.env_runner.get_runner_state()["entropy"] != remote[1]["entropy"]

    checkpoint = algo.save_to_path(tmp_path / "checkpoint")
    expected = curve(algo, 1), learner_state(algo)
    algo.restore_from_path(checkpoint)
    assert curve(algo, 1) == expected[0]
    assert_same(learner_state(algo), expected[1])

    remembered = algo.rollouts.states[1]
    ray.kill(algo.env_runner_group._worker_manager.actors()[1], no_restart=False)
    assert algo.train()["env_runners"]["num_episodes"] >= 1
    for _ in range(60):
        if algo.env_runner_group.num_healthy_remote_env_runners() == 2 or algo.restore_env_runners(
            algo.env_runner_group
        ):
            break
        time.sleep(0.5)
    states = dict(
        algo.env_runner_group.foreach_env_runner(
            lambda runner: (runner.worker_index, runner.get_runner_state()), local_env_runner=False
        )
    )
    assert states[1] == remembered
    assert algo.train()["env_runners"]["num_episodes"] == 2


@cluster
def test_runners_play_on_with_the_weights_before_while_the_learner_learns_whatever_the_clock(ahead):
    networks, known, staleness = ahead.learner_group._learner.module["default_policy"].networks, [], []
    group = ahead.env_runner_group
    before = dict(group.foreach_env_runner(lambda r: (r.worker_index, len(r.played_with)), local_env_runner=False))
    for _ in range(4):
        known.append(networks.actor.packed())
        result = ahead.train()
        staleness.append(result["staleness"])
        assert result["env_runners"]["num_episodes"] == 2
        assert result["learners"]["default_policy"]["num_module_steps_trained"] == 200
    assert staleness == [0, 1, 1, 1]
    for index, played in group.foreach_env_runner(lambda r: (r.worker_index, r.played_with), local_env_runner=False):
        np.testing.assert_array_equal(played[before[index] :][:4], [known[0], *known[:3]])


@cluster
def test_a_restored_run_forgets_what_runners_are_ahead(ahead, tmp_path):
    curve(ahead, 1)
    checkpoint, states = ahead.save_to_path(tmp_path / "checkpoint"), dict(ahead.rollouts.states)
    curve(ahead, 2)
    ahead.restore_from_path(checkpoint)
    assert ahead.rollouts.states == states
    assert ahead.train()["staleness"] == 0  # with the restored weights


@cluster
def test_a_slow_runner_holds_up_nobody_until_the_bound_is_reached(ahead, monkeypatch, tmp_path):
    monkeypatch.setattr(ahead, "config", ahead.config.copy(copy_frozen=False).training(max_staleness=3))

    def set_turns(folder):
        ahead.env_runner_group.foreach_env_runner(
            lambda runner: setattr(runner, "turns", folder), local_env_runner=False
        )

    set_turns(tmp_path)
    try:
        staleness = [ahead.train()["staleness"] for _ in range(4)]
    finally:
        set_turns(None)
    assert 2 <= max(staleness) <= 3


@cluster
def test_an_iteration_tolerates_a_runner_that_dies_with_what_it_has_played(ahead, monkeypatch):
    learn = ahead.learn_from
    processes = dict(
        ahead.env_runner_group.foreach_env_runner(lambda r: (r.worker_index, os.getpid()), local_env_runner=False)
    )

    def learn_without_the_first(data):
        os.kill(processes[1], signal.SIGKILL)
        until(lambda: not psutil.pid_exists(processes[1]))
        time.sleep(1.0)  # what it owns goes with it
        learn(data)

    monkeypatch.setattr(ahead, "learn_from", learn_without_the_first)
    learner = ahead.train()["learners"]["default_policy"]
    assert np.isfinite(learner["actor_loss"]) and learner["num_module_steps_trained"] == 100  # of the other one alone
    monkeypatch.undo()
    assert min(ahead.train()["env_runners"]["num_episodes"] for _ in range(2)) >= 1


@cluster
@pytest.mark.parametrize("runners", [1, pytest.param(0, marks=pytest.mark.extended)])
def test_two_learners_share_an_iterations_requests_and_stay_equal(runners, ray_cluster):
    algo = dispatch_config(seed=None).learners(num_learners=2).env_runners(num_env_runners=runners).build_algo()
    result = [algo.train() for _ in range(2)][-1]
    states = [r.get() for r in algo.learner_group.foreach_learner(lambda learner: learner.get_state())]
    algo.stop()
    assert_same(*(state["rl_module"]["default_policy"] for state in states))
    assert result["learners"]["default_policy"]["num_module_steps_trained"] == 100  # of both together


@local
def test_a_learner_whose_part_is_lost_takes_no_step():
    algo = dispatch_config().build_algo()
    algo.train()
    before = learner_state(algo)
    algo.learn_from(TrainingData(episodes=[]))
    assert_same(learner_state(algo), before)
    assert np.isfinite(delay(algo.train()))


@local
def test_what_the_weights_decide_that_played_is_what_the_present_actor_decides_as_long_as_it_is_the_same():
    algo = dispatch_config().build_algo()
    algo.train()
    actor, (lesson,) = algo.env_runner.module.networks.actor, algo.env_runner.collect()
    batch = {name: torch.from_numpy(values) for name, values in stacked(lesson.tables).items()}
    torch.testing.assert_close(present_logits(actor, batch), batch["logits"], rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        actor.weights.add_(0.1)
    assert not torch.allclose(present_logits(actor, batch), batch["logits"], atol=1e-2)


@cluster
def test_ray_tune_runs_it_by_its_name(ray_cluster, tmp_path):
    lad_rllib.register()
    config = dispatch_config()
    space = {
        "env": "lad_rllib/RequestFleet-v0",
        "env_config": config.env_config,
        **{key: getattr(config, key) for key in ("hidden_size", "sampled_requests", "updates_per_iteration", "seed")},
        "train_batch_size_per_learner": 32,
    }
    results = tune.Tuner(
        "LADDispatch",
        param_space=space,
        run_config=tune.RunConfig(storage_path=str(tmp_path), stop={"training_iteration": 2}, verbose=0),
    ).fit()
    assert not results.errors
    (result,) = results
    delays = result.metrics_dataframe["env_runners/mean_service_delay_s"].tolist()
    assert delays == curve(dispatch_config().build_algo(), 2)

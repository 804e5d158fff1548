"""The learned baselines as RLlib algorithms: they learn, go on from checkpoints, and decide on their own."""

import numpy as np
import pytest
from ray import tune

import lad_rllib
from lad_rllib.algorithms import CONFIGS
from lad_rllib.algorithms.common.policy import FleetPolicy
from lad_rllib.envs import FleetVectorEnv
from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling import play
from lad_rllib.simulator import build_setting, stack_arrivals
from tests.algorithms.small import SLOT_ALGORITHMS, actor_weights, assert_same, curve, learner_state

BASELINES = ["d2sac-ts", "sac-ts", "dqn-ts"]
PACE = {"learning_starts": 20, "train_batch_size_per_learner": 8, "replay_capacity": 200}
# One of three servers is far quicker than the others, and never full: it is the best for every task.
ONE_IS_BEST = {
    "preset": "small",
    "slots": 30,
    "network": {"stations": 3, "capacity_gcycles_per_s": [1.0, 500.0, 1.0]},
    "arrivals": {"max_tasks": 6},
}
FAST = {
    "d2sac-ts": {"actor_lr": 2e-2, "critic_lr": 2e-2, "denoiser_output": "linear", "clip_denoised": 3.0},
    "sac-ts": {"actor_lr": 2e-2, "critic_lr": 2e-2},
    "dqn-ts": {"critic_lr": 1e-2, "target_update_period": 20, "epsilon": 0.05},
}


def config_of(name, seed=3, setting="small", **training):
    config = CONFIGS[name]()
    unit = config.queue_unit or "seconds"
    config.environment(FleetVectorEnv, env_config={"setting": setting, "queue_unit": unit})
    pace = {key: value for key, value in PACE.items() if key in config.hyperparameters.model_fields}
    return config.training(**pace | training).debugging(seed=seed)


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize("name", BASELINES)
def test_it_learns_which_server_is_best(name):
    algo = config_of(name, setting=ONE_IS_BEST, gamma=0.0, updates_per_slot=4, **FAST[name]).build_algo()
    runner = algo.env_runner

    def share_of_the_best():
        samples = runner.collect()
        counts = [np.arange(s.action.shape[2]) < s.task_counts[..., None] for s in samples]
        return np.mean(np.concatenate([s.action[m] == 1 for s, m in zip(samples, counts, strict=True)]))

    before = share_of_the_best()
    curve(algo, 8)
    after = share_of_the_best()
    assert after > 0.9 and after > before


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize("name", BASELINES)
def test_a_restored_run_goes_on_exactly(name, tmp_path):
    training = {"target_update_period": 5} if name == "dqn-ts" else {}
    algo = config_of(name, **training).build_algo()
    curve(algo, 3)
    checkpoint = algo.save_to_path(tmp_path / "checkpoint")
    expected = curve(algo, 3)
    for other in (config_of(name, seed=9, **training).build_algo(), type(algo).from_checkpoint(checkpoint)):
        other.restore_from_path(checkpoint)
        assert curve(other, 3) == expected
        assert_same(learner_state(other), learner_state(algo))
    if name == "dqn-ts":
        assert learner_state(algo)["weights.networks.num_updates"].min() > 5


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize("name", BASELINES)
def test_the_same_seed_gives_the_same_curve_and_evaluation_leaves_it_alone(name):
    one, other = (config_of(name).evaluation(evaluation_duration=1).build_algo() for _ in range(2))
    first = curve(one, 2)
    assert np.isfinite(one.evaluate()["env_runners"]["mean_service_delay_s"])
    assert first + curve(one, 2) == curve(other, 4)


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize("name", SLOT_ALGORITHMS)
def test_the_policy_of_a_checkpoint_decides_without_rllib(name, tmp_path):
    algo = config_of(name).build_algo()
    curve(algo, 2)
    algo.save_to_path(str(tmp_path))
    policy = FleetPolicy.from_checkpoint(tmp_path)
    assert (policy.title, policy.queue_unit) == (algo.config.title, algo.config.env_config["queue_unit"])
    weights = np.concatenate([p.detach().numpy().ravel() for p in policy.networks.actor.parameters()])
    np.testing.assert_array_equal(weights, actor_weights(algo.env_runner))
    setting = build_setting({"preset": "small"})
    arrivals = stack_arrivals([setting.arrivals.draw(np.random.default_rng(0), setting.num_slots)] * 2)
    records = [play(policy, setting.network, arrivals, np.random.default_rng(1)) for _ in range(2)]
    np.testing.assert_array_equal(records[0].action, records[1].action)


@pytest.mark.usefixtures("no_cluster")
def test_what_another_algorithm_learned_is_refused_in_one_line(tmp_path):
    checkpoint = config_of("sac-ts").build_algo().save_to_path(tmp_path)
    with pytest.raises(ConfigurationError, match="is a checkpoint of SAC-TS, this algorithm is DQN-TS"):
        config_of("dqn-ts").build_algo().start_from(checkpoint)


@pytest.mark.extended  # LAD-TS and LAD-Dispatch by their names: test_rllib_tune.py, test_rllib_dispatch.py
@pytest.mark.cluster
@pytest.mark.parametrize("name", BASELINES)
def test_ray_tune_finds_it_by_its_name_and_runs_what_a_user_would(ray_cluster, name, tmp_path):
    lad_rllib.register()
    algorithm = CONFIGS[name]().algo_class
    space = {"env": "lad_rllib/EdgeFleet-v0", "env_config": {"setting": "small"}, "seed": 3, **PACE}
    run = tune.RunConfig(storage_path=str(tmp_path), name=name, stop={"training_iteration": 2}, verbose=0)
    (result,) = tune.Tuner(algorithm.__name__, param_space=space, run_config=run).fit()
    own = CONFIGS[name]().environment("lad_rllib/EdgeFleet-v0", env_config={"setting": "small"})
    delays = result.metrics_dataframe["env_runners/mean_service_delay_s"].tolist()
    assert delays == curve(own.training(**PACE).debugging(seed=3).build_algo(), 2)


@pytest.mark.extended
@pytest.mark.cluster
def test_two_learners_of_dqn_stay_equal_with_two_remote_runners(ray_cluster):
    algo = config_of("dqn-ts").env_runners(num_env_runners=2).learners(num_learners=2).build_algo()
    try:
        assert np.isfinite(curve(algo, 3)).all()
        states = algo.learner_group.foreach_learner(lambda learner: learner.module["default_policy"].get_state())
        assert_same(*(state.get() for state in states))
        assert next(iter(states)).get()["networks.num_updates"].min() > 0
    finally:
        algo.stop()

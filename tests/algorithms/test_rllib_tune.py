"""Ray Tune: trials by name and by class, stopping, checkpoints, and population based training."""

import numpy as np
import pytest
from ray import tune
from ray.rllib.callbacks.callbacks import RLlibCallback

import lad_rllib
from lad_rllib.algorithms.lad_ts import LADTS
from lad_rllib.errors import ConfigurationError
from lad_rllib.registry import ALGORITHM, FLEET_ENV
from tests.algorithms.small import curve, small_config

DELAY = "env_runners/mean_service_delay_s"
SPACE = {
    "env": FLEET_ENV,
    "env_config": {"setting": "small"},
    "learning_starts": 20,
    "train_batch_size_per_learner": 8,
    "replay_capacity": 200,
    "seed": 3,
}


def delays(result):
    return result.metrics_dataframe[DELAY].tolist()


def fit(trainable, param_space, storage, stop, scheduler=None, at_end=False):
    tuner = tune.Tuner(
        trainable,
        param_space=param_space,
        tune_config=tune.TuneConfig(scheduler=scheduler),
        run_config=tune.RunConfig(
            storage_path=str(storage),
            stop=stop,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=at_end),
            verbose=0,
        ),
    )
    return tuner.fit()


@pytest.mark.extended
@pytest.mark.cluster
def test_trials_by_registered_name_differ_by_their_learning_rates_and_leave_checkpoints(ray_cluster, tmp_path):
    lad_rllib.register()
    space = SPACE | {"critic_lr": tune.grid_search([1e-3, 1e-1]), "actor_lr": 1e-2, "preset": "paper"}
    results = fit(ALGORITHM, space, tmp_path, {"training_iteration": 3}, at_end=True)
    one, other = (delays(result) for result in results)
    assert not results.errors
    assert len(one) == len(other) == 3
    # The same seed: one learning rate learns nothing else in the first slots than the other.
    assert one != other and np.isfinite(one + other).all()
    algo = LADTS.from_checkpoint(results[1].checkpoint.path)
    assert (algo.training_iteration, algo.config.critic_lr, algo.config.latent_index) == (3, 1e-1, "station_task")
    # What Tune ran is what a user gets without it.
    by_hand = small_config(critic_lr=1e-1, actor_lr=1e-2, preset="paper").build_algo()
    assert curve(by_hand, 3) == other
    assert curve(algo, 2) == curve(by_hand, 2)


@pytest.mark.extended  # by class: the test of search spaces below
@pytest.mark.cluster
def test_a_trial_by_class_and_configuration_stops_at_a_delay(ray_cluster, tmp_path):
    (result,) = fit(LADTS, small_config(), tmp_path, {DELAY: 0.0})
    assert result.metrics["training_iteration"] == 1
    assert delays(result) == curve(small_config().build_algo(), 1)


class Weights(RLlibCallback):
    """Reports a fingerprint of the actors after each iteration, and of those loaded from a checkpoint."""

    loaded = float("nan")

    def on_checkpoint_loaded(self, *, algorithm, **kwargs):
        self.loaded = fingerprint(algorithm)

    def on_train_result(self, *, algorithm, result, **kwargs):
        result["fingerprint"], result["loaded"] = fingerprint(algorithm), self.loaded


def fingerprint(algo):
    return float(sum(p.detach().double().abs().sum() for p in algo.env_runner.module.networks.actor.parameters()))


@pytest.mark.extended  # a search does the same, with its own trials: tests/runs/test_search.py
@pytest.mark.cluster
def test_population_based_training_takes_over_another_trials_weights(ray_cluster, tmp_path):
    scheduler = tune.schedulers.PopulationBasedTraining(
        time_attr="training_iteration",
        metric=DELAY,
        mode="min",
        perturbation_interval=2,
        quantile_fraction=0.5,
        hyperparam_mutations={"critic_lr": [1e-3, 3e-3]},
        synch=True,
    )
    config = small_config(actor_lr=1e-2).callbacks(Weights)
    config.seed = tune.grid_search([3, 4])
    results = fit(LADTS, config, tmp_path, {"training_iteration": 4}, scheduler)
    tables = [result.metrics_dataframe for result in results]
    taken = [
        (exploiter, donor)
        for exploiter, donor in ((0, 1), (1, 0))
        if set(tables[exploiter]["loaded"].dropna()) & set(tables[donor]["fingerprint"])
    ]
    assert taken, "no trial took another's weights"
    assert all(np.isfinite(table[DELAY]).all() for table in tables)


@pytest.mark.cluster
def test_a_configuration_may_hold_search_spaces(ray_cluster, tmp_path):
    config = small_config(gamma=tune.grid_search([0.5, 0.9]), hidden_sizes=tune.choice([[7]]))
    results = fit(LADTS, config, tmp_path, {"training_iteration": 2})
    assert not results.errors
    assert [result.config["gamma"] for result in results] == [0.5, 0.9]
    by_hand = [curve(small_config(gamma=gamma, hidden_sizes=[7]).build_algo(), 2) for gamma in (0.5, 0.9)]
    assert [delays(result) for result in results] == by_hand
    with pytest.raises(ConfigurationError, match="must be a "):
        config.validate()


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"critic_learning_rate": 1e-3}, "LAD-TS has no setting 'critic_learning_rate'; did you mean 'critic_lr'"),
        ({"tau": 2.0}, "tau must be a number above 0 and of at most 1, got 2.0"),
    ],
)
def test_a_wrong_configuration_is_refused_before_the_first_trial(ray_cluster, tmp_path, wrong, message):
    lad_rllib.register()
    with pytest.raises(ConfigurationError, match=message):
        fit(ALGORITHM, SPACE | wrong, tmp_path, {"training_iteration": 1})
    with pytest.raises(ConfigurationError, match=message):
        LADTS(config=SPACE | wrong)

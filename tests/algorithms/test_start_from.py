"""Fine-tuning: what a run takes over from another one's checkpoint, and what it does not."""

import numpy as np
import pytest

from lad_rllib.algorithms.lad_pmd import LADPMDConfig
from lad_rllib.envs import FleetVectorEnv
from lad_rllib.errors import ConfigurationError
from tests.algorithms.small import actor_weights, assert_same, curve, learner_state, small_config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    algo = small_config(seed=3).build_algo()
    curve(algo, 3)
    return algo, algo.save_to_path(tmp_path_factory.mktemp("trained") / "checkpoint")


def test_weights_temperatures_and_latent_memory_are_taken_over_and_nothing_else(trained, no_cluster):
    first, path = trained
    algo = small_config(seed=8).build_algo()
    algo.start_from(path)
    there, here = learner_state(first), learner_state(algo)
    weights = {key for key in there if key.startswith("weights.")}
    assert any("log_temperature" in key for key in weights)
    assert_same({key: there[key] for key in weights}, {key: here[key] for key in weights})
    np.testing.assert_array_equal(actor_weights(algo.env_runner), actor_weights(first.env_runner))
    latents = (a.env_runner.get_runner_state()["latent_memory"]["latents"] for a in (first, algo))
    assert_same(*latents)
    assert algo.replay_buffer.size.sum() == 0 and algo.iteration == 0
    assert not any(key for key in here if not key.startswith("weights."))  # optimisers have no state yet
    assert np.isfinite(curve(algo, 2)).all()


def test_a_checkpoint_of_another_shape_is_refused_in_one_line(trained, no_cluster):
    _, path = trained
    with pytest.raises(ConfigurationError, match=r"trained with hidden_sizes .* here it is \[7, 7\]; set"):
        small_config(hidden_sizes=(7, 7)).build_algo().start_from(path)
    with pytest.raises(ConfigurationError, match="latent_index 'station_slot_task', here it is 'station_task'"):
        small_config(latent_index="station_task").build_algo().start_from(path)
    with pytest.raises(ConfigurationError, match="there is no checkpoint nowhere"):
        small_config().build_algo().start_from("nowhere")


def test_a_run_with_more_tasks_starts_further_ones_as_the_last_one(tmp_path, no_cluster):
    def config():
        config = LADPMDConfig().environment(FleetVectorEnv, env_config={"setting": "small"})
        return config.training(train_batch_size_per_learner=8, latent_start="learned").debugging(seed=3)

    first = config().build_algo()
    curve(first, 1)
    path = first.save_to_path(tmp_path / "checkpoint")
    wider = config().environment(env_config={"setting": {"preset": "small", "arrivals": {"max_tasks": 9}}})
    algo = wider.build_algo()
    algo.start_from(path)
    (there,), (here,) = (
        [value for key, value in learner_state(one).items() if key.endswith("average.starts")] for one in (first, algo)
    )
    assert there.any() and here.shape[1] == 9
    np.testing.assert_array_equal(here, there[:, [0, 1, 2, 3, 4, 5, 5, 5, 5]])
    assert np.isfinite(curve(algo, 1)).all()

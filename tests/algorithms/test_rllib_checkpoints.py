"""A restored run goes on as if it had never been interrupted, to the last bit on one CPU."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core.rl_module.rl_module import RLModule

from lad_rllib.algorithms.lad_ts import LADTS, LADTSTorchRLModule
from lad_rllib.errors import ConfigurationError
from tests.algorithms.small import NUM_SLOTS, SERVERS, actor_weights, assert_same, curve, learner_state, small_config

pytestmark = pytest.mark.usefixtures("no_cluster")

RESUME = """
import sys
from unittest import mock
import numpy as np
import ray
ray.put = lambda value: value  # no cluster
from lad_rllib.algorithms.lad_ts import LADTS
from lad_rllib.errors import ConfigurationError
from tests.algorithms.small import curve, learner_state
algo = LADTS.from_checkpoint(sys.argv[1])
episode = algo.training_iteration
delays = curve(algo, 3)
np.savez(sys.argv[2], delays=delays, first_iteration=episode, **learner_state(algo))
"""


def resume_in_new_process(checkpoint, tmp_path):
    """Train three more episodes from a checkpoint in a process of its own."""
    result = tmp_path / "resumed.npz"
    subprocess.run(
        [sys.executable, "-c", RESUME, str(checkpoint), str(result)],
        check=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
        capture_output=True,
    )
    with np.load(result) as arrays:
        return dict(arrays)


@pytest.mark.parametrize(
    ("envs", "seed", "training"),
    [
        pytest.param(1, 3, {}, marks=pytest.mark.extended, id="published code"),
        pytest.param(
            2,
            None,
            {"preset": "paper", "actor_lr": [[0, 1e-3], [100, 1e-5]], "updates_per_slot": 0.4},
            id="paper with schedule, two environments, no seed",
        ),
    ],
)
def test_a_new_process_continues_exactly(tmp_path, envs, seed, training):
    config = small_config(seed=seed, **training).env_runners(num_envs_per_env_runner=envs)
    algo = config.build_algo()
    curve(algo, 3)
    checkpoint = algo.save_to_path(tmp_path / "checkpoint")
    expected = curve(algo, 3)

    resumed = resume_in_new_process(checkpoint, tmp_path)
    assert resumed.pop("first_iteration") == 3
    assert resumed.pop("delays").tolist() == expected
    assert_same(resumed, learner_state(algo))


def test_saving_does_not_disturb_training(tmp_path):
    plain, saved = (small_config().build_algo() for _ in range(2))
    expected = curve(plain, 4)
    delays = curve(saved, 2)
    saved.save_to_path(tmp_path / "checkpoint")
    assert delays + curve(saved, 2) == expected


def test_an_older_checkpoint_restores_into_a_live_algorithm_runner_included(tmp_path):
    algo = small_config().build_algo()
    curve(algo, 2)
    checkpoint = algo.save_to_path(tmp_path / "checkpoint")
    before = learner_state(algo), actor_weights(algo.env_runner)
    expected = curve(algo, 3)
    assert not np.array_equal(actor_weights(algo.env_runner), before[1])
    for _ in range(2):
        algo.restore_from_path(checkpoint)
        assert_same(learner_state(algo), before[0])
        np.testing.assert_array_equal(actor_weights(algo.env_runner), before[1])
        assert algo.training_iteration == 2
        assert curve(algo, 3) == expected


def test_a_checkpoint_from_before_training_starts_it_over(tmp_path):
    algo = small_config().build_algo()
    checkpoint = algo.save_to_path(tmp_path / "checkpoint")
    expected = curve(algo, 3)
    algo.restore_from_path(checkpoint)
    assert curve(algo, 3) == expected


def test_state_dictionaries_do_what_checkpoints_do():
    algo = small_config().build_algo()
    curve(algo, 2)
    state = algo.get_state()
    expected = curve(algo, 2)
    other = small_config(seed=77).build_algo()
    curve(other, 4)
    other.set_state(state)
    np.testing.assert_array_equal(
        actor_weights(other.env_runner), state_actor(state), err_msg="the runner kept its newer weights"
    )
    assert curve(other, 2) == expected


def state_actor(state):
    """Actor weights in a state of the algorithm, flat."""
    module = state["learner_group"]["learner"]["rl_module"]["default_policy"]
    return np.concatenate(
        [np.ravel(v) for k, v in module.items() if k.startswith("networks.actor.") and "network" in k]
    )


def test_a_checkpoint_restores_through_trainable_and_algorithm_too(tmp_path):
    algo = small_config().build_algo()
    curve(algo, 2)
    (tmp_path / "one").mkdir()
    algo.save_checkpoint(str(tmp_path / "one"))
    expected = curve(algo, 2)
    fresh = small_config().build_algo()
    fresh.load_checkpoint(str(tmp_path / "one"))
    assert curve(fresh, 2) == expected
    again = Algorithm.from_checkpoint(str(tmp_path / "one"))
    assert isinstance(again, LADTS)
    assert curve(again, 2) == expected
    result = again.train()
    assert result["training_iteration"] == result["env_runners"]["num_episodes_lifetime"] == 5
    assert result["num_env_steps_sampled_lifetime"] == 5 * NUM_SLOTS


def test_a_restored_run_may_change_its_learning_rates(tmp_path):
    algo = small_config().build_algo()
    curve(algo, 2)
    checkpoint = algo.save_to_path(tmp_path / "checkpoint")
    frozen = small_config(actor_lr=1e-30, critic_lr=1e-30, alpha_lr=1e-30).build_algo()
    frozen.restore_from_path(checkpoint)
    before = learner_state(frozen)
    curve(frozen, 1)
    after = learner_state(frozen)
    for key in before:
        if key.startswith("weights.") and "target" not in key:
            np.testing.assert_allclose(after[key], before[key], atol=1e-12, err_msg=key)


def test_a_checkpoint_of_another_network_is_refused_in_one_line(tmp_path):
    algo = small_config(replay_capacity=100).build_algo()
    checkpoint = algo.save_to_path(tmp_path / "checkpoint")
    with pytest.raises(ValueError, match="replay buffer"):
        small_config().build_algo().restore_from_path(checkpoint)


def test_the_module_alone_comes_out_of_a_checkpoint_and_decides(tmp_path):
    algo = small_config().build_algo()
    curve(algo, 2)
    checkpoint = Path(algo.save_to_path(tmp_path / "checkpoint"))
    module = RLModule.from_checkpoint(checkpoint / "learner_group" / "learner" / "rl_module" / "default_policy")
    assert isinstance(module, LADTSTorchRLModule)
    observation = algo.env_runner.env.observation_space.sample()
    batch = {"obs": {key: torch.from_numpy(np.array(value, dtype=np.float32)) for key, value in observation.items()}}
    torch.manual_seed(0)
    logits = module.forward_inference(batch)["action_dist_inputs"]
    torch.manual_seed(0)
    own = algo.get_module().forward_inference(batch)["action_dist_inputs"]
    assert logits.shape == (1, 4, 6, 4)
    torch.testing.assert_close(logits, own, rtol=0, atol=0)
    learner_weights = learner_state(algo)
    for name, value in module.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), learner_weights[f"weights.{name}"])


def test_a_checkpoint_of_another_network_size_is_refused_in_one_line(tmp_path):
    checkpoint = small_config().build_algo().save_to_path(tmp_path / "checkpoint")
    network = {"servers": SERVERS + 3, "capacity_gcycles_per_s": {"range": [10, 30]}, "home_server": None}
    config = small_config().environment(env_config={"setting": {"preset": "small", "network": network}})
    with pytest.raises(ConfigurationError, match="another network size") as error:
        config.build_algo().restore_from_path(checkpoint)
    assert "\n" not in str(error.value)

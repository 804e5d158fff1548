"""LADTSConfig: every value arrives where it is used, and what cannot work is refused in one line."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.connectors.env_to_module import FlattenObservations
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from lad_rllib.algorithms import DQNTSConfig, LADPMDConfig
from lad_rllib.algorithms.common.learner import clip_by_station
from lad_rllib.algorithms.common.policy import FleetPolicy
from lad_rllib.algorithms.lad_ts import (
    LADTS,
    PRESETS,
    LADTSConfig,
    LADTSHyperparameters,
    LADTSTorchLearner,
    LADTSTorchRLModule,
)
from lad_rllib.diffusion import TORCH
from lad_rllib.envs import FleetVectorEnv, StationMultiAgentEnv
from lad_rllib.errors import ConfigurationError
from lad_rllib.registry import FLEET_ENV, LIVE_ENV, STATION_ENV
from tests.algorithms.small import NUM_SLOTS, curve, small_config

built = pytest.mark.usefixtures("no_cluster")


@built
def test_every_hyperparameter_reaches_where_it_is_used():
    algo = small_config(
        policy_denoising_steps=3,
        hidden_sizes=[7, 9],
        beta_min=0.2,
        beta_max=5.0,
        denoiser_output="linear",
        clip_denoised=50.0,
        initial_alpha=0.3,
        latent_index="station_task",
        replay_latent="before_acting",
        tau=0.5,
        actor_lr=2e-4,
        critic_lr=2e-3,
        alpha_lr=0.02,
        target_entropy="auto",
        replay_capacity=123,
        kernels="torch",
    ).build_algo()
    learner = algo.learner_group._learner
    networks, actor = learner.module["default_policy"].networks, algo.env_runner.module.networks.actor
    assert actor.num_noise_draws == networks.actor.num_noise_draws == 2
    assert actor.denoiser.backend is networks.critics.backend is networks.target_critics.backend is TORCH
    assert {optimizer.backend for _, optimizer in learner.get_optimizers_for_module("default_policy")} == {TORCH}
    assert actor.clip_denoised == networks.actor.clip_denoised == 50.0
    assert {7, 9} <= set(networks.critics.sizes.tolist())
    assert {7, 9} <= set(networks.actor.denoiser.sizes.tolist())
    torch.testing.assert_close(networks.log_temperature.exp(), torch.full((4,), 0.3))
    rates = {name: learner._get_optimizer_lr(o) for name, o in learner.get_optimizers_for_module("default_policy")}
    assert rates == {"actor": 2e-4, "critic": 2e-3, "alpha": 0.02}
    assert algo.config.resolved_target_entropy(4) == pytest.approx(np.log(4) / 2)
    assert algo.replay_buffer.capacity == 123
    assert algo.env_runner.latent_memory._by_slot is False
    assert algo.env_runner.config.replay_latent == "before_acting"
    curve(algo, 2)
    assert len(algo.env_runner.latent_memory.get_state()["latents"]) == 1
    assert float(networks.log_temperature.exp().mean()) > 0.3  # a reachable target entropy: the temperature rises


@built
@pytest.mark.parametrize(
    "values",
    [
        {"gamma": 0.1},
        {"tau": 0.9},
        {"initial_alpha": 2.0},
        {"actor_lr": 1e-2},
        {"critic_lr": 1e-1},
        {"beta_min": 0.5},
        {"beta_max": 2.0},
        {"policy_denoising_steps": 2},
        {"hidden_sizes": (8,)},
        {"latent_index": "station_task"},
        {"latent_content": "logits"},
        {"denoiser_output": "linear"},
        {"clip_denoised": 0.5},
        {"replay_latent": "before_acting"},
        {"updates_per_slot": 0.5},
        {"learning_starts": 15},
        {"train_batch_size_per_learner": 9},
        {"grad_clip": 0.01},
    ],
    ids=lambda values: next(iter(values)),
)
def test_every_hyperparameter_changes_what_is_learned(values, unchanged):
    algo = small_config(**values).build_algo()
    curve(algo, 3)
    state = algo.learner_group._learner.module["default_policy"].state_dict()
    assert any(state[key].shape != unchanged[key].shape or not torch.equal(state[key], unchanged[key]) for key in state)


@pytest.fixture(scope="module")
def unchanged():
    """Weights after three episodes with the default values."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ray.put", lambda value: value)
        algo = small_config().build_algo()
        curve(algo, 3)
        return algo.learner_group._learner.module["default_policy"].state_dict()


@built
def test_learning_rate_schedules_follow_the_slots():
    algo = small_config(actor_lr=[[0, 1e-4], [2 * NUM_SLOTS, 1e-5]], critic_lr=[(0, 1e-3), (7000, 1e-3)]).build_algo()
    learner = algo.learner_group._learner
    rates = []
    for _ in range(4):
        algo.train()
        rates.append(learner._get_optimizer_lr(learner.get_optimizer("default_policy", "actor")))
    # An episode learns with the rate at its start.
    assert rates == pytest.approx([1e-4, 5.5e-5, 1e-5, 1e-5])
    with pytest.raises(ValueError, match="timesteps rise from 0"):
        small_config(actor_lr=[[5, 1e-4], [10, 1e-5]]).build_algo()


def test_gradients_are_clipped_for_each_network_by_itself():
    one, two = torch.tensor([[[3.0]], [[30.0]]]), torch.tensor([[4.0], [0.4]])
    clipped = clip_by_station([one, two], 1.0, "global_norm")
    torch.testing.assert_close(torch.stack([clipped[0][0, 0, 0], clipped[1][0, 0]]), torch.tensor([0.6, 0.8]))
    norms = torch.cat([gradient.reshape(2, -1) for gradient in clipped], 1).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(2))
    torch.testing.assert_close(clip_by_station([one], 100.0, "norm")[0], one)
    torch.testing.assert_close(clip_by_station([one], 5.0, "norm")[0], torch.tensor([[[3.0]], [[5.0]]]))
    torch.testing.assert_close(clip_by_station([two], 1.0, "value")[0], torch.tensor([[1.0], [0.4]]))


def test_a_preset_sets_its_group_and_what_stands_beside_it_wins():
    config = LADTSConfig().training(preset="paper", denoiser_output="softmax")
    expected = PRESETS["paper"] | {"denoiser_output": "softmax"}
    assert {key: getattr(config, key) for key in expected} == expected
    config.training(preset="published_code")
    assert {key: getattr(config, key) for key in expected} == PRESETS["published_code"]
    by_dict = LADTSConfig().update_from_dict({"denoiser_output": "softmax", "preset": "paper"})
    assert {key: getattr(by_dict, key) for key in expected} == expected
    assert {key: getattr(LADTSConfig(), key) for key in expected} == PRESETS["published_code"]
    with pytest.raises(ConfigurationError, match="preset must be one of published_code, paper, got 'papers'"):
        LADTSConfig().training(preset="papers")


def test_unknown_keys_are_refused():
    with pytest.raises(ConfigurationError, match="LAD-TS has no setting 'actor_rl'; did you mean 'actor_lr'?"):
        LADTSConfig().training(actor_rl=1e-3)
    for unknown in ("actor_learning_rate", "training", "_no_such_key"):
        with pytest.raises(ConfigurationError, match=f"LAD-TS has no setting '{unknown}'; "):
            LADTSConfig().update_from_dict({unknown: 1})
    with pytest.raises(ConfigurationError, match="hidden_sizes must be a list of at least 1, .*, got 5"):
        LADTSConfig.from_dict({"hidden_sizes": 5}).environment(FleetVectorEnv).validate()
    known = {"num_workers": 0, "train_batch_size_per_learner": 32, "framework": "torch"}
    assert LADTSConfig().update_from_dict(known).train_batch_size_per_learner == 32


def test_copies_dictionaries_and_states_hold_the_same_values():
    config = small_config(preset="paper", hidden_sizes=(7,), actor_lr=[[0, 1e-3], [10, 1e-4]], gamma=0.8)
    config.env_runners(num_envs_per_env_runner=3)
    copies = [
        config.copy(),
        LADTSConfig.from_dict(config.to_dict()),
        LADTSConfig().update_from_dict(config.to_dict()),
        AlgorithmConfig.from_state(config.get_state()),
    ]
    copies.append(LADTSConfig.from_dict(copies[-1].to_dict()))  # as a restored algorithm reports it
    for copy in copies:
        assert isinstance(copy, LADTSConfig)
        assert vars(copy).keys() - {"class"} == vars(config).keys()
        assert copy.to_dict() | {"class": None} == config.to_dict() | {"class": None}
        copy.validate()
    changed = config.copy().training(gamma=0.5)
    assert (changed.gamma, config.gamma) == (0.5, 0.8)


def test_compiled_kernels_are_refused_where_their_compiler_is_missing(monkeypatch):
    monkeypatch.setattr("lad_rllib.kernels.obstacle", lambda: "it is not installed")
    small_config(kernels="auto").validate()
    with pytest.raises(ConfigurationError, match="kernels='compiled' needs numba, but it is not installed; pip"):
        small_config(kernels="compiled").validate()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"latent_index": "task"}, "latent_index must be one of station_slot_task, station_task, got 'task'"),
        ({"denoiser_output": "relu"}, "denoiser_output must be one of softmax, linear, got 'relu'"),
        ({"kernels": "fast"}, "kernels must be one of auto, torch, compiled, got 'fast'"),
        ({"initial_alpha": 0.0}, r"initial_alpha must be a number above 0 and of at most 1e\+06, got 0.0"),
        ({"critic_lr": -1.0}, "critic_lr must be a number above 0 and of at most 10 or .*, got -1.0"),
        ({"clip_denoised": 0.0}, "clip_denoised must be a number above 0 or null, got 0.0"),
        ({"clip_denoised": "auto"}, "clip_denoised must be a number above 0 or null, got 'auto'"),
        ({"policy_denoising_steps": 0}, "policy_denoising_steps must be a whole number of at least 1 .*, got 0"),
        ({"beta_min": 11.0}, "beta_min 11.0 must not exceed beta_max 10.0"),
        ({"tau": 1.5}, r"tau must be a number above 0 and of at most 1, got 1.5"),
        ({"gamma": -0.1}, r"gamma must be a number of at least 0 and of at most 1, got -0.1"),
        ({"updates_per_slot": -1.0}, "updates_per_slot must be a number of at least 0 .*, got -1.0"),
        ({"target_entropy": "automatic"}, "target_entropy must be a number or 'auto', got 'automatic'"),
        (
            {"hidden_sizes": ()},
            r"hidden_sizes must be a list of at least 1, each a whole number of at least 1 .*, got \[\]",
        ),
        ({"train_batch_size_per_learner": 300}, "a batch of 300 transitions does not fit into replay_capacity 200"),
        ({"learning_starts": 200}, "learning_starts 200 must be at least 7, .* and below replay_capacity 200"),
        ({"learning_starts": 6}, "learning_starts 6 must be at least 7"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_values_that_cannot_be_used_are_refused_in_one_line(values, message):
    with pytest.raises(ConfigurationError, match=message) as error:
        small_config(**values).validate()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"env_config": {"queue_unit": "seconds"}}, "evaluation_config: queue_unit must be 'gcycles', as in training"),
        (
            {"latent_index": "station_task"},
            "evaluation_config: latent_index must be 'station_slot_task', as in training",
        ),
    ],
)
def test_an_evaluation_in_which_weights_mean_something_else_is_refused(changed, message):
    config = small_config().evaluation(evaluation_config=changed)
    with pytest.raises(ConfigurationError, match=message):
        config.get_evaluation_config_object()
    harmless = small_config().evaluation(evaluation_config={"explore": False, "env_config": {"setting": "paper"}})
    assert harmless.get_evaluation_config_object().env_config["setting"] == "paper"


def test_settings_of_rllib_that_do_not_go_together_with_lad_ts_are_refused():
    refused = {
        "framework must be 'torch', got 'tf2'": lambda c: c.framework("tf2"),
        "one agent": lambda c: c.multi_agent(policies={"p0", "p1"}),
        "FleetEnvRunner": lambda c: c.env_runners(env_runner_cls=SingleAgentEnvRunner),
        "learner_class must be a LADTSTorchLearner for LAD-TS, got .*OtherLearner": lambda c: c.training(
            learner_class=type("OtherLearner", (TorchLearner,), {})
        ),
        "module_class must be a FleetTorchRLModule for LAD-TS, got .*OtherModule": lambda c: c.rl_module(
            rl_module_spec=RLModuleSpec(module_class=type("OtherModule", (TorchRLModule,), {}))
        ),
        "connectors": lambda c: c.env_runners(
            env_to_module_connector=lambda env, spaces, device: FlattenObservations()
        ),
        "new API stack": lambda c: c.api_stack(
            enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False
        ),
        "a batch of 256": lambda c: c.learners(num_learners=32),
    }
    for message, change in refused.items():
        with pytest.raises(ConfigurationError, match=message):
            change(small_config()).validate()


class WiderModule(LADTSTorchRLModule):
    """A user's own module."""


@built
def test_a_module_given_by_the_user_is_taken():
    config = small_config().rl_module(
        rl_module_spec=RLModuleSpec(module_class=WiderModule), model_config={"hidden_sizes": (5,)}
    )
    algo = config.build_algo()
    for module in (algo.get_module(), algo.learner_group._learner.module["default_policy"]):
        assert isinstance(module, WiderModule)
        assert module.model_config["hidden_sizes"] == (5,)
        assert module.model_config["policy_denoising_steps"] == 5
    assert algo.config.hidden_sizes == (5,)
    assert algo.config.meaning()["hidden_sizes"] == [5]
    assert np.isfinite(curve(algo, 2)).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"hidden_size": 5},
            "model_config: the networks of LAD-TS have no argument 'hidden_size'; did you mean 'hidden_",
        ),
        (DefaultModelConfig(fcnet_hiddens=[8]), "model_config: the networks of LAD-TS have no argument .*hidden_sizes"),
        ({"hidden_sizes": 5}, "hidden_sizes must be a list of at least 1"),
    ],
)
def test_arguments_that_the_networks_do_not_have_are_refused(given, message):
    with pytest.raises(ConfigurationError, match=message):
        small_config().rl_module(model_config=given).validate()


class CountingLearner(LADTSTorchLearner):
    """A user's own learner."""

    updates = 0

    def update_networks(self, *arguments):
        self.updates += 1
        return super().update_networks(*arguments)


@built
def test_a_learner_given_by_the_user_is_taken():
    algo = small_config(learner_class=CountingLearner).build_algo()
    curve(algo, 2)
    assert algo.learner_group._learner.updates > 0


class ScaledHyperparameters(LADTSHyperparameters):
    scale: float = 1.0
    """A setting of a user's own."""


class ScaledConfig(LADTSConfig):
    """A user's own configuration of LAD-TS."""

    hyperparameters = ScaledHyperparameters


@built
def test_a_configuration_with_settings_of_the_users_own_trains_and_is_restored(tmp_path):
    config = ScaledConfig().environment(FleetVectorEnv, env_config={"setting": "small"}).training(scale=2.0)
    algo = config.debugging(seed=3).build_algo()
    curve(algo, 1)
    checkpoint = algo.save_to_path(str(tmp_path / "checkpoint"))
    restored = LADTS.from_checkpoint(checkpoint)
    assert isinstance(restored.config, ScaledConfig) and restored.config.scale == 2.0
    assert curve(restored, 2) == curve(algo, 2)
    # LAD-TS, under whose name it would be read, does not have that setting.
    with pytest.raises(ConfigurationError, match="no policy/"):
        FleetPolicy.from_checkpoint(checkpoint)


class OwnEnv(gym.Env):
    """Neither a vector environment nor a fleet."""


@pytest.mark.parametrize(
    ("env", "told"),
    [
        (StationMultiAgentEnv, "StationMultiAgentEnv"),
        (STATION_ENV, STATION_ENV),
        (OwnEnv, "OwnEnv"),
        ("MountainCar-v0", "MountainCar-v0"),
        ("NoSuch-v0", "NoSuch-v0"),
    ],
)
@pytest.mark.parametrize("config", [LADTSConfig, DQNTSConfig])
def test_an_environment_that_is_no_fleet_is_refused_with_those_that_are(config, env, told):
    error = f"{config.title} takes the environment of a whole fleet, {FLEET_ENV} or {LIVE_ENV} .*, got {told}$"
    with pytest.raises(ConfigurationError, match=error):
        config().environment(env, env_config={"setting": "small"}).validate()


@built
@pytest.mark.parametrize("config_class", [LADTSConfig, LADPMDConfig])
def test_an_environment_that_does_not_take_the_configuration_is_one_line(config_class):
    config = config_class().environment("CartPole-v1", env_config={"setting": "small"})
    with pytest.raises(
        ConfigurationError, match=r"lad_rllib/EdgeFleet-v0.*got CartPole-v1, which says: .*unexpected keyword"
    ):
        config.build_algo()


@built
@pytest.mark.parametrize(("env", "told"), [("CartPole-v1", "CartPole-v1"), (None, "none")])
def test_what_only_its_spaces_tell_is_refused_when_it_is_made(env, told):
    with pytest.raises(ConfigurationError, match=f"takes the environment of a whole fleet.*, got {told}$"):
        LADTSConfig().environment(env).build_algo()


@built
def test_gymnasiums_name_of_a_fleet_needs_no_registration_with_ray():
    algo = LADTSConfig().environment(FLEET_ENV, env_config={"setting": "small"}).build_algo()
    assert isinstance(algo.env_runner.env.unwrapped, FleetVectorEnv)
    algo.stop()


def test_networks_that_are_not_in_lockstep_are_refused():
    with pytest.raises(ConfigurationError, match="gym_env_vectorize_mode must be 'vector_entry_point', got 'sync'"):
        small_config().env_runners(gym_env_vectorize_mode="sync").validate()

"""Hyperparameters and RLlib's keys: types before bounds, and nothing is accepted that does nothing."""

import numpy as np
import pytest
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from lad_rllib.algorithms import CONFIGS
from lad_rllib.algorithms.common import rllib_keys
from lad_rllib.algorithms.lad_ts import LADTSConfig
from lad_rllib.envs import FleetVectorEnv, RequestFleetEnv
from lad_rllib.errors import ConfigurationError
from tests.algorithms.small import SLOT_ALGORITHMS

SETTINGS = sorted({key: name for name in CONFIGS for key in CONFIGS[name].hyperparameters.model_fields}.items())


@pytest.mark.parametrize(("key", "name"), [(key, name) for key, name in SETTINGS if key != "preset"])
@pytest.mark.parametrize("value", ["1e-4", float("nan"), float("inf"), object(), {"a": 1}, [[0, 1], [0, 2]], True])
def test_a_value_of_another_type_is_refused_in_one_line_that_names_it(key, name, value):
    if (key, value) in [("shared_actor", True)] or (key == "penalty" and isinstance(value, dict)):
        return
    config = CONFIGS[name]()
    setattr(config, key, value)
    with pytest.raises(ConfigurationError, match=rf"^{key}(\[\d+\])* must be ") as error:
        config.validate()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_numbers_of_numpy_and_whole_floats_are_numbers(name):
    rate = "critic_lr" if "critic_lr" in CONFIGS[name].hyperparameters.model_fields else "actor_lr"
    values = {rate: np.float32(1e-3), "train_batch_size_per_learner": np.int64(32), "torch_threads": 2.0}
    config = CONFIGS[name]().training(**values)
    if name in SLOT_ALGORITHMS:
        config.training(hidden_sizes=np.array([8, 8]))
        assert config.hidden_sizes == (8, 8)
    config.validate()
    assert (config.train_batch_size_per_learner, config.torch_threads) == (32, 2)
    assert type(getattr(config, rate)) is float and type(config.torch_threads) is int


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"lr": 1e-2}, "lr=0.01 has no effect here: set actor_lr, critic_lr and alpha_lr"),
        ({"train_batch_size": 128}, "set train_batch_size_per_learner"),
        ({"num_epochs": 3}, "set updates_per_slot"),
        ({"minibatch_size": 32}, "set updates_per_slot"),
        ({"shuffle_batch_per_epoch": True}, "set updates_per_slot"),
        ({"model": {"fcnet_hiddens": [64]}}, "set hidden_sizes"),
        ({"observation_filter": "MeanStdFilter"}, "queue_unit"),
        ({"clip_rewards": True}, "penalty"),
        ({"_torch_lr_scheduler_classes": [object]}, "schedules"),
        ({"output": "/data"}, "episodes are not recorded"),
        ({"add_default_connectors_to_env_to_module_pipeline": False}, "connectors are not used"),
        ({"torch_skip_nan_gradients": True}, "not finite"),
        ({"disable_env_checking": True}, "old API stack"),
        ({"_is_atari": True}, "fleet"),
        ({"extra_python_environs_for_driver": {"A": "1"}}, "os.environ"),
        ({"extra_python_environs_for_worker": {"A": "1"}}, "runtime_env"),
        ({"use_env_runner_state_server": True}, "IMPALA"),
        ({"env_runner_state_server_max_concurrency": 9}, "IMPALA"),
        ({"keep_per_episode_custom_metrics": True}, "item_series"),
        ({"metrics_episode_collection_timeout_s": 1.0}, "sample_timeout_s"),
        ({"num_gpus": 1}, "set num_gpus_per_learner"),
        ({"_fake_gpus": True}, "set num_gpus_per_learner"),
        ({"simple_optimizer": True}, "old API stack"),
        ({"sync_filters_on_rollout_workers_timeout_s": 1.0}, "queue_unit"),
        ({"torch_ddp_kwargs": {"bucket_cap_mb": 1}}, "average gradients"),
        ({"algorithm_config_overrides_per_module": {"default_policy": {"gamma": 0.5}}}, "one agent"),
        ({"policy_mapping_fn": lambda *_: "default_policy"}, "one agent"),
        ({"merge_env_runner_states": False}, "connectors are not used"),
        ({"broadcast_env_runner_states": False}, "connectors are not used"),
        ({"_dont_auto_sync_env_runner_states": False}, "connectors are not used"),
        ({"callbacks_on_evaluate_offline_end": print}, "offline data"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_keys_of_rllib_that_would_do_nothing_are_refused_with_what_does_their_job(values, told):
    for config in (LADTSConfig().update_from_dict(values), LADTSConfig()):
        for key, value in values.items():
            setattr(config, key, value)
        with pytest.raises(ConfigurationError, match=told):
            config.validate()


@pytest.mark.parametrize("key", ["lr", "train_batch_size", "num_epochs", "minibatch_size", "shuffle_batch_per_epoch"])
def test_a_key_that_does_nothing_is_refused_even_at_its_default_value(key):
    default = getattr(AlgorithmConfig(), key)
    with pytest.raises(ConfigurationError, match=f"^{key}={default!r} has no effect here: .*set "):
        LADTSConfig().training(**{key: default})


def test_what_the_runner_reads_of_episodes_may_be_set():
    LADTSConfig().env_runners(episode_lookback_horizon=5, episodes_to_numpy=False).validate()


HONOURED = frozenset(
    [
        *("_is_frozen", "_learner_class", "_model_config", "_per_module_overrides", "_rl_module_spec"),
        *("_train_batch_size_per_learner", "_use_msgpack_checkpoints", "_validate_config", "action_space"),
        *("algo_class", "create_env_on_local_worker", "create_local_env_runner", "custom_evaluation_function"),
        *("custom_resources_for_main_process", "custom_resources_per_env_runner", "custom_resources_per_learner"),
        *("delay_between_env_runner_restarts_s", "enable_env_runner_and_connector_v2"),
        *("enable_rl_module_and_learner", "env", "env_config", "env_runner_cls"),
        *("env_runner_health_probe_timeout_s", "env_runner_restore_timeout_s", "episode_lookback_horizon"),
        *("episodes_to_numpy", "evaluation_config", "explore", "framework_str", "gamma", "grad_clip"),
        *("grad_clip_by", "gym_env_vectorize_mode", "ignore_env_runner_failures", "in_evaluation"),
        *("learner_config_dict", "learning_starts", "local_gpu_idx", "log_level", "log_sys_usage"),
        *("max_num_env_runner_restarts", "max_requests_in_flight_per_env_runner"),
        *("metrics_num_episodes_for_smoothing", "min_sample_timesteps_per_iteration", "min_time_s_per_iteration"),
        *("min_train_timesteps_per_iteration", "num_consecutive_env_runner_failures_tolerance"),
        *("num_cpus_for_main_process", "num_cpus_per_env_runner", "num_cpus_per_learner", "num_env_runners"),
        *("num_envs_per_env_runner", "num_gpus_per_env_runner", "num_gpus_per_learner", "num_learners"),
        *("observation_space", "placement_strategy", "policies", "render_env", "restart_failed_env_runners"),
        *("restart_failed_sub_environments", "rollout_fragment_length", "sample_timeout_s", "seed"),
        *("stats_cls_lookup", "validate_env_runners_after_construction"),
    ]
)
"""Keys that RLlib, this package or a user's own learner reads, or that a check of their own refuses."""


def test_of_every_key_of_rllib_it_was_decided_what_becomes_of_it():
    keys = {key for key in vars(AlgorithmConfig()) if not key.startswith(("evaluation_", "callbacks_"))}
    refused = {key for key in keys if rllib_keys.advice(key) is not None}
    assert sorted(keys - refused - HONOURED) == []
    assert sorted(set(rllib_keys.UNUSED) - set(vars(AlgorithmConfig()))) == []
    assert sorted(refused & HONOURED) == []


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_an_algorithms_own_configuration_has_no_key_that_does_nothing(name):
    env = FleetVectorEnv if name in SLOT_ALGORITHMS else RequestFleetEnv
    config = CONFIGS[name]().environment(env, env_config={"setting": "small"})
    config.evaluation(evaluation_interval=1)
    config.validate()
    config.validate()  # RLlib sets keys of its own in the first
    config.copy().validate()


def test_more_threads_than_could_run_are_refused():
    with pytest.raises(ConfigurationError, match="torch_threads must be at most"):
        LADTSConfig().training(torch_threads=1_000_000).validate()

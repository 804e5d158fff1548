"""RLlib's settings that would do nothing in these algorithms, and what does their job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray._common.deprecation import DEPRECATED_VALUE
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from lad_rllib.declared import shown
from lad_rllib.errors import ConfigurationError

_RATES = "set actor_lr, critic_lr and alpha_lr, as far as the algorithm has them"
_PACE = "each update takes one batch; set updates_per_slot and train_batch_size_per_learner"
_NETWORKS = "set hidden_sizes and, of a diffusion actor, policy_denoising_steps"
_FLEET = "the fleet's observations and actions are taken as they are; set queue_unit in env_config"
_CONNECTORS = "connectors are not used; preprocess in the environment"
_RECORDING = "episodes are not recorded; use a callback's on_episode_end"
_OLD_STACK = "it belongs to RLlib's old API stack; leave it out"
_ONE_POLICY = "the whole fleet is one agent; leave multi_agent() out"
_COMPILED = "set kernels"
_OFFLINE = "these algorithms learn on-line; there is no offline data"

UNUSED: dict[str, str] = {
    "lr": _RATES,
    "_torch_lr_scheduler_classes": "give the learning rates schedules [[timestep, rate], ...]",
    "optimizer": _RATES,
    "train_batch_size": "set train_batch_size_per_learner",
    "num_epochs": _PACE,
    "minibatch_size": _PACE,
    "shuffle_batch_per_epoch": _PACE,
    "model": _NETWORKS,
    "exploration_config": "set draws",
    "clip_rewards": "rewards are delays; penalty, where an algorithm has it, is the loss of a delay",
    "normalize_actions": _FLEET,
    "clip_actions": _FLEET,
    "action_mask_key": "mask tasks by their counts",
    "observation_filter": _FLEET,
    "update_worker_filter_stats": _FLEET,
    "use_worker_filter_stats": _FLEET,
    "preprocessor_pref": _FLEET,
    "compress_observations": _OLD_STACK,
    "sample_collector": _OLD_STACK,
    "remote_worker_envs": "set num_env_runners",
    "remote_env_batch_wait_ms": "set num_env_runners",
    "fake_sampler": _OLD_STACK,
    "_is_atari": "the environment is a fleet; leave it out",
    "disable_env_checking": _OLD_STACK,
    "keep_per_episode_custom_metrics": "log them in a callback: metrics_logger.log_value(..., reduce='item_series')",
    "metrics_episode_collection_timeout_s": "set sample_timeout_s",
    "sync_filters_on_rollout_workers_timeout_s": _FLEET,
    "num_gpus": "set num_gpus_per_learner",
    "_fake_gpus": "set num_gpus_per_learner=0",
    "simple_optimizer": _OLD_STACK,
    "extra_python_environs_for_driver": "set os.environ before ray.init()",
    "extra_python_environs_for_worker": "set env_vars in the runtime_env of ray.init()",
    "torch_ddp_kwargs": "learners average gradients themselves; leave it out",
    "batch_mode": "set rollout_fragment_length",
    "add_default_connectors_to_env_to_module_pipeline": _CONNECTORS,
    "add_default_connectors_to_module_to_env_pipeline": _CONNECTORS,
    "add_default_connectors_to_learner_pipeline": _CONNECTORS,
    "_env_to_module_connector": _CONNECTORS,
    "_module_to_env_connector": _CONNECTORS,
    "_learner_connector": _CONNECTORS,
    "merge_env_runner_states": _CONNECTORS,
    "broadcast_env_runner_states": _CONNECTORS,
    "_dont_auto_sync_env_runner_states": _CONNECTORS,
    "use_env_runner_state_server": "it belongs to RLlib's IMPALA; leave it out",
    "env_runner_state_server_max_concurrency": "it belongs to RLlib's IMPALA; leave it out",
    "num_aggregator_actors_per_learner": "the algorithm's own process draws batches; set num_learners",
    "max_requests_in_flight_per_aggregator_actor": "the algorithm's own process draws batches; set num_learners",
    "max_requests_in_flight_per_learner": "updates are in step; leave it out",
    "torch_skip_nan_gradients": "training ends at the first value that is not finite",
    "torch_compile_learner": _COMPILED,
    "torch_compile_learner_what_to_compile": _COMPILED,
    "torch_compile_learner_dynamo_backend": _COMPILED,
    "torch_compile_learner_dynamo_mode": _COMPILED,
    "torch_compile_worker": _COMPILED,
    "torch_compile_worker_dynamo_backend": _COMPILED,
    "torch_compile_worker_dynamo_mode": _COMPILED,
    "_torch_grad_scaler_class": "networks this small are trained in float32",
    "log_gradients": "losses, entropies and temperatures are logged",
    "count_steps_by": _ONE_POLICY,
    "observation_fn": _ONE_POLICY,
    "policies_to_train": _ONE_POLICY,
    "policy_states_are_swappable": _ONE_POLICY,
    "policy_map_capacity": _ONE_POLICY,
    "policy_mapping_fn": _ONE_POLICY,
    "algorithm_config_overrides_per_module": _ONE_POLICY,
    "callbacks_on_offline_eval_runners_recreated": _OFFLINE,
    "callbacks_on_evaluate_offline_start": _OFFLINE,
    "callbacks_on_evaluate_offline_end": _OFFLINE,
    "input_": _OFFLINE,
    "offline_sampling": _OFFLINE,
    "off_policy_estimation_methods": _OFFLINE,
    "output": _RECORDING,
    "output_config": _RECORDING,
    "output_write_remaining_data": _RECORDING,
    "export_native_model_files": "save_to_path() writes policy/, weights as safetensors",
    "checkpoint_trainable_policies_only": _ONE_POLICY,
}
"""Keys that are refused once they differ from the algorithm's own value, and what to do instead."""

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
"""Keys that RLlib or this package reads, or that a check of their own refuses.

``learner_config_dict`` is for learners of the user's own.
"""

HONOURED_GROUPS = ("evaluation_", "callbacks_")
WITHOUT_MEANING_HERE = (
    *("input_", "offline", "prelearner", "output_", "materialize", "map_batches", "iter_batches"),
    *("dataset_num", "ignore_final", "actions_in_input", "postprocess_inputs", "shuffle_buffer", "num_offline"),
    *("custom_resources_per_offline", "num_cpus_per_offline", "num_gpus_per_offline", "restart_failed_offline"),
    *("ignore_offline", "max_num_offline", "max_requests_in_flight_per_offline", "validate_offline"),
    *("broadcast_offline", "ope_split", "tf_session", "local_tf", "eager_", "enable_tf1", "_tf_", "_disable_"),
    *("_prior_exploration", "_is_online", "sampler_perf"),
)
"""How the names of keys begin that belong to offline data, TensorFlow or the old stack: refused when changed."""


def advice(key: str) -> str | None:
    """What to do instead of setting a key; None if it may be set."""
    if key in UNUSED:
        return UNUSED[key]
    if key not in HONOURED and (key.startswith(WITHOUT_MEANING_HERE) or is_deprecated(key)):
        return "it belongs to offline data, TensorFlow or RLlib's old API stack; leave it out"
    return None


def is_known(key: str) -> bool:
    """Whether it was decided what becomes of a key."""
    return key in HONOURED or key.startswith(HONOURED_GROUPS) or advice(key) is not None


def is_deprecated(key: str) -> bool:
    """Whether RLlib keeps the key only to say that it is gone."""
    default = vars(_DEFAULTS).get(key)
    return key == "replay_sequence_length" or (type(default) is int and default == DEPRECATED_VALUE)


def check_given(settings: Mapping[str, Any]) -> None:
    """Refuse settings that would do nothing, even where they have RLlib's default value.

    Args:
        settings: What a caller gave by name.

    Raises:
        ConfigurationError: names the key, its value and what does its job.
    """
    for key, value in settings.items():
        if (told := advice(key)) is not None:
            raise _without_effect(key, value, told)


def check_unused(config: AlgorithmConfig, defaults: AlgorithmConfig) -> None:
    """Refuse settings that would do nothing.

    Args:
        config: What was set.
        defaults: The algorithm's own configuration.

    Raises:
        ConfigurationError: names the key, its value and what does its job.
    """
    for key, value in vars(config).items():
        told = advice(key)
        if told is not None and key in vars(defaults) and not _same(value, getattr(defaults, key)):
            raise _without_effect(key, value, told)


def _without_effect(key: str, value: Any, told: str) -> ConfigurationError:
    return ConfigurationError(f"{key.lstrip('_')}={shown(value)} has no effect here: {told}")


def _same(value: Any, default: Any) -> bool:
    try:
        return value is default or bool(value == default)
    except Exception:  # what cannot be compared is another value
        return False


_DEFAULTS = AlgorithmConfig()

"""RLlib's settings that would do nothing in these algorithms, and what does their job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray._common.deprecation import DEPRECATED_VALUE
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from lad_rllib.declared import shown
from lad_rllib.errors import ConfigurationError

_INSTEAD = {
    "set actor_lr, critic_lr and alpha_lr, as far as the algorithm has them": "lr optimizer",
    "give the learning rates schedules [[timestep, rate], ...]": "_torch_lr_scheduler_classes",
    "set train_batch_size_per_learner": "train_batch_size",
    "each update takes one batch; set updates_per_slot and train_batch_size_per_learner": (
        "num_epochs minibatch_size shuffle_batch_per_epoch"
    ),
    "set hidden_sizes and, of a diffusion actor, policy_denoising_steps": "model",
    "set draws": "exploration_config",
    "rewards are delays; penalty, where an algorithm has it, is the loss of a delay": "clip_rewards",
    "the fleet's observations and actions are taken as they are; set queue_unit in env_config": (
        "normalize_actions clip_actions observation_filter update_worker_filter_stats use_worker_filter_stats "
        "preprocessor_pref sync_filters_on_rollout_workers_timeout_s"
    ),
    "mask tasks by their counts": "action_mask_key",
    "it belongs to RLlib's old API stack; leave it out": (
        "compress_observations sample_collector fake_sampler disable_env_checking simple_optimizer"
    ),
    "set num_env_runners": "remote_worker_envs remote_env_batch_wait_ms",
    "the environment is a fleet; leave it out": "_is_atari",
    "log them in a callback: metrics_logger.log_value(..., reduce='item_series')": "keep_per_episode_custom_metrics",
    "set sample_timeout_s": "metrics_episode_collection_timeout_s",
    "set num_gpus_per_learner": "num_gpus",
    "set num_gpus_per_learner=0": "_fake_gpus",
    "set os.environ before ray.init()": "extra_python_environs_for_driver",
    "set env_vars in the runtime_env of ray.init()": "extra_python_environs_for_worker",
    "learners average gradients themselves; leave it out": "torch_ddp_kwargs",
    "set rollout_fragment_length": "batch_mode",
    "connectors are not used; preprocess in the environment": (
        "add_default_connectors_to_env_to_module_pipeline add_default_connectors_to_module_to_env_pipeline "
        "add_default_connectors_to_learner_pipeline _env_to_module_connector _module_to_env_connector "
        "_learner_connector merge_env_runner_states broadcast_env_runner_states _dont_auto_sync_env_runner_states"
    ),
    "it belongs to RLlib's IMPALA; leave it out": (
        "use_env_runner_state_server env_runner_state_server_max_concurrency"
    ),
    "the algorithm's own process draws batches; set num_learners": (
        "num_aggregator_actors_per_learner max_requests_in_flight_per_aggregator_actor"
    ),
    "updates are in step; leave it out": "max_requests_in_flight_per_learner",
    "training ends at the first value that is not finite": "torch_skip_nan_gradients",
    "set kernels": (
        "torch_compile_learner torch_compile_learner_what_to_compile torch_compile_learner_dynamo_backend "
        "torch_compile_learner_dynamo_mode torch_compile_worker torch_compile_worker_dynamo_backend "
        "torch_compile_worker_dynamo_mode"
    ),
    "networks this small are trained in float32": "_torch_grad_scaler_class",
    "losses, entropies and temperatures are logged": "log_gradients",
    "the whole fleet is one agent; leave multi_agent() out": (
        "count_steps_by observation_fn policies_to_train policy_states_are_swappable policy_map_capacity "
        "policy_mapping_fn algorithm_config_overrides_per_module checkpoint_trainable_policies_only"
    ),
    "these algorithms learn on-line; there is no offline data": (
        "callbacks_on_offline_eval_runners_recreated callbacks_on_evaluate_offline_start "
        "callbacks_on_evaluate_offline_end input_ offline_sampling off_policy_estimation_methods"
    ),
    "episodes are not recorded; use a callback's on_episode_end": "output output_config output_write_remaining_data",
    "save_to_path() writes policy/, weights as safetensors": "export_native_model_files",
}
"""What to do instead of setting keys that would do nothing."""
UNUSED = {key: told for told, keys in _INSTEAD.items() for key in keys.split()}
"""Keys that are refused once they differ from the algorithm's own value, and what to do instead."""
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
    if key.startswith(WITHOUT_MEANING_HERE) or is_deprecated(key):
        return "it belongs to offline data, TensorFlow or RLlib's old API stack; leave it out"
    return None


def is_deprecated(key: str) -> bool:
    """Whether RLlib keeps the key only to say that it is gone."""
    default = vars(_DEFAULTS).get(key)
    if key == "learning_starts":  # of these algorithms, too
        return False
    return key == "replay_sequence_length" or (type(default) is int and default == DEPRECATED_VALUE)


def check_given(settings: Mapping[str, Any], own: Mapping[str, str]) -> None:
    """Refuse settings that would do nothing, even where they have RLlib's default value.

    Args:
        settings: What a caller gave by name.
        own: Further keys that do nothing in the algorithm, and what does their job.

    Raises:
        ConfigurationError: names the key, its value and what does its job.
    """
    for key, value in settings.items():
        if (told := own.get(key, advice(key))) is not None:
            raise _without_effect(key, value, told)


def check_unused(config: AlgorithmConfig, defaults: AlgorithmConfig, own: Mapping[str, str]) -> None:
    """Refuse settings that would do nothing.

    Args:
        config: What was set.
        defaults: The algorithm's own configuration.
        own: See :func:`check_given`.

    Raises:
        ConfigurationError: names the key, its value and what does its job.
    """
    for key, value in vars(config).items():
        told = own.get(key, advice(key))
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

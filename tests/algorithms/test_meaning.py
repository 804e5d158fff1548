"""Weights are taken over only where they mean the same."""

import json
import re

import pytest

from lad_rllib.algorithms import CONFIGS
from lad_rllib.algorithms.common.meaning import QUEUE_UNIT, SETTINGS, check_same_meaning, meaning
from lad_rllib.algorithms.lad_ts import LADTSConfig
from lad_rllib.errors import ConfigurationError

OTHER_VALUES = {
    "objective": "system_delay",
    "actor": "mlp",
    "hidden_sizes": (7, 7),
    "policy_denoising_steps": 9,
    "beta_min": 0.2,
    "beta_max": 9.0,
    "denoiser_output": "linear",
    "clip_denoised": 3.0,
    "latent_start": "noise",
    "latent_index": "station_task",
    "latent_content": "logits",
    "latent_decay": 0.7,
    "shared_actor": False,
    "prior_queue_weight": 2.0,
    "in_slot_view": "own",
    QUEUE_UNIT: "seconds",
}

HOW_WEIGHTS_ARE_FOUND = {
    *("preset", "draws", "kernels", "torch_threads", "epsilon"),  # a name, draws from the same policy, who computes
    *("penalty", "bounded_percentile", "percentile_bound_s", "gamma", "target_entropy"),  # what to learn for
    *("replay_latent", "replay_next_queues", "replay_capacity", "learning_starts", "train_batch_size_per_learner"),
    *(
        "actor_lr",
        "critic_lr",
        "alpha_lr",
        "start_lr",
        "tau",
        "target_update_period",
        "grad_clip",
        "grad_clip_by",
        "updates_per_slot",
    ),
    *("step_size", "last_step_size", "step_size_iterations", "momentum", "averaging_exponent"),
    "initial_alpha",  # temperatures are taken over
}


def config_with(key, value):
    config = LADTSConfig().environment("e", env_config={QUEUE_UNIT: value} if key == QUEUE_UNIT else {})
    return config if key == QUEUE_UNIT else config.training(**{key: value})


@pytest.mark.parametrize("key", OTHER_VALUES)
def test_weights_trained_with_another_value_are_refused_with_both_values_and_the_remedy(key):
    trained = json.loads(json.dumps(meaning(config_with(key, OTHER_VALUES[key]))))
    here = meaning(LADTSConfig())
    if key == "objective":  # sets a group of others
        trained = {**here, key: trained[key]}
    there = trained[key]
    message = f"run was trained with {key} {there!r}, here it is {here[key]!r}; set {key} to {there!r} here"
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        check_same_meaning("run", trained, LADTSConfig())


@pytest.mark.parametrize("title", CONFIGS)
def test_weights_trained_with_the_same_values_are_taken_whatever_form_their_lists_have(title):
    config = CONFIGS[title]().training(hidden_sizes=(7, 7))
    check_same_meaning("run", json.loads(json.dumps(meaning(config))), CONFIGS[title]().training(hidden_sizes=[7, 7]))


def test_every_setting_either_changes_what_weights_mean_or_only_how_they_are_found():
    settings = set().union(*(config.hyperparameters.model_fields for config in CONFIGS.values()))
    assert set(SETTINGS) | HOW_WEIGHTS_ARE_FOUND == settings
    assert not set(SETTINGS) & HOW_WEIGHTS_ARE_FOUND
    assert set(OTHER_VALUES) == {*SETTINGS, QUEUE_UNIT}

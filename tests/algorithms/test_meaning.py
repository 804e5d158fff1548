"""Weights are taken over only where they mean the same."""

import json
import re

import pytest

from lad_rllib.algorithms import CONFIGS
from lad_rllib.algorithms.common.hyperparameters import MEANING, POLICY, marked, of_policy
from lad_rllib.algorithms.common.meaning import QUEUE_UNIT, check_same_meaning
from lad_rllib.errors import ConfigurationError
from tests.algorithms.small import SLOT_ALGORITHMS

OTHER_VALUES = {
    "lad-ts": {
        "hidden_sizes": (7, 7),
        "policy_denoising_steps": 9,
        "beta_min": 0.2,
        "beta_max": 9.0,
        "denoiser_output": "linear",
        "clip_denoised": 3.0,
        "latent_index": "station_task",
        "latent_content": "logits",
        QUEUE_UNIT: "seconds",
    },
    "lad-pmd": {
        "denoiser_output": "softmax",
        "latent_start": "memory",
        "latent_index": "station_slot_task",
        "latent_decay": 0.7,
        "shared_actor": False,
        "prior_queue_weight": 2.0,
        "in_slot_view": "own",
    },
    "lad-dispatch": {"hidden_size": 7, "prior_weight": 3.0},
}

HOW_WEIGHTS_ARE_FOUND = {
    *("preset", "draws", "kernels", "torch_threads", "epsilon"),  # a name, draws from the same policy, who computes
    *(
        "penalty",
        "bounded_percentile",
        "percentile_bound_s",
        "percentile_bound_ratio",
        "bound_gain",
        "gamma",
        "target_entropy",
    ),  # what to learn for
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
    *("sampled_requests", "updates_per_iteration", "last_actor_lr", "discount", "temperature", "max_staleness"),
}


def config_with(name, key, value):
    config = CONFIGS[name]().environment("e", env_config={QUEUE_UNIT: value} if key == QUEUE_UNIT else {})
    return config if key == QUEUE_UNIT else config.training(**{key: value})


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, values in OTHER_VALUES.items() for key in values])
def test_weights_trained_with_another_value_are_refused_with_both_values_and_the_remedy(name, key):
    trained = json.loads(json.dumps(config_with(name, key, OTHER_VALUES[name][key]).meaning()))
    here = CONFIGS[name]().meaning()
    there = trained[key]
    message = f"run was trained with {key} {there!r}, here it is {here[key]!r}; set {key} to {there!r} here"
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        check_same_meaning("run", trained, here)


@pytest.mark.parametrize("title", SLOT_ALGORITHMS)
def test_weights_trained_with_the_same_values_are_taken_whatever_form_their_lists_have(title):
    config = CONFIGS[title]().training(hidden_sizes=(7, 7))
    here = CONFIGS[title]().training(hidden_sizes=[7, 7]).meaning()
    check_same_meaning("run", json.loads(json.dumps(config.meaning())), here)


def test_what_is_the_policys_own_is_its_meaning_and_its_cap_on_waits():
    group = CONFIGS["lad-dispatch"].hyperparameters
    file = {"hidden_size": 7, "prior_weight": 3.0, "wait_cap": 0.5, "step_size": 2.0, "actor_lr": 0.1, "of_before": 1}
    assert of_policy(group, file) == {"hidden_size": 7, "prior_weight": 3.0, "wait_cap": 0.5}


def test_every_setting_either_changes_what_weights_mean_or_only_how_they_are_found():
    groups = [CONFIGS[name].hyperparameters for name in CONFIGS]
    settings = set().union(*(group.model_fields for group in groups))
    meanings = set().union(*(marked(group, MEANING) for group in groups))
    owned = set().union(*(marked(group, POLICY) for group in groups))
    assert meanings | owned | HOW_WEIGHTS_ARE_FOUND == settings
    assert not (meanings | owned) & HOW_WEIGHTS_ARE_FOUND and not meanings & owned
    assert set().union(*OTHER_VALUES.values()) == {*meanings, QUEUE_UNIT}

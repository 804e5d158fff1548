"""The settings that trained weights depend on for their meaning: the one list that is saved with them, and compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lad_rllib.declared import plain
from lad_rllib.errors import ConfigurationError

SETTINGS = (
    "objective",
    "actor",
    "hidden_sizes",
    "policy_denoising_steps",
    "beta_min",
    "beta_max",
    "denoiser_output",
    "clip_denoised",
    "latent_start",
    "latent_index",
    "latent_content",
    "latent_decay",
    "shared_actor",
    "prior_queue_weight",
    "in_slot_view",
)
"""Hyperparameters that decide what the networks' inputs and outputs mean; the others decide how weights are found."""

QUEUE_UNIT = "queue_unit"
"""Key of the environment's configuration: unit of the queues that the networks see."""


def meaning(config: Any) -> dict[str, Any]:
    """Everything that the meaning of trained weights depends on, by name, as plain values.

    Args:
        config: A :class:`LADTSConfig`.
    """
    values = {key: plain(getattr(config, key)) for key in SETTINGS}
    return {**values, QUEUE_UNIT: config.env_config.get(QUEUE_UNIT, "gcycles")}


def check_same_meaning(path: str | Path, saved: Mapping[str, Any], config: Any) -> None:
    """Refuse weights that mean something else here than where they were trained.

    Args:
        path: Checkpoint, for the message.
        saved: What :func:`meaning` gave where they were trained.
        config: A :class:`LADTSConfig` that is to take them over.

    Raises:
        ConfigurationError: names the setting, both values and what to do.
    """
    for key, here in meaning(config).items():
        there = saved.get(key)
        if key not in saved or there != here:
            raise ConfigurationError(
                f"{path} was trained with {key} {there!r}, here it is {here!r}; set {key} to {there!r} here, "
                "or start from another checkpoint"
            )

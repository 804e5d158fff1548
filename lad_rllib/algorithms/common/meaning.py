"""The settings that trained weights depend on for their meaning: saved with them, and compared.

These are the hyperparameters that are marked :data:`MEANING`; the others decide how weights are found.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lad_rllib.algorithms.common.hyperparameters import MEANING, LearningHyperparameters, marked
from lad_rllib.declared import plain
from lad_rllib.errors import ConfigurationError

QUEUE_UNIT = "queue_unit"
"""Key of the environment's configuration: unit of the queues that the networks see."""


def meaning(group: type[LearningHyperparameters], values: Mapping[str, Any]) -> dict[str, Any]:
    """Every hyperparameter that the meaning of trained weights depends on, by name, as plain values.

    Args:
        group: The algorithm's declaration.
        values: Its hyperparameters by name.
    """
    return {key: plain(values[key]) for key in marked(group, MEANING)}


def check_same_meaning(path: str | Path, saved: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Refuse weights that mean something else here than where they were trained.

    Args:
        path: Checkpoint, for the message.
        saved: What :func:`meaning` gives where they were trained.
        here: What it gives where they are to be taken over.

    Raises:
        ConfigurationError: names the setting, both values and what to do.
    """
    for key, value in here.items():
        there = saved.get(key)
        if there != value:
            raise ConfigurationError(
                f"{path} was trained with {key} {there!r}, here it is {value!r}; set {key} to {there!r} here, "
                "or start from another checkpoint"
            )

"""The settings that trained weights mean something with: the one list that is saved with them, and compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SETTINGS = (
    "objective",
    "latent_start",
    "latent_index",
    "latent_content",
    "shared_actor",
    "prior_queue_weight",
    "in_slot_view",
    "latent_decay",
)
"""Settings that must be the same where weights are taken over."""


def meaning(config: Any, env_config: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the meaning of trained weights hangs on, by name.

    Args:
        config: A :class:`LADTSConfig`.
        env_config: Configuration of its environment.
    """
    return {key: getattr(config, key) for key in SETTINGS}

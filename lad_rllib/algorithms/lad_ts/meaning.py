"""The settings that trained weights mean something with: the one list that is saved with them, and compared."""

from __future__ import annotations

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


def meaning(config: Any) -> dict[str, Any]:
    """Everything that the meaning of trained weights depends on, by name.

    Args:
        config: A :class:`LADTSConfig`.
    """
    return {key: getattr(config, key) for key in SETTINGS}

"""Hyperparameters of LAD-TS; needs no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from lad_rllib.algorithms.common.hyperparameters import MEANING, NETWORK
from lad_rllib.algorithms.soft_actor_critic.hyperparameters import DIFFUSION_PRESETS, DiffusionCriticHyperparameters

PRESETS: dict[str, dict[str, Any]] = {
    "published_code": {
        "latent_index": "station_slot_task",
        "latent_content": "probabilities",
        "replay_latent": "after_acting",
        **DIFFUSION_PRESETS["published_code"],
    },
    "paper": {
        "latent_index": "station_task",
        "latent_content": "logits",
        "replay_latent": "before_acting",
        **DIFFUSION_PRESETS["paper"],
    },
}
"""Where the paper's text and its published code differ; see the algorithm's README."""


class LADTSHyperparameters(DiffusionCriticHyperparameters):
    """What LAD-TS has: discrete soft actor-critic, a diffusion actor, and its latent actions (arXiv 2412.18212)."""

    latent_index: Annotated[Literal["station_slot_task", "station_task"], MEANING] = "station_slot_task"
    """What a latent action belongs to: station_slot_task (carried from episode to episode) or station_task (carried
    from slot to slot)."""
    latent_content: Annotated[Literal["probabilities", "logits"], NETWORK, MEANING] = "probabilities"
    """What is remembered: the probabilities, or the logits x_0."""
    replay_latent: Literal["after_acting", "before_acting"] = "after_acting"
    """What the replay buffer holds as latent action: the actor's output (after_acting) or what it started from
    (before_acting)."""

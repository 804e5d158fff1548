"""SAC-TS: discrete soft actor-critic with a softmax network for an actor.

A learned baseline of arXiv 2412.18212: the learning of LAD-TS (discrete SAC, arXiv 1910.07207), whose actor is a
network of the same hidden sizes from the state to logits, without diffusion, latent action and noise.
"""

from __future__ import annotations

from lad_rllib.algorithms.common.algorithm import LADTS
from lad_rllib.algorithms.common.config import OBJECTIVE_SETTINGS, LADTSConfig

DIFFUSION_SETTINGS = frozenset(
    {
        "policy_denoising_steps",
        "beta_min",
        "beta_max",
        "latent_start",
        "latent_index",
        "latent_content",
        "denoiser_output",
        "clip_denoised",
        "replay_latent",
    }
)


class SACTSConfig(LADTSConfig):
    """Configures :class:`SACTS`: :class:`LADTSConfig` with ``actor="mlp"``.

    The settings of diffusion and latent actions are refused; of a preset, the target entropy is left.
    """

    title = "SAC-TS"
    without = DIFFUSION_SETTINGS | OBJECTIVE_SETTINGS

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or SACTS)
        self.actor = "mlp"


class SACTS(LADTS):
    """Learns where to send each task with discrete soft actor-critic."""

    @classmethod
    def get_default_config(cls) -> SACTSConfig:
        """The settings of LAD-TS, as far as they mean anything here."""
        return SACTSConfig(algo_class=cls)

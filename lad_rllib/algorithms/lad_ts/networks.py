"""Networks of LAD-TS: soft actor-critic whose actor denoises the latent action."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from lad_rllib.algorithms.common.acting import Decision
from lad_rllib.algorithms.soft_actor_critic.diffusion import DiffusionCriticNetworks


class LADTSNetworks(DiffusionCriticNetworks):
    """Latent action diffusion actors, and the critics of soft actor-critic.

    Args:
        *sizes: Base stations B and edge servers A.
        latent_content: What is remembered: ``"probabilities"`` or ``"logits"`` (x_0).
        **kwargs: See :class:`DiffusionCriticNetworks`.
    """

    def __init__(
        self, *sizes: int, latent_content: Literal["probabilities", "logits"] = "probabilities", **kwargs: Any
    ) -> None:
        super().__init__(*sizes, **kwargs)
        self.latent_content = latent_content
        self.latent_size = self.num_servers

    def next_latent(self, decision: Decision) -> Tensor:
        """The actor's output."""
        return decision.probabilities if self.latent_content == "probabilities" else decision.logits

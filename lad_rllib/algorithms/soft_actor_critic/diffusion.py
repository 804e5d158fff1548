"""Soft actor-critic whose actor is a diffusion chain, wherever the chain starts: LAD-TS and D2SAC-TS."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from lad_rllib.algorithms.soft_actor_critic.networks import SoftActorCriticNetworks
from lad_rllib.diffusion import LatentActionActor


class DiffusionCriticNetworks(SoftActorCriticNetworks):
    """Diffusion actors, and the critics of :class:`SoftActorCriticNetworks`."""

    actor_class: type[LatentActionActor] = LatentActionActor

    def build_actor(
        self,
        hidden_sizes: tuple[int, ...],
        generator: torch.Generator,
        policy_denoising_steps: int = 5,
        denoiser_output: Literal["softmax", "linear"] = "softmax",
        beta_min: float = 0.1,
        beta_max: float = 10.0,
        clip_denoised: float | None = None,
    ) -> nn.Module:
        """The denoising chains of all stations, see :class:`LatentActionActor`."""
        return self.actor_class(
            self.num_stations,
            2 + self.num_servers,
            self.num_servers,
            hidden_sizes,
            policy_denoising_steps,
            denoiser_output,
            beta_min,
            beta_max,
            clip_denoised,
            generator,
            self.backend,
        )

"""SAC-TS: discrete soft actor-critic with a softmax network for an actor.

A learned baseline of arXiv 2412.18212: the learning of LAD-TS (discrete SAC, arXiv 1910.07207), whose actor is a
network of the same hidden sizes from the state to logits, without diffusion, latent action and noise.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lad_rllib.algorithms.common.rl_module import FleetTorchRLModule
from lad_rllib.algorithms.soft_actor_critic import (
    SoftActorCritic,
    SoftActorCriticConfig,
    SoftActorCriticHyperparameters,
    SoftActorCriticNetworks,
)
from lad_rllib.diffusion import TORCH, StackedMLP, TorchBackend
from lad_rllib.diffusion.reference import value_gradient


class MLPActor(nn.Module):
    """A network from state to action logits for each of G agents, without latent action and noise.

    Args:
        num_agents: Number of agents G.
        sizes: Widths of all layers, state and actions included.
        generator: Randomness of the initial weights.
        backend: See :class:`~lad_rllib.diffusion.StackedMLP`.
    """

    num_noise_draws = 0

    def __init__(
        self,
        num_agents: int,
        sizes: tuple[int, ...],
        generator: torch.Generator | None = None,
        backend: TorchBackend = TORCH,
    ) -> None:
        super().__init__()
        self.network = StackedMLP(num_agents, sizes, generator, backend)

    def forward(self, state: Tensor, latent: Tensor, noise: Tensor) -> Tensor:
        """Logits (G, A, M) of states (G, state_size, M); ``latent`` and ``noise`` are not used."""
        logits: Tensor = self.network(state)
        return logits

    def value_gradient(
        self, state: Tensor, latent: Tensor, noise: Tensor, q_values: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See :meth:`LatentActionActor.value_gradient`; ``latent`` and ``noise`` are not used."""
        return value_gradient(self.network.weights, self.network(state), q_values, temperature)


class SACTSNetworks(SoftActorCriticNetworks):
    """Actors that are plain networks, and the critics of soft actor-critic."""

    def build_actor(self, hidden_sizes: tuple[int, ...], generator: torch.Generator) -> nn.Module:
        """See :class:`MLPActor`."""
        sizes = (2 + self.num_servers, *hidden_sizes, self.num_servers)
        return MLPActor(self.num_stations, sizes, generator, self.backend)


class SACTSTorchRLModule(FleetTorchRLModule):
    """RLModule around :class:`SACTSNetworks`."""

    networks_class = SACTSNetworks


class SACTSConfig(SoftActorCriticConfig):
    """Configures :class:`SACTS`."""

    name = "sac-ts"
    title = "SAC-TS"
    hyperparameters = SoftActorCriticHyperparameters
    module_class = SACTSTorchRLModule

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or SACTS)


class SACTS(SoftActorCritic):
    """Learns where to send each task with discrete soft actor-critic."""

    @classmethod
    def get_default_config(cls) -> SACTSConfig:
        """The settings of the paper's comparison."""
        return SACTSConfig(algo_class=cls)

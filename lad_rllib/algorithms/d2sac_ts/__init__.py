"""D2SAC-TS: soft actor-critic whose diffusion starts from fresh Gaussian noise instead of a latent action.

A learned baseline of arXiv 2412.18212 after D2SAC (arXiv 2303.13052). Everything else is that of LAD-TS, so that the
difference in delay is what the latent action is worth. Two passes of an update, over the next states and over the
states, start from noise of their own, too; nothing is replayed.
"""

from __future__ import annotations

from torch import Tensor

from lad_rllib.algorithms.common.rl_module import FleetTorchRLModule
from lad_rllib.algorithms.soft_actor_critic import SoftActorCritic, SoftActorCriticConfig
from lad_rllib.algorithms.soft_actor_critic.diffusion import DiffusionCriticNetworks
from lad_rllib.algorithms.soft_actor_critic.hyperparameters import DIFFUSION_PRESETS, DiffusionCriticHyperparameters
from lad_rllib.diffusion import LatentActionActor


class GaussianStartActor(LatentActionActor):
    """Reverse diffusion from fresh Gaussian noise instead of a latent action (D2SAC, arXiv 2303.13052)."""

    @property
    def num_noise_draws(self) -> int:
        """Fresh-noise tensors that one pass uses: where it starts from, and one for each step but the last."""
        return super().num_noise_draws + 1

    def start_and_noise(self, latent: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The first noise, and the steps' in their order; ``latent`` is not used."""
        return noise[0], noise[1:]


class D2SACTSNetworks(DiffusionCriticNetworks):
    """Actors that start from noise, and the critics of soft actor-critic."""

    actor_class = GaussianStartActor


class D2SACTSTorchRLModule(FleetTorchRLModule):
    """RLModule around :class:`D2SACTSNetworks`."""

    networks_class = D2SACTSNetworks


class D2SACTSConfig(SoftActorCriticConfig):
    """Configures :class:`D2SACTS`."""

    name = "d2sac-ts"
    title = "D2SAC-TS"
    hyperparameters = DiffusionCriticHyperparameters
    presets = DIFFUSION_PRESETS
    module_class = D2SACTSTorchRLModule

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or D2SACTS)


class D2SACTS(SoftActorCritic):
    """Learns where to send each task with a diffusion actor that starts from Gaussian noise."""

    @classmethod
    def get_default_config(cls) -> D2SACTSConfig:
        """The settings of the paper's comparison."""
        return D2SACTSConfig(algo_class=cls)

"""LAD-TS: latent action diffusion task scheduling, as an RLlib algorithm."""

from __future__ import annotations

from lad_rllib.algorithms.common.rl_module import FleetTorchRLModule
from lad_rllib.algorithms.lad_ts.hyperparameters import PRESETS, LADTSHyperparameters
from lad_rllib.algorithms.lad_ts.networks import LADTSNetworks
from lad_rllib.algorithms.soft_actor_critic import (
    SoftActorCritic,
    SoftActorCriticConfig,
    SoftActorCriticTorchLearner,
)


class LADTSTorchRLModule(FleetTorchRLModule):
    """RLModule around :class:`LADTSNetworks`."""

    networks_class = LADTSNetworks


class LADTSTorchLearner(SoftActorCriticTorchLearner):
    """Learner of LAD-TS: soft actor-critic."""


class LADTSConfig(SoftActorCriticConfig):
    """Configures :class:`LADTS`.

    Example:
        >>> from lad_rllib.algorithms.lad_ts import LADTSConfig
        >>> from lad_rllib.envs import FleetVectorEnv
        >>> config = (
        ...     LADTSConfig()
        ...     .environment(FleetVectorEnv, env_config={"setting": "paper"})
        ...     .training(preset="published_code", policy_denoising_steps=5)
        ... )
        >>> algo = config.build_algo()  # doctest: +SKIP
    """

    name = "lad-ts"
    title = "LAD-TS"
    hyperparameters = LADTSHyperparameters
    presets = PRESETS
    module_class = LADTSTorchRLModule

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or LADTS)

    def get_default_learner_class(self) -> type:
        """Learner of the algorithm."""
        return LADTSTorchLearner

    @property
    def stores_latent_after_acting(self) -> bool:
        """See :class:`LADTSHyperparameters`, ``replay_latent``."""
        return bool(self.replay_latent == "after_acting")

    def latent_size(self, num_servers: int) -> int:
        """Length of a latent action: one number for each server."""
        return num_servers


class LADTS(SoftActorCritic):
    """Learns where to send each task, with latent action diffusion actors (arXiv 2412.18212)."""

    @classmethod
    def get_default_config(cls) -> LADTSConfig:
        """The published settings."""
        return LADTSConfig(algo_class=cls)

"""LAD-TS: latent action diffusion task scheduling, as an RLlib algorithm."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from lad_rllib.algorithms.common.hyperparameters import MEANING, NETWORK
from lad_rllib.algorithms.common.rl_module import FleetTorchRLModule
from lad_rllib.algorithms.lad_ts.networks import LADTSNetworks
from lad_rllib.algorithms.soft_actor_critic import (
    SoftActorCritic,
    SoftActorCriticConfig,
    SoftActorCriticTorchLearner,
    diffusion,
)

PRESETS: dict[str, dict[str, Any]] = {
    "published_code": {
        "latent_index": "station_slot_task",
        "latent_content": "probabilities",
        "replay_latent": "after_acting",
        **diffusion.PRESETS["published_code"],
    },
    "paper": {
        "latent_index": "station_task",
        "latent_content": "logits",
        "replay_latent": "before_acting",
        **diffusion.PRESETS["paper"],
    },
}
"""Where the paper's text and its published code differ; see the algorithm's README."""


class LADTSHyperparameters(diffusion.DiffusionCriticHyperparameters):
    """What LAD-TS has: discrete soft actor-critic, a diffusion actor, and its latent actions (arXiv 2412.18212)."""

    latent_index: Annotated[Literal["station_slot_task", "station_task"], MEANING] = "station_slot_task"
    """What a latent action belongs to: station_slot_task (carried from episode to episode) or station_task (carried
    from slot to slot)."""
    latent_content: Annotated[Literal["probabilities", "logits"], NETWORK, MEANING] = "probabilities"
    """What is remembered: the probabilities, or the logits x_0."""
    replay_latent: Literal["after_acting", "before_acting"] = "after_acting"
    """What the replay buffer holds as latent action: the actor's output (after_acting) or what it started from
    (before_acting)."""


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

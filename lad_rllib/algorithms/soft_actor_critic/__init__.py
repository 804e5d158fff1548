"""Soft actor-critic that LAD-TS, D2SAC-TS and SAC-TS share: networks, losses, one update of all stations."""

from lad_rllib.algorithms.soft_actor_critic.algorithm import (
    PRESETS,
    SoftActorCritic,
    SoftActorCriticConfig,
    SoftActorCriticHyperparameters,
    SoftActorCriticTorchLearner,
)
from lad_rllib.algorithms.soft_actor_critic.networks import SoftActorCriticNetworks

__all__ = [
    "PRESETS",
    "SoftActorCritic",
    "SoftActorCriticConfig",
    "SoftActorCriticHyperparameters",
    "SoftActorCriticNetworks",
    "SoftActorCriticTorchLearner",
]

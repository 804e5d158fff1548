"""Soft actor-critic that LAD-TS, D2SAC-TS and SAC-TS share: networks, losses, one update of all stations.

Names load their module when they are first used: what an algorithm declares is read without RLlib and torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lad_rllib.late import late_names

if TYPE_CHECKING:
    from lad_rllib.algorithms.soft_actor_critic.algorithm import (
        SoftActorCritic,
        SoftActorCriticConfig,
        SoftActorCriticTorchLearner,
    )
    from lad_rllib.algorithms.soft_actor_critic.hyperparameters import PRESETS, SoftActorCriticHyperparameters
    from lad_rllib.algorithms.soft_actor_critic.networks import SoftActorCriticNetworks

__all__ = [
    "PRESETS",
    "SoftActorCritic",
    "SoftActorCriticConfig",
    "SoftActorCriticHyperparameters",
    "SoftActorCriticNetworks",
    "SoftActorCriticTorchLearner",
]

__getattr__ = late_names(
    __name__,
    {
        "algorithm": "SoftActorCritic SoftActorCriticConfig SoftActorCriticTorchLearner",
        "hyperparameters": "PRESETS SoftActorCriticHyperparameters",
        "networks": "SoftActorCriticNetworks",
    },
)

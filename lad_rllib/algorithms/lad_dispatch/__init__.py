"""LAD-Dispatch: latent action diffusion, policy mirror descent on exact marginal costs, request by request.

Names load their module when they are first used: a trained policy decides without RLlib and torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lad_rllib.late import late_names

if TYPE_CHECKING:
    from lad_rllib.algorithms.lad_dispatch.algorithm import LADDispatch, LADDispatchConfig
    from lad_rllib.algorithms.lad_dispatch.hyperparameters import LADDispatchHyperparameters
    from lad_rllib.algorithms.lad_dispatch.learner import LADDispatchTorchLearner
    from lad_rllib.algorithms.lad_dispatch.policy import DispatchPolicy, load_request_scheduler
    from lad_rllib.algorithms.lad_dispatch.rl_module import DispatchNetworks, LADDispatchTorchRLModule

__all__ = [
    "DispatchNetworks",
    "DispatchPolicy",
    "LADDispatch",
    "LADDispatchConfig",
    "LADDispatchHyperparameters",
    "LADDispatchTorchLearner",
    "LADDispatchTorchRLModule",
    "load_request_scheduler",
]

__getattr__ = late_names(
    __name__,
    {
        "algorithm": "LADDispatch LADDispatchConfig",
        "hyperparameters": "LADDispatchHyperparameters",
        "learner": "LADDispatchTorchLearner",
        "policy": "DispatchPolicy load_request_scheduler",
        "rl_module": "DispatchNetworks LADDispatchTorchRLModule",
    },
)

"""LAD-Dispatch: latent action diffusion, policy mirror descent on exact marginal costs, request by request."""

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

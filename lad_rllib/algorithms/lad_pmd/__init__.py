"""LAD-PMD: latent action diffusion, policy mirror descent on exact marginal costs. See README.md beside this file."""

from lad_rllib.algorithms.lad_pmd.algorithm import (
    LADPMD,
    LADPMDConfig,
    LADPMDHyperparameters,
    LADPMDTorchRLModule,
)
from lad_rllib.algorithms.lad_pmd.env_runner import LADPMDEnvRunner
from lad_rllib.algorithms.lad_pmd.learner import LADPMDTorchLearner
from lad_rllib.algorithms.lad_pmd.networks import LADPMDNetworks

__all__ = [
    "LADPMD",
    "LADPMDConfig",
    "LADPMDEnvRunner",
    "LADPMDHyperparameters",
    "LADPMDNetworks",
    "LADPMDTorchLearner",
    "LADPMDTorchRLModule",
]

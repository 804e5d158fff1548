"""LAD-PMD: latent action diffusion, policy mirror descent on exact marginal costs. See README.md beside this file.

Names load their module when they are first used: what an algorithm declares is read without RLlib and torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lad_rllib.late import late_names

if TYPE_CHECKING:
    from lad_rllib.algorithms.lad_pmd.algorithm import LADPMD, LADPMDConfig, LADPMDTorchRLModule
    from lad_rllib.algorithms.lad_pmd.env_runner import LADPMDEnvRunner
    from lad_rllib.algorithms.lad_pmd.hyperparameters import LADPMDHyperparameters
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

__getattr__ = late_names(
    __name__,
    {
        "algorithm": "LADPMD LADPMDConfig LADPMDTorchRLModule",
        "env_runner": "LADPMDEnvRunner",
        "hyperparameters": "LADPMDHyperparameters",
        "learner": "LADPMDTorchLearner",
        "networks": "LADPMDNetworks",
    },
)

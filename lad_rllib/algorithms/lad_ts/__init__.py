"""LAD-TS: latent action diffusion task scheduling (arXiv 2412.18212). See README.md beside this file.

Names load their module when they are first used: what an algorithm declares is read without RLlib and torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lad_rllib.late import late_names

if TYPE_CHECKING:
    from lad_rllib.algorithms.lad_ts.algorithm import LADTS, LADTSConfig, LADTSTorchLearner, LADTSTorchRLModule
    from lad_rllib.algorithms.lad_ts.hyperparameters import PRESETS, LADTSHyperparameters
    from lad_rllib.algorithms.lad_ts.networks import LADTSNetworks

__all__ = [
    "LADTS",
    "PRESETS",
    "LADTSConfig",
    "LADTSHyperparameters",
    "LADTSNetworks",
    "LADTSTorchLearner",
    "LADTSTorchRLModule",
]

__getattr__ = late_names(
    __name__,
    {
        "algorithm": "LADTS LADTSConfig LADTSTorchLearner LADTSTorchRLModule",
        "hyperparameters": "PRESETS LADTSHyperparameters",
        "networks": "LADTSNetworks",
    },
)

"""LAD-TS: latent action diffusion task scheduling (arXiv 2412.18212). See README.md beside this file."""

from lad_rllib.algorithms.lad_ts.algorithm import (
    LADTS,
    PRESETS,
    LADTSConfig,
    LADTSHyperparameters,
    LADTSTorchLearner,
    LADTSTorchRLModule,
)
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

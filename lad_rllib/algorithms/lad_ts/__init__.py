"""LAD-TS: latent action diffusion task scheduling (arXiv 2412.18212). See README.md beside this file."""

from lad_rllib.algorithms.common.algorithm import LADTS
from lad_rllib.algorithms.common.config import LADTSConfig
from lad_rllib.algorithms.common.learner import LADTSTorchLearner
from lad_rllib.algorithms.common.rl_module import LADTSTorchRLModule

__all__ = ["LADTS", "LADTSConfig", "LADTSTorchLearner", "LADTSTorchRLModule"]

"""LAD-TS: latent action diffusion task scheduling (arXiv 2412.18212). See README.md beside this file."""

from lad_rllib.algorithms.common.rl_module import LADTSTorchRLModule
from lad_rllib.algorithms.lad_ts.algorithm import LADTS
from lad_rllib.algorithms.lad_ts.config import LADTSConfig
from lad_rllib.algorithms.lad_ts.learner import LADTSTorchLearner

__all__ = ["LADTS", "LADTSConfig", "LADTSTorchLearner", "LADTSTorchRLModule"]

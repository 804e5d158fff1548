"""DQN-TS: deep Q-learning, a learned baseline of arXiv 2412.18212."""

from lad_rllib.algorithms.dqn_ts.algorithm import (
    DQNTS,
    DQNTSConfig,
    DQNTSHyperparameters,
    DQNTSTorchLearner,
    DQNTSTorchRLModule,
)

__all__ = ["DQNTS", "DQNTSConfig", "DQNTSHyperparameters", "DQNTSTorchLearner", "DQNTSTorchRLModule"]

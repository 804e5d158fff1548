"""DQN-TS: deep Q-learning, a learned baseline of arXiv 2412.18212.

Names load their module when they are first used: what an algorithm declares is read without RLlib and torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lad_rllib.late import late_names

if TYPE_CHECKING:
    from lad_rllib.algorithms.dqn_ts.algorithm import DQNTS, DQNTSConfig, DQNTSTorchLearner, DQNTSTorchRLModule
    from lad_rllib.algorithms.dqn_ts.hyperparameters import DQNTSHyperparameters

__all__ = [
    "DQNTS",
    "DQNTSConfig",
    "DQNTSHyperparameters",
    "DQNTSTorchLearner",
    "DQNTSTorchRLModule",
]

__getattr__ = late_names(
    __name__,
    {
        "algorithm": "DQNTS DQNTSConfig DQNTSTorchLearner DQNTSTorchRLModule",
        "hyperparameters": "DQNTSHyperparameters",
    },
)

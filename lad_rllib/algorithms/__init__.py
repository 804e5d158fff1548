"""RLlib algorithms that learn offloading decisions."""

from lad_rllib.algorithms.lad_ts import LADTS, LADTSConfig, LADTSTorchLearner, LADTSTorchRLModule

__all__ = ["LADTS", "LADTSConfig", "LADTSTorchLearner", "LADTSTorchRLModule"]

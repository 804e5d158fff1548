"""RLlib algorithms that learn offloading decisions: LAD-TS and the learned baselines of its paper."""

from lad_rllib.algorithms.d2sac_ts import D2SACTS, D2SACTSConfig
from lad_rllib.algorithms.dqn_ts import DQNTS, DQNTSConfig
from lad_rllib.algorithms.lad_ts import LADTS, LADTSConfig, LADTSTorchLearner, LADTSTorchRLModule
from lad_rllib.algorithms.sac_ts import SACTS, SACTSConfig

CONFIGS: dict[str, type[LADTSConfig]] = {
    "lad-ts": LADTSConfig,
    "d2sac-ts": D2SACTSConfig,
    "sac-ts": SACTSConfig,
    "dqn-ts": DQNTSConfig,
}
"""Configuration of each algorithm by its name on the command line (``lad_rllib.names.ALGORITHMS``)."""

__all__ = [
    "CONFIGS",
    "D2SACTS",
    "DQNTS",
    "LADTS",
    "SACTS",
    "D2SACTSConfig",
    "DQNTSConfig",
    "LADTSConfig",
    "LADTSTorchLearner",
    "LADTSTorchRLModule",
    "SACTSConfig",
]

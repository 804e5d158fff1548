"""RLlib algorithms that learn offloading decisions: siblings on one base, each in a folder of its own."""

from lad_rllib.algorithms.d2sac_ts import D2SACTS, D2SACTSConfig
from lad_rllib.algorithms.dqn_ts import DQNTS, DQNTSConfig
from lad_rllib.algorithms.lad_pmd import LADPMD, LADPMDConfig
from lad_rllib.algorithms.lad_ts import LADTS, LADTSConfig
from lad_rllib.algorithms.registry import CONFIGS
from lad_rllib.algorithms.sac_ts import SACTS, SACTSConfig

__all__ = [
    "CONFIGS",
    "D2SACTS",
    "DQNTS",
    "LADPMD",
    "LADTS",
    "SACTS",
    "D2SACTSConfig",
    "DQNTSConfig",
    "LADPMDConfig",
    "LADTSConfig",
    "SACTSConfig",
]

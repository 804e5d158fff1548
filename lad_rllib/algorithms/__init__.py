"""RLlib algorithms that learn offloading decisions: siblings on one base, each in a folder of its own.

Names load their module when they are first used: a trained policy decides without RLlib.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lad_rllib.late import late_names

if TYPE_CHECKING:
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

__getattr__ = late_names(
    __name__,
    {
        "d2sac_ts": "D2SACTS D2SACTSConfig",
        "dqn_ts": "DQNTS DQNTSConfig",
        "lad_pmd": "LADPMD LADPMDConfig",
        "lad_ts": "LADTS LADTSConfig",
        "registry": "CONFIGS",
        "sac_ts": "SACTS SACTSConfig",
    },
)

"""Algorithms by their names on the command line and in policy files; other packages can add their own."""

from __future__ import annotations

from lad_rllib.algorithms.common.base_config import SchedulingConfig
from lad_rllib.plugins import Registry

CONFIGS: Registry[type[SchedulingConfig]] = Registry(
    "algorithm",
    "lad_rllib.algorithms",
    own={
        "lad-ts": "lad_rllib.algorithms.lad_ts:LADTSConfig",
        "lad-pmd": "lad_rllib.algorithms.lad_pmd:LADPMDConfig",
        "lad-dispatch": "lad_rllib.algorithms.lad_dispatch:LADDispatchConfig",
        "d2sac-ts": "lad_rllib.algorithms.d2sac_ts:D2SACTSConfig",
        "sac-ts": "lad_rllib.algorithms.sac_ts:SACTSConfig",
        "dqn-ts": "lad_rllib.algorithms.dqn_ts:DQNTSConfig",
    },
    base=SchedulingConfig,
)
"""Configuration class of each algorithm, imported when it is asked for; its ``name`` is the name here."""

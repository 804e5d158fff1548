"""D2SAC-TS: LAD-TS whose diffusion starts from fresh Gaussian noise instead of a latent action.

A learned baseline of arXiv 2412.18212 after D2SAC (arXiv 2303.13052). Everything else is that of LAD-TS, settings
included, so that the difference in delay is what the latent action is worth. Two passes of an update, over the next
states and over the states, start from noise of their own, too; nothing is replayed.
"""

from __future__ import annotations

from lad_rllib.algorithms.common.algorithm import LADTS
from lad_rllib.algorithms.common.config import OBJECTIVE_SETTINGS, LADTSConfig


class D2SACTSConfig(LADTSConfig):
    """Configures :class:`D2SACTS`: :class:`LADTSConfig` with ``latent_start="noise"``.

    Without a latent action, ``latent_index``, ``latent_content`` and ``replay_latent`` mean nothing and are refused.
    """

    title = "D2SAC-TS"
    without = OBJECTIVE_SETTINGS | {"latent_index", "latent_content", "replay_latent"}

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or D2SACTS)
        self.latent_start = "noise"


class D2SACTS(LADTS):
    """Learns where to send each task with a diffusion actor that starts from Gaussian noise."""

    @classmethod
    def get_default_config(cls) -> D2SACTSConfig:
        """The settings of LAD-TS."""
        return D2SACTSConfig(algo_class=cls)

"""Several settings to learn on at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import numpy as np

from lad_rllib.simulator.requests.setting import RequestSetting


class SettingsInTurn:
    """Episodes of several settings in turn, for one policy of all of them.

    Args:
        settings: The settings.
        episodes: Episodes of each before it is the next one's turn.
    """

    def __init__(self, settings: Sequence[RequestSetting], episodes: int = 1) -> None:
        self._turn = cycle([setting for setting in settings for _ in range(episodes)])

    def of_episode(self, rng: np.random.Generator) -> RequestSetting:  # noqa: ARG002
        """The setting of an episode."""
        return next(self._turn)

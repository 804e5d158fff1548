"""Loss of a request by its delay, with a bound that may be another one for each episode."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lad_rllib.algorithms.common.task_loss import TaskLoss
from lad_rllib.scheduling.request_rules.loaded import LeastWorkLeft
from lad_rllib.simulator.requests import Requests
from lad_rllib.simulator.requests.play import play_rule

if TYPE_CHECKING:
    from lad_rllib.algorithms.lad_dispatch.hyperparameters import LADDispatchHyperparameters
    from lad_rllib.algorithms.lad_dispatch.training import EpisodeSource
    from lad_rllib.simulator.requests.world import Timing


class EpisodeLoss(TaskLoss):
    """A :class:`TaskLoss` whose bound may be a share of what least work left has on the same requests.

    Episodes differ in how hard they are. With a bound of their own all of them tell whether the policy keeps to it,
    where a bound in seconds is met by every policy on easy ones and by none on hard ones.

    Args:
        settings: Which loss.
    """

    def __init__(self, settings: LADDispatchHyperparameters) -> None:
        super().__init__(settings)
        self._ratio = settings.percentile_bound_ratio

    def bound_s(self, source: EpisodeSource, requests: Requests, timing: Timing | None = None) -> float | None:
        """The bound of an episode [s]; None: it has none of its own.

        Args:
            source: Where the episode comes from.
            requests: Its requests.
            timing: Their times on the servers, if they are known already.
        """
        percentile = self._settings.bounded_percentile
        if self._ratio is None or percentile is None:
            return None
        rule = LeastWorkLeft().rule(source.world, requests)  # which looks at no past; to draw one would take longer
        delay_s = play_rule(rule, source.world, requests, np.random.default_rng(0), timing).delay_s
        return float(self._ratio * np.percentile(delay_s, percentile))

"""Per-task loss of a delay: mirror descent learns from the marginal costs of its sum."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib.algorithms.common.hyperparameters import TaskLossHyperparameters

FIRST_STRENGTH = 1.0
MIN_STRENGTH, MAX_STRENGTH = 0.05, 1000.0
MAX_RISE = 4.0


class TaskLoss:
    """Loss of a task by its delay: fixed, or one that holds a percentile of the delays below a bound.

    With a bound, the loss is ``d + strength * max(d - bound, 0)``. After each episode the strength is multiplied by
    ``exp(bound_gain * (above / allowed - 1))``, by :data:`MAX_RISE` at most: ``above`` is the share of delays above the
    bound, ``allowed`` that of the percentile, 0.01 for the 99th. It grows while more are above than may be, and falls
    while fewer are. That is dual ascent on the logarithm of the multiplier, the integral term of a PID Lagrangian
    method (arXiv 2007.03964): it needs no unit, and gets as fast from 1 to 10 as from 10 to 100. Shares, unlike
    percentiles, add up over episodes, so that one burst counts as much as the quiet episodes around it. The limit is
    for the first episodes.

    Args:
        settings: Which loss.
    """

    def __init__(self, settings: TaskLossHyperparameters) -> None:
        self._settings = settings
        self.strength = FIRST_STRENGTH

    @property
    def penalty(self) -> dict[str, Any] | None:
        """The loss now, as ``make_penalty`` takes it; None: the delay."""
        if self._settings.bounded_percentile is None:
            return self._settings.penalty
        return {"name": "tail", "threshold_s": self._settings.percentile_bound_s, "strength": self.strength}

    def observe(self, delays_s: NDArray[np.floating[Any]]) -> None:
        """Take the delays of an episode's tasks into account [s], shape (K,)."""
        percentile, bound_s = self._settings.bounded_percentile, self._settings.percentile_bound_s
        if percentile is None or bound_s is None or not len(delays_s):
            return
        above, allowed = float(np.mean(delays_s > bound_s)), 1.0 - percentile / 100.0
        rise = self._settings.bound_gain * (above / allowed - 1.0)
        self.strength *= math.exp(min(rise, math.log(MAX_RISE)))
        self.strength = min(max(self.strength, MIN_STRENGTH), MAX_STRENGTH)

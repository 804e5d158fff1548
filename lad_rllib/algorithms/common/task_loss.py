"""Per-task loss of a delay: mirror descent learns from the marginal costs of its sum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib.algorithms.common.hyperparameters import TaskLossHyperparameters

MIN_STRENGTH, MAX_STRENGTH = 0.05, 1000.0
PROPORTION = 2.5
"""Proportional gain over the integral one."""
MEMORY = 0.6
"""Weight of the episodes before in the share of delays above the bound."""


class TaskLoss:
    """Loss of a task by its delay: fixed, or one that holds a percentile of the delays below a bound.

    With a bound, the loss is ``d + strength * max(d - bound, 0)``. A PI controller sets the logarithm of the strength
    (a PID Lagrangian method, arXiv 2007.03964). Its error is ``above / allowed - 1``, 1 at most: ``above`` is the share
    of delays above the bound, a moving mean over episodes, ``allowed`` that of the percentile, 0.01 for the 99th. The
    integral grows by ``bound_gain * error`` with each episode. The proportional term, ``PROPORTION * bound_gain *
    error``, keeps the strength from going far beyond what is needed while the policy still follows. The logarithm needs
    no unit, and gets as fast from 1 to 10 as from 10 to 100. Shares, unlike percentiles, add up over episodes, so that
    one burst counts as much as the quiet episodes around it.

    Args:
        settings: Which loss.

    Attributes:
        strength: Strength of the bound.
    """

    def __init__(self, settings: TaskLossHyperparameters) -> None:
        self._settings = settings
        self._integral, self.strength = 0.0, 1.0
        self._above: float | None = None

    def penalty(self, bound_s: float | None = None) -> dict[str, Any] | None:
        """The loss now, as ``make_penalty`` takes it; None: the delay.

        Args:
            bound_s: The bound of an episode of its own [s]; None: that of the settings.
        """
        if self._settings.bounded_percentile is None:
            return self._settings.penalty
        threshold_s = self._settings.percentile_bound_s if bound_s is None else bound_s
        return {"name": "tail", "threshold_s": threshold_s, "strength": self.strength}

    def observe(self, delays_s: NDArray[np.floating[Any]], bound_s: float | None = None) -> None:
        """Take the delays of an episode's tasks into account [s], shape (K,), with the bound as in :meth:`penalty`."""
        percentile = self._settings.bounded_percentile
        bound_s = self._settings.percentile_bound_s if bound_s is None else bound_s
        if percentile is None or bound_s is None or not len(delays_s):
            return
        above, allowed = float(np.mean(delays_s > bound_s)), 1.0 - percentile / 100.0
        self._above = above if self._above is None else MEMORY * self._above + (1.0 - MEMORY) * above
        step = self._settings.bound_gain * min(self._above / allowed - 1.0, 1.0)
        self._integral = _limited(self._integral + step)
        self.strength = math.exp(_limited(self._integral + PROPORTION * step))

    def get_state(self) -> dict[str, float | None]:
        """What going on needs."""
        return {"strength": self.strength, "integral": self._integral, "above": self._above}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`get_state`."""
        self.strength, self._integral, self._above = state["strength"], state["integral"], state["above"]


def _limited(log_strength: float) -> float:
    return min(max(log_strength, math.log(MIN_STRENGTH)), math.log(MAX_STRENGTH))

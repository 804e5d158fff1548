"""Per-task loss of a delay: mirror descent learns from the marginal costs of its sum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib.declared import shown
from lad_rllib.errors import ConfigurationError

FIRST_STRENGTH = 1.0
MIN_STRENGTH, MAX_STRENGTH = 0.05, 100.0
MAX_CHANGE = 1.1


class TaskLoss:
    """Loss of a task by its delay: fixed, or one that holds a percentile of the delays below a bound.

    With a bound, the loss is ``d + strength * max(d - bound, 0)``. After each episode the strength is multiplied by
    ``(percentile / bound) ** gain``, by 10 % at most: it grows while the percentile is above the bound,
    and falls while it is below (dual ascent on the logarithm of the multiplier), more slowly than policies learn.

    Args:
        penalty: Name and fields of a fixed loss, as the environment's ``marginal_costs`` takes them; None: the delay.
        percentile: Percentile to bound, in (0, 100); None for no bound.
        bound_s: The bound [s].
        gain: Exponent of the strength's change.
    """

    def __init__(
        self,
        penalty: Mapping[str, Any] | None = None,
        percentile: float | None = None,
        bound_s: float | None = None,
        gain: float = 1.0,
    ) -> None:
        self._fixed = dict(penalty) if penalty else None
        self._percentile, self._bound_s, self._gain = percentile, bound_s, gain
        self.strength = FIRST_STRENGTH

    @property
    def penalty(self) -> dict[str, Any] | None:
        """The loss now."""
        if self._percentile is None:
            return self._fixed
        return {"name": "tail", "threshold_s": self._bound_s, "strength": self.strength}

    def observe(self, delays_s: NDArray[np.floating[Any]]) -> None:
        """Take the delays of an episode's tasks into account [s], shape (K,)."""
        if self._percentile is None or not len(delays_s):
            return
        assert self._bound_s is not None
        factor = (float(np.percentile(delays_s, self._percentile)) / self._bound_s) ** self._gain
        self.strength *= min(max(factor, 1 / MAX_CHANGE), MAX_CHANGE)
        self.strength = min(max(self.strength, MIN_STRENGTH), MAX_STRENGTH)


def check_task_loss(penalty: Any, percentile: float | None, bound_s: float | None) -> None:
    """Refuse what cannot be a loss.

    Raises:
        ConfigurationError: says what to give instead.
    """
    named = isinstance(penalty, Mapping) and "name" in penalty and all(isinstance(key, str) for key in penalty)
    if penalty is not None and not named:
        raise ConfigurationError(
            f"penalty must be a mapping with a name, or None for the delay itself, got {shown(penalty)}"
        )
    if (percentile is None) != (bound_s is None):
        raise ConfigurationError("give bounded_percentile and percentile_bound_s together, or neither")
    if percentile is not None and penalty is not None:
        raise ConfigurationError("bounded_percentile makes a penalty of its own; leave penalty out")

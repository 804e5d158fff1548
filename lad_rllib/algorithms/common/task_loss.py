"""What a task's delay is worth when the objective is the system's: the loss whose marginal costs are learned from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib.declared import shown
from lad_rllib.errors import ConfigurationError

FIRST_STRENGTH = 1.0
LEAST_STRENGTH, GREATEST_STRENGTH = 0.05, 100.0
MOST_CHANGE = 1.1


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
        self.strength *= min(max(factor, 1 / MOST_CHANGE), MOST_CHANGE)
        self.strength = min(max(self.strength, LEAST_STRENGTH), GREATEST_STRENGTH)


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
    if percentile is None or bound_s is None:
        return
    if penalty is not None:
        raise ConfigurationError("bounded_percentile makes a penalty of its own; leave penalty out")
    for name, value in (("bounded_percentile", percentile), ("percentile_bound_s", bound_s)):
        if not is_number(value):
            raise ConfigurationError(f"{name} must be a number, got {value!r}")
    if not 0 < percentile < 100:
        raise ConfigurationError(f"bounded_percentile must be between 0 and 100, got {percentile}")
    if not bound_s > 0:
        raise ConfigurationError(f"percentile_bound_s must be positive, got {bound_s}")


def is_number(value: Any) -> bool:
    """Whether a setting is a number."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)

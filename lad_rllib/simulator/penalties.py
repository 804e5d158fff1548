"""What a long service delay is worth: the loss of one task, whose sum over the tasks a scheduler shall make small.

A loss is any object with ``value(delay_s)`` and ``slope(delay_s)``, its derivative; arrays in, arrays out, both in the
unit of the loss (seconds for the ones here, seconds per second for the slope). None stands for the mean delay.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lad_rllib.declared import shown
from lad_rllib.errors import ConfigurationError

FloatArray = NDArray[np.float64]


@runtime_checkable
class DelayPenalty(Protocol):
    """Loss of one task as a function of its service delay."""

    def value(self, delay_s: ArrayLike) -> FloatArray:
        """Loss at each delay, same shape."""
        ...

    def slope(self, delay_s: ArrayLike) -> FloatArray:
        """Derivative of the loss at each delay, same shape; from the right where there is a corner."""
        ...


@dataclass(frozen=True)
class MeanDelay:
    """The delay itself: the objective of arXiv 2412.18212.

    >>> MeanDelay().value([1.0, 3.0]).tolist(), MeanDelay().slope([1.0, 3.0]).tolist()
    ([1.0, 3.0], [1.0, 1.0])
    """

    def value(self, delay_s: ArrayLike) -> FloatArray:
        """See :class:`DelayPenalty`."""
        return np.asarray(delay_s, dtype=np.float64)

    def slope(self, delay_s: ArrayLike) -> FloatArray:
        """See :class:`DelayPenalty`."""
        return np.ones_like(delay_s, dtype=np.float64)


@dataclass(frozen=True)
class Tail:
    """The delay, and what exceeds a threshold once more ``strength`` times: ``d + strength * max(d - threshold, 0)``.

    Attributes:
        threshold_s: Delay above which a task counts more [s].
        strength: How much more each second above it counts.

    >>> Tail(threshold_s=2.0, strength=3.0).value([1.0, 4.0]).tolist()
    [1.0, 10.0]
    """

    threshold_s: float
    strength: float = 1.0

    def __post_init__(self) -> None:
        _check(self, "threshold_s", least=0.0)
        _check(self, "strength", least=0.0)

    def value(self, delay_s: ArrayLike) -> FloatArray:
        """See :class:`DelayPenalty`."""
        delay = np.asarray(delay_s, dtype=np.float64)
        return delay + self.strength * np.maximum(delay - self.threshold_s, 0.0)

    def slope(self, delay_s: ArrayLike) -> FloatArray:
        """See :class:`DelayPenalty`."""
        return np.where(np.asarray(delay_s) >= self.threshold_s, 1.0 + self.strength, 1.0)


@dataclass(frozen=True)
class Lateness:
    """How long after its deadline a task is served: ``max(d - deadline, 0)``, the hinge above the missed deadline.

    A convex stand-in for the number of missed deadlines, with a slope for every late task. A task on time costs
    nothing, so nothing says how early it should be; :class:`Tail` does.

    Attributes:
        deadline_s: Longest service delay that is on time [s].

    >>> Lateness(deadline_s=2.0).value([1.0, 5.0]).tolist()
    [0.0, 3.0]
    """

    deadline_s: float

    def __post_init__(self) -> None:
        _check(self, "deadline_s", least=0.0)

    def value(self, delay_s: ArrayLike) -> FloatArray:
        """See :class:`DelayPenalty`."""
        return np.maximum(np.asarray(delay_s, dtype=np.float64) - self.deadline_s, 0.0)

    def slope(self, delay_s: ArrayLike) -> FloatArray:
        """See :class:`DelayPenalty`."""
        return np.where(np.asarray(delay_s) >= self.deadline_s, 1.0, 0.0)


@dataclass(frozen=True)
class DeadlineMiss:
    """Missed deadlines counted smoothly: ``1 / (1 + exp(-(d - deadline) / width))``, from 0 (early) to 1 (late).

    The smaller the width, the closer to the true count, and the less a task far from its deadline has a slope: one that
    is hopelessly late is given up for those that can still be on time.

    Attributes:
        deadline_s: Longest service delay that is on time [s].
        width_s: Delay over which a miss builds up [s].

    >>> DeadlineMiss(deadline_s=2.0, width_s=0.1).value([0.0, 2.0, 4.0]).round(6).tolist()
    [0.0, 0.5, 1.0]
    """

    deadline_s: float
    width_s: float = 0.5

    def __post_init__(self) -> None:
        _check(self, "deadline_s", least=0.0)
        _check(self, "width_s", above=0.0)

    def value(self, delay_s: ArrayLike) -> FloatArray:
        """See :class:`DelayPenalty`; in tasks."""
        lateness_s = np.asarray(delay_s, dtype=np.float64) - self.deadline_s
        return 0.5 * (1.0 + np.tanh(lateness_s / (2.0 * self.width_s)))

    def slope(self, delay_s: ArrayLike) -> FloatArray:
        """See :class:`DelayPenalty`; in tasks per second."""
        missed = self.value(delay_s)
        return missed * (1.0 - missed) / self.width_s


PENALTIES: dict[str, type] = {"mean": MeanDelay, "tail": Tail, "lateness": Lateness, "deadline-miss": DeadlineMiss}
"""Name of every loss and its class."""


def make_penalty(name: str, **values: float) -> DelayPenalty:
    """Build a loss by its name and its fields.

    Raises:
        ConfigurationError: for an unknown name or field, a missing one, or a value that cannot be used.

    >>> make_penalty("tail", threshold_s=10.0, strength=2.0)
    Tail(threshold_s=10.0, strength=2.0)
    """
    if not isinstance(name, str) or name not in PENALTIES:
        raise ConfigurationError(f"unknown penalty {shown(name)}; choose from {', '.join(PENALTIES)}")
    known = {field.name: field.default is MISSING for field in fields(PENALTIES[name])}
    unknown = [key for key in values if key not in known]
    missing = [key for key, is_needed in known.items() if is_needed and key not in values]
    if unknown or missing:
        fault = f"has no field {shown(unknown[0])}" if unknown else f"needs {missing[0]}"
        raise ConfigurationError(f"penalty {name!r} {fault}; its fields: {', '.join(known) or 'none'}")
    return PENALTIES[name](**values)


def _check(penalty: object, name: str, least: float = -np.inf, above: float = -np.inf) -> None:
    value = getattr(penalty, name)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and -np.inf < value < np.inf
    if not is_number or value < least or value <= above:
        bound = f"at least {least:g}" if above == -np.inf else f"above {above:g}"
        raise ConfigurationError(f"{name} of {type(penalty).__name__} must be a number {bound}, got {shown(value)}")

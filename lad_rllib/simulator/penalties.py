"""What a long service delay is worth: the loss of one task, whose sum over the tasks a scheduler shall make small.

A loss is any object with ``value(delay_s)`` and ``slope(delay_s)``, its derivative; arrays in, arrays out, both in the
unit of the loss (seconds for the ones here, seconds per second for the slope). None stands for the mean delay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

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

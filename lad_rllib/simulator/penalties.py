"""Loss of one task by its service delay; schedulers minimise the sum over all tasks.

A loss is chosen by its name in :data:`PENALTIES` and has fields of its own. Another package adds one by subclassing
:class:`DelayPenalty` and naming the class in its entry-point group ``lad_rllib.penalties``.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from lad_rllib.declared import Declared, declared, shown
from lad_rllib.errors import ConfigurationError
from lad_rllib.plugins import Registry

FloatArray = NDArray[np.float64]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


class DelayPenalty(Declared):
    """Loss of one task as a function of its service delay, with its settings as fields."""

    @abstractmethod
    def value(self, delay_s: ArrayLike) -> FloatArray:
        """Loss at each delay, same shape [s, unless the loss says otherwise]."""

    @abstractmethod
    def slope(self, delay_s: ArrayLike) -> FloatArray:
        """Derivative of the loss at each delay, same shape; from the right where there is a corner."""

    @property
    def hinge(self) -> tuple[float, float, float] | None:
        """``a, b, c`` of a loss ``a * delay + b * max(delay - c, 0)``, which compiled code computes; None: another."""
        return None


PENALTIES: Registry[type[DelayPenalty]] = Registry("penalty", "lad_rllib.penalties", base=DelayPenalty)
"""Name of every loss and its class."""


@PENALTIES.register("mean")
class MeanDelay(DelayPenalty):
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

    @property
    def hinge(self) -> tuple[float, float, float]:
        """See :class:`DelayPenalty`."""
        return 1.0, 0.0, 0.0


@PENALTIES.register("tail")
class Tail(DelayPenalty):
    """The delay plus a multiple of what exceeds a threshold: ``d + strength * max(d - threshold, 0)``.

    >>> Tail(threshold_s=2.0, strength=3.0).value([1.0, 4.0]).tolist()
    [1.0, 10.0]
    """

    threshold_s: NotNegative
    """Delay above which a task counts more [s]."""
    strength: NotNegative = 1.0
    """How much more each second above it counts."""

    def value(self, delay_s: ArrayLike) -> FloatArray:
        """See :class:`DelayPenalty`."""
        delay = np.asarray(delay_s, dtype=np.float64)
        return delay + self.strength * np.maximum(delay - self.threshold_s, 0.0)

    def slope(self, delay_s: ArrayLike) -> FloatArray:
        """See :class:`DelayPenalty`."""
        return np.where(np.asarray(delay_s) >= self.threshold_s, 1.0 + self.strength, 1.0)

    @property
    def hinge(self) -> tuple[float, float, float]:
        """See :class:`DelayPenalty`."""
        return 1.0, self.strength, self.threshold_s


@PENALTIES.register("lateness")
class Lateness(DelayPenalty):
    """How long after its deadline a task is served: ``max(d - deadline, 0)``, the hinge above the missed deadline.

    A convex stand-in for the number of missed deadlines, with a slope for every late task. A task on time costs
    nothing, so nothing says how early it should be; :class:`Tail` does.

    >>> Lateness(deadline_s=2.0).value([1.0, 5.0]).tolist()
    [0.0, 3.0]
    """

    deadline_s: NotNegative
    """Longest service delay that is on time [s]."""

    def value(self, delay_s: ArrayLike) -> FloatArray:
        """See :class:`DelayPenalty`."""
        return np.maximum(np.asarray(delay_s, dtype=np.float64) - self.deadline_s, 0.0)

    def slope(self, delay_s: ArrayLike) -> FloatArray:
        """See :class:`DelayPenalty`."""
        return np.where(np.asarray(delay_s) >= self.deadline_s, 1.0, 0.0)

    @property
    def hinge(self) -> tuple[float, float, float]:
        """See :class:`DelayPenalty`."""
        return 0.0, 1.0, self.deadline_s


@PENALTIES.register("deadline-miss")
class DeadlineMiss(DelayPenalty):
    """Missed deadlines counted smoothly: ``1 / (1 + exp(-(d - deadline) / width))``, from 0 (early) to 1 (late).

    The smaller the width, the closer to the true count, and the smaller the slope of a task far from its deadline: a
    hopelessly late task is given up for those that can still be on time.

    >>> DeadlineMiss(deadline_s=2.0, width_s=0.1).value([0.0, 2.0, 4.0]).round(6).tolist()
    [0.0, 0.5, 1.0]
    """

    deadline_s: NotNegative
    """Longest service delay that is on time [s]."""
    width_s: Positive = 0.5
    """Delay over which a miss builds up [s]."""

    def value(self, delay_s: ArrayLike) -> FloatArray:
        """See :class:`DelayPenalty`; in tasks."""
        lateness_s = np.asarray(delay_s, dtype=np.float64) - self.deadline_s
        return 0.5 * (1.0 + np.tanh(lateness_s / (2.0 * self.width_s)))

    def slope(self, delay_s: ArrayLike) -> FloatArray:
        """See :class:`DelayPenalty`; in tasks per second."""
        missed = self.value(delay_s)
        return missed * (1.0 - missed) / self.width_s


def make_penalty(name: str, **values: Any) -> DelayPenalty:
    """Build a loss by its name and its fields.

    Raises:
        ConfigurationError: for an unknown name or field, a missing one, or a value that cannot be used.

    >>> make_penalty("tail", threshold_s=10.0, strength=2.0)
    Tail(threshold_s=10.0, strength=2.0)
    """
    return declared(PENALTIES[name], values, "penalty.")


def parse_penalty(text: str) -> dict[str, Any]:
    """Name and fields of a loss from ``name`` or ``name:field=number,field=number``, as a command line has them.

    Raises:
        ConfigurationError: as :func:`make_penalty`, and for a text of another form.

    >>> parse_penalty("tail:threshold_s=10,strength=0.5")
    {'name': 'tail', 'threshold_s': 10, 'strength': 0.5}
    """
    name, _, fields = text.partition(":")
    pairs = [pair.partition("=") for pair in fields.split(",") if pair]
    try:
        values = {key: int(value) if value.isdigit() else float(value) for key, _, value in pairs}
    except ValueError:
        raise ConfigurationError(f"penalty must be name or name:field=number,..., got {shown(text)}") from None
    make_penalty(name, **values)
    return {"name": name, **values}

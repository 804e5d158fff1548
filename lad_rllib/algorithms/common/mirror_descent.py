"""Policy mirror descent on costs: size of a step, mean of the actors, and advantages in units of the mean cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]


@dataclass
class ImprovementSchedule:
    """Step size of mirror descent over the policy's mean cost, and the share of each actor in the mean actor.

    The step size falls geometrically, then stays. The mean of all actors is weighted with about ``iteration **
    exponent``: that of the last 1 / (1 + exponent) of them, roughly (polynomial-decay averaging, arXiv 1212.1824).

    Attributes:
        first: Step size of the first iteration.
        last: Step size from iteration ``iterations`` on.
        iterations: Iterations over which it falls.
        exponent: Exponent of the mean's weights; None takes the last actor alone.
        iteration: Iterations so far.

    >>> [round(ImprovementSchedule(2.0, 0.02, 2, None, k).step_size, 3) for k in range(4)]
    [2.0, 0.2, 0.02, 0.02]
    >>> [ImprovementSchedule(2.0, 0.02, 2, 1.0, k).averaging_share for k in (0, 2)]
    [1.0, 0.5]
    """

    first: float
    last: float
    iterations: int
    exponent: float | None
    iteration: int = 0

    @property
    def step_size(self) -> float:
        """Step size of this iteration."""
        return self.falling(self.first, self.last)

    def falling(self, first: float, last: float) -> float:
        """Another number of this iteration that falls as the step size does."""
        return float(first * (last / first) ** min(self.iteration / self.iterations, 1.0))

    @property
    def averaging_share(self) -> float:
        """Share of this iteration's actor in the mean actor."""
        return 1.0 if self.exponent is None else (1.0 + self.exponent) / (self.iteration + 1.0 + self.exponent)

    def get_state(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {"iteration": self.iteration}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.iteration = state["iteration"]


def advantages(logits: FloatArray, cost: FloatArray) -> tuple[FloatArray, float]:
    """Costs less what the policy expects, shape (K, A), and the size of a cost.

    The size is the mean of what the policy expects over all tasks; or, of losses that are 0 for most tasks, the root
    mean square of the advantages that it meets, if that is greater.

    Args:
        logits: Action logits of the policy that played, shape (K, A).
        cost: Cost of each action, shape (K, A).

    >>> advantages(np.zeros((1, 2)), np.array([[1.0, 3.0]]))
    (array([[-1.,  1.]]), 2.0)
    """
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    expected = (weights * cost).sum(-1, keepdims=True)
    advantage = cost - expected
    met = np.sqrt((weights * np.square(advantage)).sum(-1).mean(dtype=np.float64))
    return advantage, max(float(expected.mean(dtype=np.float64)), float(met))

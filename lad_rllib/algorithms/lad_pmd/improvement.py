"""Steps of policy mirror descent on the costs of played episodes, and minibatches to learn them from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib.algorithms.common.replay_buffer import SlotSample
from lad_rllib.algorithms.common.task_table import FloatArray, TaskTable, Where, tasks_by_station


@dataclass(frozen=True)
class PlayedSlot(SlotSample):
    """A slot, with what mirror descent learns from besides.

    Attributes:
        logits: Action logits that the servers were drawn from, shape (E, B, N, A); None: actions were random.
        seen_queues: Queues that each task was decided on, shape (E, B, N, A), if those are not the slot-start queues.
        cost: Cost of each task on each server, shape (E, B, N, A); of whole episodes only.
    """

    logits: FloatArray | None = None
    seen_queues: FloatArray | None = None
    cost: FloatArray | None = None


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
        return float(self.first * (self.last / self.first) ** min(self.iteration / self.iterations, 1.0))

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


def improvement_table(samples: Sequence[PlayedSlot], step_size: float) -> TaskTable:
    """All tasks of the episodes played with one policy, and the step of their logits towards less cost.

    The step is ``-step_size * advantage / size of a cost``, see :func:`advantages`. The mean cost is what the policy
    pays for a task: about what a server's cost changes by if its share of the tasks is multiplied by e. So a
    step size of about 1 is the greatest at which all tasks can step at once without passing by one another, if the
    networks follow it in full; with few updates for each episode they follow in part.

    Args:
        samples: Slots of whole episodes, with logits and costs.
        step_size: Step size of mirror descent.

    Returns:
        A table with ``state``, ``latent``, ``logits`` and ``step``.
    """
    columns, counts = tasks_by_station(samples, _costs)
    cost = columns.pop("cost")
    advantage, size = advantages(columns["logits"], cost) if len(cost) else (cost, 0.0)
    return TaskTable({**columns, "step": advantage * (-step_size / size if size > 0 else 0.0)}, counts)


def task_scale(table: TaskTable) -> FloatArray:
    """Root mean squares of input size and workload of the tasks; 1 where there is nothing, shape (2,)."""
    tasks = table.column("state")[:, :2]
    sizes = np.sqrt(np.square(tasks).mean(axis=0)) if len(tasks) else np.zeros(2)
    return np.where(sizes > 0, sizes, 1.0).astype(np.float32)


def _costs(sample: PlayedSlot, where: Where) -> dict[str, NDArray[Any]]:
    assert sample.logits is not None and sample.cost is not None
    queues = sample.queues[where[0]] if sample.seen_queues is None else sample.seen_queues[where]
    return {
        "state": np.concatenate([sample.tasks[where], queues], axis=1),
        "latent": sample.latent[where],
        "logits": sample.logits[where],
        "cost": sample.cost[where],
    }

"""Minibatches to learn steps of policy mirror descent from, on the costs of played episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib.algorithms.common.mirror_descent import advantages
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

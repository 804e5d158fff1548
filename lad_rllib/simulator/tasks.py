"""All tasks of an episode as arrays.

Axes: E episodes, T slots, B base stations, N tasks of one station in one slot (padded to the source's maximum).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib.simulator.delays import workload_gcycles

ARRAYS = ("task_counts", "task_mbit", "denoising_steps", "density_gcycles_per_step", "result_mbit")
"""Attributes of all :class:`Arrivals` with an axis for slots."""


@dataclass(frozen=True)
class Arrivals:
    """All tasks of one episode, or of E episodes in lockstep (then every array has a leading axis E).

    Attributes:
        task_counts: Tasks that arrive, shape (T, B).
        task_mbit: Input size ``d`` [Mbit], shape (T, B, N).
        denoising_steps: Quality demand ``z``, shape (T, B, N).
        density_gcycles_per_step: Computing density ``rho`` [Gcycle/step], shape (T, B, N).
        result_mbit: Result size [Mbit], shape (T, B, N).
        overhead_steps: What every image costs besides its steps, in denoising steps.
        shown_workload_gcycles: Each task's work as schedulers see it [Gcycle], 0 where there is no task, shape
            (T, B, N); None: as it is.

    Values at ``n >= task_counts`` have no meaning. Attributes may be broadcast views; do not write to them.
    """

    task_counts: NDArray[np.int64]
    task_mbit: NDArray[np.float64]
    denoising_steps: NDArray[np.float64]
    density_gcycles_per_step: NDArray[np.float64]
    result_mbit: NDArray[np.float64]
    overhead_steps: float = 0.0
    shown_workload_gcycles: NDArray[np.float64] | None = None

    @property
    def num_slots(self) -> int:
        """Number of slots T."""
        return int(self.task_counts.shape[-2])

    @property
    def max_tasks(self) -> int:
        """Padded number of tasks N per station and slot."""
        return int(self.task_mbit.shape[-1])

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """True where there is a task, shape (T, B, N)."""
        return np.arange(self.max_tasks) < self.task_counts[..., None]

    @cached_property
    def workload_gcycles(self) -> NDArray[np.float64]:
        """Work ``w`` of each task [Gcycle], 0 where there is no task, shape (T, B, N)."""
        work = workload_gcycles(self.density_gcycles_per_step, self.denoising_steps, self.overhead_steps)
        return np.where(self.mask, work, 0.0)

    @property
    def num_tasks(self) -> int:
        """Number of tasks of all slots (and episodes)."""
        return int(self.task_counts.sum())

    def episodes(self, index: int | slice) -> Arrivals:
        """Some of E episodes: one without the leading axis (an index), or several with it (a slice)."""
        return replace(self, **{name: getattr(self, name)[index] for name in self.arrays})

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of the attributes with an axis for slots that are there."""
        return ARRAYS if self.shown_workload_gcycles is None else (*ARRAYS, "shown_workload_gcycles")


def stack_arrivals(episodes: list[Arrivals]) -> Arrivals:
    """Put single episodes of equal shape and overhead side by side: a leading axis E on every array."""
    stacked: dict[str, Any] = {name: np.stack([getattr(e, name) for e in episodes]) for name in episodes[0].arrays}
    return replace(episodes[0], **stacked)

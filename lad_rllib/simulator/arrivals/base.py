"""Where tasks come from: the arrivals of one episode, and exchangeable sources that draw them.

Axes: E episodes, T slots, B base stations, N tasks of one station in one slot (padded to the source's maximum).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lad_rllib.declared import shown
from lad_rllib.errors import ConfigurationError
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
        shown_workload_gcycles: What schedulers take each task's work for [Gcycle], 0 where there is no task, shape
            (T, B, N); None: they know the work beforehand.

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


@runtime_checkable
class ArrivalSource(Protocol):
    """Anything that can draw the arrivals of an episode."""

    @property
    def num_stations(self) -> int:
        """Base stations B."""
        ...

    @property
    def max_tasks(self) -> int:
        """Most tasks of one station in one slot, N."""
        ...

    def draw(self, rng: np.random.Generator, num_slots: int) -> Arrivals:
        """Draw the arrivals of one episode of ``num_slots`` slots."""
        ...

    def mean_work_per_slot_gcycles(self) -> float:
        """Expected work that arrives in one slot, over all stations [Gcycle]."""
        ...


@dataclass(frozen=True)
class TaskAttributes:
    """Properties of tasks that belong to the task *index*: the same at every station and slot.

    Attributes:
        denoising_steps: Quality demand ``z`` per index, shape (N,); at least 1.
        density_gcycles_per_step: Computing density ``rho`` per index [Gcycle/step], shape (N,).
        result_mbit: Result size per index [Mbit], shape (N,).
    """

    denoising_steps: NDArray[np.float64]
    density_gcycles_per_step: NDArray[np.float64]
    result_mbit: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name in ("denoising_steps", "density_gcycles_per_step", "result_mbit"):
            value = np.asarray(getattr(self, name), dtype=np.float64)
            if value.ndim != 1 or len(value) != len(self.denoising_steps) or not np.isfinite(value).all():
                raise ConfigurationError(f"{name} needs one finite value per task index, got shape {value.shape}")
            object.__setattr__(self, name, value)
        if self.denoising_steps.min(initial=1) < 1:
            raise ConfigurationError(
                f"denoising_steps must be at least 1 (an image needs a step), got {self.denoising_steps.min()}"
            )
        if self.density_gcycles_per_step.min(initial=1) <= 0:
            raise ConfigurationError("density_gcycles_per_step must be positive")


@dataclass(frozen=True)
class TaskRanges:
    """Uniform ranges of task properties; the defaults are the setting of arXiv 2412.18212.

    Attributes:
        task_mbit: Input size ``d`` [Mbit].
        denoising_steps: Quality demand ``z``, integers, both ends included.
        density_gcycles_per_step: Computing density ``rho`` [Gcycle/step].
        result_mbit: Result size [Mbit].
    """

    task_mbit: tuple[float, float] = (2.0, 5.0)
    denoising_steps: tuple[int, int] = (1, 14)
    density_gcycles_per_step: tuple[float, float] = (0.1024, 0.3072)
    result_mbit: tuple[float, float] = (0.6, 1.0)

    def __post_init__(self) -> None:
        for name in ("task_mbit", "denoising_steps", "density_gcycles_per_step", "result_mbit"):
            low, high = getattr(self, name)
            least = 1 if name == "denoising_steps" else 0
            if not (np.isfinite([low, high]).all() and least <= low <= high):
                raise ConfigurationError(
                    f"{name} must be a range low..high with low at least {least}, got {low}..{high}"
                )
        if self.density_gcycles_per_step[0] <= 0:
            raise ConfigurationError("density_gcycles_per_step must be positive")

    def mean_work_gcycles(self, overhead_steps: float = 0.0) -> float:
        """Expected work of one task [Gcycle]."""
        density, steps = np.mean(self.density_gcycles_per_step), np.mean(self.denoising_steps)
        return float(workload_gcycles(density, steps, overhead_steps))


def draw_task_attributes(
    rng: np.random.Generator, shape: tuple[int, ...], ranges: TaskRanges = TaskRanges()
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Draw ``(denoising_steps, density_gcycles_per_step, result_mbit)`` of the given shape."""
    steps = rng.integers(*ranges.denoising_steps, size=shape, endpoint=True).astype(float)
    return steps, rng.uniform(*ranges.density_gcycles_per_step, shape), rng.uniform(*ranges.result_mbit, shape)


def published_task_attributes(max_tasks: int = 50, max_steps: int = 14) -> TaskAttributes:
    """The per-index draws of the published experiments (legacy NumPy generator, seed 1 afresh for each)."""
    return TaskAttributes(
        denoising_steps=np.random.RandomState(1).randint(1, max_steps + 1, max_tasks).astype(float),
        density_gcycles_per_step=np.random.RandomState(1).uniform(0.1024, 0.3072, max_tasks),
        result_mbit=np.random.RandomState(1).uniform(0.6, 1.0, max_tasks),
    )


@dataclass(frozen=True)
class _SyntheticArrivals:
    """Common part of the synthetic sources: task properties, drawn per index or per task.

    Attributes:
        num_stations: Base stations B.
        max_tasks: Most tasks of one station in one slot, N.
        ranges: Uniform ranges of the task properties.
        attributes: Per-index properties (the published setting); None draws them anew for every task.
        overhead_steps: What every image costs besides its steps, in denoising steps; 0 in the published setting.
    """

    num_stations: int = 20
    max_tasks: int = 50
    ranges: TaskRanges = TaskRanges()
    attributes: TaskAttributes | None = None
    overhead_steps: float = 0.0

    def __post_init__(self) -> None:
        if self.num_stations < 1 or self.max_tasks < 1:
            raise ConfigurationError(
                f"num_stations and max_tasks must be at least 1, got {self.num_stations} and {self.max_tasks}"
            )
        if self.attributes is not None and len(self.attributes.denoising_steps) != self.max_tasks:
            raise ConfigurationError(
                f"attributes describe {len(self.attributes.denoising_steps)} task indices, "
                f"max_tasks is {self.max_tasks}; give both the same number"
            )
        if not (np.isfinite(self.overhead_steps) and self.overhead_steps >= 0):
            raise ConfigurationError(f"overhead_steps must be at least 0, got {self.overhead_steps}")

    def _counts(self, rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.int64]:
        raise TypeError(f"{type(self).__name__} does not say how many tasks arrive")

    def draw(self, rng: np.random.Generator, num_slots: int) -> Arrivals:
        """Draw one episode; see :class:`ArrivalSource`."""
        counts = self._counts(rng, (num_slots, self.num_stations))
        shape = (num_slots, self.num_stations, self.max_tasks)
        task_mbit = rng.uniform(*self.ranges.task_mbit, shape)
        if self.attributes is None:
            steps, density, result = draw_task_attributes(rng, shape, self.ranges)
        else:
            steps, density, result = (
                np.broadcast_to(values, shape)
                for values in (
                    self.attributes.denoising_steps,
                    self.attributes.density_gcycles_per_step,
                    self.attributes.result_mbit,
                )
            )
        return Arrivals(counts, task_mbit, steps, density, result, self.overhead_steps)

    def _index_probability(self) -> NDArray[np.float64]:
        """Chance that a task with each index arrives at a station in a slot, shape (N,)."""
        raise TypeError(f"{type(self).__name__} does not say how many tasks arrive")

    def mean_work_per_slot_gcycles(self) -> float:
        """Expected work that arrives in one slot, over all stations [Gcycle]."""
        present = self._index_probability()
        if self.attributes is None:
            work = np.full(self.max_tasks, self.ranges.mean_work_gcycles(self.overhead_steps))
        else:
            attributes = self.attributes
            work = workload_gcycles(
                attributes.density_gcycles_per_step, attributes.denoising_steps, self.overhead_steps
            )
        return float(self.num_stations * (present * work).sum())


@dataclass(frozen=True)
class UniformArrivals(_SyntheticArrivals):
    """The paper's arrivals: each station receives a uniform number of tasks, 1 to ``max_tasks``, in each slot."""

    min_tasks: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.min_tasks <= self.max_tasks:
            raise ConfigurationError(f"min_tasks must lie between 0 and {self.max_tasks}, got {self.min_tasks}")

    def _counts(self, rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.int64]:
        return rng.integers(self.min_tasks, self.max_tasks, size=shape, endpoint=True)

    def _index_probability(self) -> NDArray[np.float64]:
        more = self.max_tasks - np.maximum(np.arange(self.max_tasks), self.min_tasks - 1)
        return more / (self.max_tasks - self.min_tasks + 1)


@dataclass(frozen=True)
class PoissonArrivals(_SyntheticArrivals):
    """Poisson arrivals, independent in stations and slots.

    Attributes:
        mean_tasks: Mean number of tasks of a station in a slot: one value, or one per station.

    A draw above ``max_tasks`` is cut to it; choose ``max_tasks`` so that this is rare.
    """

    mean_tasks: float | tuple[float, ...] = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        mean = np.asarray(self.mean_tasks, dtype=float)
        if mean.shape not in ((), (self.num_stations,)) or not (np.isfinite(mean) & (mean >= 0)).all():
            raise ConfigurationError(
                f"mean_tasks must be one value or {self.num_stations}, none negative; got {shown(self.mean_tasks)}"
            )

    def _counts(self, rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.int64]:
        return np.minimum(rng.poisson(self.mean_tasks, size=shape), self.max_tasks)

    def _index_probability(self) -> NDArray[np.float64]:
        mean = np.broadcast_to(np.asarray(self.mean_tasks, dtype=float), (self.num_stations,))
        count = np.arange(self.max_tasks)
        log_factorial = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, self.max_tasks)))))
        log_power = np.zeros((self.num_stations, self.max_tasks))  # count * log(mean), and 0 for no tasks
        with np.errstate(divide="ignore"):
            log_power[:, 1:] = count[1:] * np.log(mean)[:, None]
        pmf = np.exp(log_power - mean[:, None] - log_factorial)
        return (1.0 - np.cumsum(pmf, axis=1)).clip(0.0, 1.0).mean(axis=0)

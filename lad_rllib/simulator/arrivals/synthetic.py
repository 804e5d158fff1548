"""Common part of the sources that draw tasks: how many arrive is up to each, what the tasks are is the same."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from lad_rllib.declared import Declared
from lad_rllib.simulator.arrivals.base import ArrivalFields, ArrivalSource
from lad_rllib.simulator.delays import workload_gcycles
from lad_rllib.simulator.field_types import Count, NotNegative, NotNegativePair, PositivePair, Seed, StepsPair
from lad_rllib.simulator.network import EdgeNetwork
from lad_rllib.simulator.tasks import Arrivals

FloatArray = NDArray[np.float64]
RANGES: dict[str, tuple[float, float]] = {
    "task_mbit": (2.0, 5.0),
    "denoising_steps": (1, 14),
    "density_gcycles_per_step": (0.1024, 0.3072),
    "result_mbit": (0.6, 1.0),
}
"""Ranges of the tasks' attributes that a setting leaves at null (arXiv 2412.18212)."""


class TaskAttributes(NamedTuple):
    """Attributes of tasks, either of every task or of a task *index* at all stations and slots; arrays of one shape."""

    denoising_steps: FloatArray
    density_gcycles_per_step: FloatArray
    result_mbit: FloatArray


def published_task_attributes(max_tasks: int = 50, max_steps: int = 14) -> TaskAttributes:
    """The per-index draws of the published experiments (legacy NumPy generator, seed 1 afresh for each)."""
    return TaskAttributes(
        denoising_steps=np.random.RandomState(1).randint(1, max_steps + 1, max_tasks).astype(float),
        density_gcycles_per_step=np.random.RandomState(1).uniform(0.1024, 0.3072, max_tasks),
        result_mbit=np.random.RandomState(1).uniform(0.6, 1.0, max_tasks),
    )


class PerIndex(Declared):
    """Attributes drawn once for each task index."""

    per_index: Seed
    """Seed of the draws."""


class SyntheticFields(ArrivalFields):
    """Group ``arrivals`` of every source that draws tasks. Defaults: arXiv 2412.18212.

    A subclass says how many tasks arrive.
    """

    max_tasks: Count = 50
    """Most tasks of one station in one slot, N."""
    attributes: Literal["published", "per_task"] | PerIndex = "published"
    """What ``z``, ``rho`` and result size belong to: ``published`` (the published draws, per task index);
    ``{per_index: seed}`` (other draws per task index); ``per_task`` (drawn anew for every task)."""
    task_mbit: NotNegativePair | None = None
    """Range of the input size [Mbit]; null: [2, 5]."""
    denoising_steps: StepsPair | None = None
    """Range of the quality demand, whole numbers, both ends included; null: [1, 14]. With ``published`` it must start
    at 1."""
    density_gcycles_per_step: PositivePair | None = None
    """Range of the computing density [Gcycle/step]; null: [0.1024, 0.3072]. Not with ``published``."""
    result_mbit: NotNegativePair | None = None
    """Range of the result size [Mbit]; null: [0.6, 1]. Not with ``published``."""
    overhead_steps: NotNegative = 0.0
    """What every image costs besides its steps, in denoising steps (0)."""

    @model_validator(mode="after")
    def _fits_published(self) -> Self:
        if self.attributes != "published":
            return self
        remedy = "choose attributes 'per_task' or {per_index: seed}"
        for name in ("density_gcycles_per_step", "result_mbit"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} {getattr(self, name)} has no effect with attributes 'published'; {remedy}")
        if self.denoising_steps and self.denoising_steps[0] != 1:
            raise ValueError(
                f"denoising_steps {self.denoising_steps} does not fit attributes 'published', which start at 1; "
                f"{remedy}"
            )
        return self

    @abstractmethod
    def draw_counts(self, rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.int64]:
        """Draw how many tasks arrive in each slot at each station, shape (T, B), at most ``max_tasks``."""

    @abstractmethod
    def index_probability(self, num_stations: int) -> FloatArray:
        """Chance that a task with each index arrives at a station in a slot, mean over the stations, shape (N,)."""

    @abstractmethod
    def describe_counts(self) -> str:
        """How many tasks arrive, in words that follow "each slot brings each base station"."""

    def build(self, network: EdgeNetwork) -> SyntheticArrivals:
        """See :class:`~lad_rllib.simulator.arrivals.base.ArrivalFields`."""
        return SyntheticArrivals(self, network.num_stations)

    def range_of(self, name: str) -> tuple[float, float]:
        """Range of an attribute, as set or as in :data:`RANGES`."""
        low, high = getattr(self, name) or RANGES[name]
        return low, high

    def draw_attributes(self, rng: np.random.Generator, shape: tuple[int, ...]) -> TaskAttributes:
        """Draw attributes of the given shape."""
        low, high = self.range_of("denoising_steps")
        return TaskAttributes(
            denoising_steps=rng.integers(int(low), int(high), size=shape, endpoint=True).astype(float),
            density_gcycles_per_step=rng.uniform(*self.range_of("density_gcycles_per_step"), shape),
            result_mbit=rng.uniform(*self.range_of("result_mbit"), shape),
        )


class SyntheticArrivals(ArrivalSource):
    """Draws tasks as the fields of its source say, independently in slots.

    Args:
        fields: What arrives.
        num_stations: Base stations B.

    Attributes:
        attributes: Attributes of each task index, shape (N,); None if every task has its own.
    """

    def __init__(self, fields: SyntheticFields, num_stations: int = 20) -> None:
        self.fields, self.num_stations, self.max_tasks = fields, num_stations, fields.max_tasks
        self.attributes: TaskAttributes | None = None
        if isinstance(fields.attributes, PerIndex):
            rng = np.random.default_rng(fields.attributes.per_index)
            self.attributes = fields.draw_attributes(rng, (self.max_tasks,))
        elif fields.attributes == "published":
            self.attributes = published_task_attributes(self.max_tasks, int(fields.range_of("denoising_steps")[1]))

    def draw(self, rng: np.random.Generator, num_slots: int) -> Arrivals:
        """See :class:`~lad_rllib.simulator.arrivals.base.ArrivalSource`."""
        counts = self.fields.draw_counts(rng, (num_slots, self.num_stations))
        shape = (num_slots, self.num_stations, self.max_tasks)
        task_mbit = rng.uniform(*self.fields.range_of("task_mbit"), shape)
        drawn = self.attributes or self.fields.draw_attributes(rng, shape)
        steps, density, result_mbit = (np.broadcast_to(values, shape) for values in drawn)
        return Arrivals(counts, task_mbit, steps, density, result_mbit, self.fields.overhead_steps)

    def mean_work_per_slot_gcycles(self) -> float:
        """See :class:`~lad_rllib.simulator.arrivals.base.ArrivalSource`."""
        mean = TaskAttributes(*(np.array(np.mean(self.fields.range_of(name))) for name in TaskAttributes._fields))
        of_task = self.attributes or mean
        work = workload_gcycles(of_task.density_gcycles_per_step, of_task.denoising_steps, self.fields.overhead_steps)
        return float(self.num_stations * (self.fields.index_probability(self.num_stations) * work).sum())

    def describe(self) -> str:
        """See :class:`~lad_rllib.simulator.arrivals.base.ArrivalSource`."""
        low, high = self.fields.range_of("denoising_steps")
        counts = self.fields.describe_counts()
        return f"  each slot brings each base station {counts}, of {low} to {high} denoising steps"

"""The paper's arrivals: each number of tasks is equally likely."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from lad_rllib.simulator.arrivals.base import ARRIVALS
from lad_rllib.simulator.arrivals.synthetic import SyntheticFields
from lad_rllib.simulator.field_types import CountOrZero


@ARRIVALS.register("uniform")
class UniformFields(SyntheticFields):
    """Each station receives a uniform number of tasks, ``min_tasks`` to ``max_tasks``, in each slot (1 to 50)."""

    source: Literal["uniform"] = "uniform"
    """Name of this source."""
    min_tasks: CountOrZero = 1
    """Fewest tasks of one station in one slot."""

    @model_validator(mode="after")
    def _fewest_and_most(self) -> Self:
        if self.min_tasks > self.max_tasks:
            raise ValueError(f"min_tasks {self.min_tasks} is above max_tasks {self.max_tasks}; lower it")
        return self

    def draw_counts(self, rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.int64]:
        """See :class:`~lad_rllib.simulator.arrivals.synthetic.SyntheticFields`."""
        return rng.integers(self.min_tasks, self.max_tasks, size=shape, endpoint=True)

    def index_probability(self, num_stations: int) -> NDArray[np.float64]:
        """See :class:`~lad_rllib.simulator.arrivals.synthetic.SyntheticFields`."""
        more = self.max_tasks - np.maximum(np.arange(self.max_tasks), self.min_tasks - 1)
        return more / (self.max_tasks - self.min_tasks + 1)

    def describe_counts(self) -> str:
        """See :class:`~lad_rllib.simulator.arrivals.synthetic.SyntheticFields`."""
        return f"{self.min_tasks} to {self.max_tasks} tasks, each number equally likely"

"""Poisson arrivals, independent in stations and slots."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lad_rllib.declared import shown
from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator.arrivals.base import ARRIVALS
from lad_rllib.simulator.arrivals.synthetic import SyntheticArrivals, SyntheticFields
from lad_rllib.simulator.field_types import MAX_COUNT
from lad_rllib.simulator.network import EdgeNetwork

MeanTasks = Annotated[float, Field(ge=0, le=MAX_COUNT)]


@ARRIVALS.register("poisson")
class PoissonFields(SyntheticFields):
    """A Poisson number of tasks, cut to ``max_tasks``; choose that high enough for cuts to be rare."""

    source: Literal["poisson"] = "poisson"
    """Name of this source."""
    mean_tasks: MeanTasks | list[MeanTasks] = 10.0
    """Mean number of tasks of a station in a slot: one number, or a list with one per station."""

    def build(self, network: EdgeNetwork) -> SyntheticArrivals:
        """See :class:`~lad_rllib.simulator.arrivals.base.ArrivalFields`."""
        if np.ndim(self.mean_tasks) and np.shape(self.mean_tasks) != (network.num_stations,):
            raise ConfigurationError(
                f"arrivals.mean_tasks must be one value or {network.num_stations}, got {shown(self.mean_tasks)}"
            )
        return super().build(network)

    def draw_counts(self, rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.int64]:
        """See :class:`~lad_rllib.simulator.arrivals.synthetic.SyntheticFields`."""
        return np.minimum(rng.poisson(self.mean_tasks, size=shape), self.max_tasks)

    def index_probability(self, num_stations: int) -> NDArray[np.float64]:
        """See :class:`~lad_rllib.simulator.arrivals.synthetic.SyntheticFields`."""
        mean = np.broadcast_to(np.asarray(self.mean_tasks, dtype=float), (num_stations,))
        count = np.arange(self.max_tasks)
        log_factorial = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, self.max_tasks)))))
        log_power = np.zeros((num_stations, self.max_tasks))  # count * log(mean), and 0 for no tasks
        with np.errstate(divide="ignore"):
            log_power[:, 1:] = count[1:] * np.log(mean)[:, None]
        pmf = np.exp(log_power - mean[:, None] - log_factorial)
        return (1.0 - np.cumsum(pmf, axis=1)).clip(0.0, 1.0).mean(axis=0)

    def describe_counts(self) -> str:
        """See :class:`~lad_rllib.simulator.arrivals.synthetic.SyntheticFields`."""
        return f"a Poisson number of tasks, mean {shown(self.mean_tasks)}"

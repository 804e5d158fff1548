"""How much work an image is, and how fast the servers of a fleet are, in the simulator's units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lad_rllib.edge.fit import DelayFit
from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator.delays import workload_gcycles

REFERENCE_DENSITY = 0.2
"""Computing density that stands for one denoising step [Gcycle]: the mean of the setting of arXiv 2412.18212. Only the
ratio of density to capacity matters; this value keeps a fleet's numbers in the range that policies were trained on."""


@dataclass(frozen=True)
class WorkModel:
    """Work of an image as the simulator counts it: ``w = density * (steps + overhead_steps)``.

    Attributes:
        density_gcycles_per_step: Computing density ``rho`` [Gcycle per denoising step].
        overhead_steps: Work of an image besides its steps (encoding, decoding), in denoising steps.
        result_mbit: Size of an image that travels back [Mbit].
    """

    density_gcycles_per_step: float = REFERENCE_DENSITY
    overhead_steps: float = 0.0
    result_mbit: float = 0.8

    def workload_gcycles(self, denoising_steps: float) -> float:
        """Work of an image [Gcycle].

        >>> WorkModel(0.5, overhead_steps=2.0).workload_gcycles(8)
        5.0
        """
        return float(workload_gcycles(self.density_gcycles_per_step, denoising_steps, self.overhead_steps))


def fit_fleet(fits: Sequence[DelayFit], typical_steps: float = 10.0) -> tuple[WorkModel, np.ndarray]:
    """A work model for all servers together, and each server's capacity.

    The simulator has one workload per task, the same on every server; servers differ in capacity alone. So one number
    of overhead steps stands for all: the mean of the servers' overhead over their time per step. Capacities are such
    that an image of ``typical_steps`` takes exactly what was measured.

    Args:
        fits: Measured delay model of each server.
        typical_steps: Denoising steps at which the two agree exactly.

    Returns:
        Work model, and capacities [Gcycle/s], shape (A,).

    Raises:
        ConfigurationError: for a server whose time per step is not positive.

    >>> model, capacity = fit_fleet([DelayFit(0.4, 0.2), DelayFit(0.2, 0.1)])
    >>> round(model.overhead_steps, 6), capacity.round(6).tolist()
    (2.0, [1.0, 2.0])
    """
    overhead = np.array([max(fit.overhead_s, 0.0) for fit in fits])
    per_step = np.array([fit.per_step_s for fit in fits])
    if not (per_step > 0).all():
        raise ConfigurationError(
            f"server {int(per_step.argmin())} was measured with {per_step.min():.2g} s per step; profile it again with "
            "more images or more different step counts"
        )
    model = WorkModel(overhead_steps=float((overhead / per_step).mean()))
    return model, model.workload_gcycles(typical_steps) / (overhead + typical_steps * per_step)

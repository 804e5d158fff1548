"""Measure a fleet, and turn it into a setting of the simulator."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from lad_rllib.edge import DelayFit, TaskRecord, fit_delay
from lad_rllib.edge.fit import MIN_STEP_COUNTS
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet.fleet import Fleet
from lad_rllib.fleet.model import FleetModel
from lad_rllib.fleet.profiling import Server, Size, measure_each, measured_images
from lad_rllib.fleet.spec import FleetSpec

RESULT_MBIT = 0.8
"""Size of an image where no link tells: the lower end of the range of arXiv 2412.18212 [Mbit]."""


@dataclass(frozen=True)
class Calibration:
    """A fleet as it was measured.

    Attributes:
        spec: The fleet.
        images: One row for each measured image: ``server``, ``denoising_steps``, ``held_out``, ``computing_s``,
            ``download_s``, ``predicted_s`` (the server's own line), ``simulated_s`` (the simulator's computing delay).
        fits: Line of each server through the images that are not held out.
        model: The fleet in the simulator's units.
        other_sizes: Rows of the images of other sizes than the servers' own, which no line is fitted to.
    """

    spec: FleetSpec
    images: pd.DataFrame
    fits: list[DelayFit]
    model: FleetModel
    other_sizes: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def measured(self) -> pd.DataFrame:
        """All measured images."""
        return pd.concat([self.images, self.other_sizes], ignore_index=True)

    def median_error(self, column: str = "predicted_s") -> float:
        """Median relative error of the held-out images' computing delays, for ``predicted_s`` or ``simulated_s``."""
        return float(_relative_error(self.images[self.images["held_out"]], column).median())

    def table(self) -> pd.DataFrame:
        """One row for each server: its line, the line's residuals, errors on held-out images, and its capacity."""
        rows = []
        for index, (server, fit) in enumerate(zip(self.spec.servers, self.fits, strict=True)):
            held_out = self.images[(self.images["server"] == server.name) & self.images["held_out"]]
            rows.append(
                {
                    "server": server.name,
                    "overhead_s": fit.overhead_s,
                    "per_step_s": fit.per_step_s,
                    "residual_sd_s": fit.residual_sd_s,
                    "max_residual_s": fit.max_residual_s,
                    "images": fit.num_points,
                    "held_out_images": len(held_out),
                    "median_error": float(_relative_error(held_out, "predicted_s").median()),
                    "median_error_simulator": float(_relative_error(held_out, "simulated_s").median()),
                    "capacity_gcycles_per_s": float(self.model.network.capacity_gcycles_per_s[index]),
                    "link_rate_mbit_per_s": server.link_rate_mbit_per_s,
                }
            )
        return pd.DataFrame(rows)


def calibrate(
    fleet: Fleet,
    step_counts: Sequence[int] = (2, 8, 14, 20),
    held_out: Sequence[int] = (5, 11, 17),
    repeats: int = 3,
    typical_steps: float = 14.5,
    report: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Measure every server of a fleet and fit its delay model.

    Args:
        fleet: A running fleet, idle otherwise.
        step_counts: See :func:`measure_images`.
        held_out: See :func:`measure_images`.
        repeats: See :func:`measure_images`.
        typical_steps: Steps at which the simulator's capacities are exact, see
            :func:`~lad_rllib.service.work_model.fit_fleet`.
        report: See :func:`measure_images`.

    Raises:
        ConfigurationError: for fewer than three step counts, or held-out ones that are among them.
        EdgeError: if an image fails.
    """
    images = measure_images(fleet, step_counts, held_out, repeats, report)
    return calibration_of_images(fleet.spec, images, typical_steps)


def measure_images(
    fleet: Fleet,
    step_counts: Sequence[int],
    held_out: Sequence[int],
    repeats: int,
    report: Callable[[int, int], None] | None = None,
    sizes: Sequence[Size] = (),
) -> pd.DataFrame:
    """Measure images on every server of a fleet, for :func:`calibration_of_images`.

    Args:
        fleet: A running fleet, idle otherwise.
        step_counts: At least three different numbers of denoising steps to fit the lines to.
        held_out: Other numbers of steps, to measure the lines' errors at.
        repeats: Images for each number of steps on each server.
        report: Called with the number of images measured so far and that of all, from several threads.
        sizes: Further sizes; images of these have the fewest and the most of ``step_counts``.

    Returns:
        One row for each image: ``server``, ``denoising_steps``, ``held_out``, ``width``, ``height`` [pixel],
        ``own_size`` (of the server), ``computing_s`` and ``download_s`` [s].

    Raises:
        ConfigurationError: for fewer than three step counts, or held-out ones that are among them.
        EdgeError: if an image fails.
    """
    check_step_counts(step_counts, held_out)
    own_size: list[tuple[int, Size | None]] = [(steps, None) for steps in (*step_counts, *held_out)]
    order = (own_size + [(steps, size) for size in sizes for steps in (min(step_counts), max(step_counts))]) * repeats
    total, done, lock = len(order) * len(fleet.servers), 0, threading.Lock()

    def measure(server: Server) -> list[TaskRecord]:
        nonlocal done
        records = []
        for record in measured_images(server, order):
            records.append(record)
            with lock:
                done += 1
                if report is not None:
                    report(done, total)
        return records

    measured = measure_each(fleet.spec, fleet.servers, measure)
    return pd.DataFrame(
        [
            {
                "server": fleet.spec.servers[index].name,
                "denoising_steps": steps,
                "held_out": steps in set(held_out),
                "width": record.width,
                "height": record.height,
                "own_size": size is None,
                "computing_s": record.computing_s,
                "download_s": record.download_s,
            }
            for index, of_server in enumerate(measured)
            for (steps, size), record in zip(order, of_server, strict=True)
        ]
    )


def check_step_counts(step_counts: Sequence[int], held_out: Sequence[int]) -> None:
    """Refuse step counts that no line can be fitted to, or that are held out as well; see :func:`calibrate`."""
    if len(set(step_counts)) < MIN_STEP_COUNTS:
        raise ConfigurationError(f"at least {MIN_STEP_COUNTS} step counts are needed, got {list(step_counts)}")
    if both := sorted(set(step_counts) & set(held_out)):
        raise ConfigurationError(f"step counts {both} are both to fit to and held out; choose others to hold out")


def calibration_of_images(spec: FleetSpec, images: pd.DataFrame, typical_steps: float = 14.5) -> Calibration:
    """Fit the delay models to images that were measured before.

    Args:
        spec: The fleet.
        images: See :func:`measure_images`.
        typical_steps: See :func:`calibrate`.

    Raises:
        ConfigurationError: if the images are not of this fleet.
    """
    names = [server.name for server in spec.servers]
    if set(images["server"]) != set(names):
        raise ConfigurationError(f"the measured images are of other servers than those of fleet {spec.name}")
    images = images.drop(columns=["predicted_s", "simulated_s"], errors="ignore")
    images, other_sizes = images[images["own_size"]], images[~images["own_size"]]
    to_fit = images[~images["held_out"]].groupby("server")
    fits = []
    for name in names:
        group = to_fit.get_group(name)
        fits.append(fit_delay(group["denoising_steps"].tolist(), group["computing_s"].tolist()))
    model = FleetModel.from_fits(spec, fits, typical_steps=typical_steps, result_mbit=_result_mbit(spec, images))
    pairs = [
        (names.index(server), steps) for server, steps in zip(images["server"], images["denoising_steps"], strict=True)
    ]
    predicted = {
        "predicted_s": [fits[index].predict_s(steps) for index, steps in pairs],
        "simulated_s": [model.predict_s(index, steps) for index, steps in pairs],
    }
    return Calibration(spec, images.assign(**predicted), fits, model, other_sizes)


def _relative_error(images: pd.DataFrame, column: str) -> pd.Series:
    return (images[column] - images["computing_s"]).abs() / images["computing_s"]


def _result_mbit(spec: FleetSpec, images: pd.DataFrame) -> float:
    """Size of an image, from how long it took over the links."""
    rates = {server.name: server.link_rate_mbit_per_s or np.nan for server in spec.servers}
    sizes = images["download_s"] * images["server"].map(rates).astype(float)
    return float(sizes.median()) if sizes.notna().any() else RESULT_MBIT

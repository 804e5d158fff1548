"""The delay model of a server, ``computing delay = overhead + steps * per step``, fitted to what it served."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MIN_STEP_COUNTS = 3
"""A line through fewer different step counts leaves no residual."""


@dataclass(frozen=True)
class DelayFit:
    """Computing delay of one image as a line in the denoising steps.

    Attributes:
        overhead_s: Delay of an image besides its steps: encoding, decoding, PNG [s].
        per_step_s: Delay of one denoising step [s].
        residual_sd_s: Standard deviation of the measurements around the line [s]; 0 if nothing was measured.
        max_residual_s: Maximum distance of a measurement from the line [s].
        num_points: Measurements.
        step_counts: Different numbers of steps among them, ascending.
        origin: ``fitted`` (least squares over at least three step counts), ``proportional`` (fewer: no overhead
            assumed) or ``profile`` (a device profile, nothing measured).
    """

    overhead_s: float
    per_step_s: float
    residual_sd_s: float = 0.0
    max_residual_s: float = 0.0
    num_points: int = 0
    step_counts: tuple[int, ...] = ()
    origin: str = "profile"

    def predict_s(self, denoising_steps: int) -> float:
        """Computing delay of an image with so many steps [s], never negative.

        >>> DelayFit(overhead_s=0.5, per_step_s=0.25).predict_s(8)
        2.5
        """
        return max(0.0, self.overhead_s + denoising_steps * self.per_step_s)


def fit_delay(denoising_steps: Sequence[int], computing_s: Sequence[float]) -> DelayFit:
    """Least-squares line through measured computing delays.

    Args:
        denoising_steps: Steps of each image, shape (N,).
        computing_s: Computing delay of each image [s], shape (N,).

    Raises:
        ValueError: for fewer than three different step counts, or arguments of unequal length.

    >>> fit = fit_delay([1, 2, 4], [1.5, 2.0, 3.0])
    >>> round(fit.overhead_s, 9), round(fit.per_step_s, 9)
    (1.0, 0.5)
    """
    counts = tuple(sorted({int(n) for n in denoising_steps}))
    if len(counts) < MIN_STEP_COUNTS:
        raise ValueError(f"a delay model needs at least {MIN_STEP_COUNTS} different step counts, got {list(counts)}")
    steps, seconds = np.asarray(denoising_steps, float), np.asarray(computing_s, float)
    if steps.shape != seconds.shape:
        raise ValueError(f"got {steps.size} step counts but {seconds.size} delays")
    slope, intercept = np.polyfit(steps, seconds, 1)
    residuals = seconds - (intercept + slope * steps)
    freedom = max(1, len(seconds) - 2)
    return DelayFit(
        overhead_s=float(intercept),
        per_step_s=float(slope),
        residual_sd_s=float(np.sqrt((residuals**2).sum() / freedom)),
        max_residual_s=float(np.abs(residuals).max()),
        num_points=len(seconds),
        step_counts=counts,
        origin="fitted",
    )


class DelayModel:
    """What a server has learned about its own speed: one line per image size, refitted with every image.

    Args:
        prior: Line to use before anything is measured (a device profile); None knows nothing.
        window: Images per size that count, the latest ones.
    """

    def __init__(self, prior: DelayFit | None = None, window: int = 256) -> None:
        self.prior = prior
        self._images: dict[tuple[int, int], deque[tuple[int, float]]] = defaultdict(lambda: deque(maxlen=window))
        self._fits: dict[tuple[int, int], DelayFit] = {}

    def add(self, size: tuple[int, int], denoising_steps: int, computing_s: float) -> None:
        """Count an image of ``size`` (width, height) [pixel] that a warm server took ``computing_s`` [s] for."""
        images = self._images[size]
        images.append((denoising_steps, computing_s))
        steps, seconds = zip(*images, strict=True)
        if len(set(steps)) >= MIN_STEP_COUNTS:
            fit = fit_delay(steps, seconds)
            if fit.per_step_s > 0:  # else noise outweighs the steps; what was known before is better
                self._fits[size] = fit
        elif self.prior is None:
            per_step = sum(seconds) / sum(steps)
            counts = tuple(sorted(set(steps)))
            self._fits[size] = DelayFit(0.0, per_step, 0.0, 0.0, len(steps), counts, "proportional")

    def fit(self, size: tuple[int, int]) -> DelayFit | None:
        """The line for a size: its own, else the prior, else that of the latest other size, else None."""
        if size in self._fits:
            return self._fits[size]
        return self.prior or next(reversed(self._fits.values()), None)

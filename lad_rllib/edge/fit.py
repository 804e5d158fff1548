"""The delay model of a server, ``computing delay = overhead + steps * per step``, fitted to what it served.

Each kind of image has a line of its own. One that was not served often enough takes the line of another kind, made
longer by the factor that its few images show, or as a service model of the simulator says that times grow.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lad_rllib.simulator.requests import LinearService, ServiceModel, plain_requests

MAX_KINDS = 256
"""Kinds of images that a server remembers; clients may ask for millions of sizes."""

MIN_STEP_COUNTS = 3
"""A line through fewer different step counts leaves no residual."""


GROWTH = LinearService()
"""How times grow from one kind of image to another before both were measured: with pixels, guidance and images."""


@dataclass(frozen=True)
class ImageKind:
    """What the time of an image depends on besides its denoising steps.

    Attributes:
        width: Width [pixel].
        height: Height [pixel].
        model: Image model; empty: the server's only one.
        guided: Whether guidance is on, so that a step calls the denoiser twice.
        images: Images drawn at once.
        has_loras: Whether it is drawn with LoRAs.
    """

    width: int
    height: int
    model: str = ""
    guided: bool = True
    images: int = 1
    has_loras: bool = False


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
        origin: ``fitted`` (least squares over at least three step counts), ``scaled`` (from another kind of image),
            ``proportional`` (fewer step counts: no overhead assumed) or ``profile`` (a device profile, nothing
            measured).
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

    def scaled(self, overhead: float, per_step: float) -> DelayFit:
        """The line of another kind of image, which takes so many times as long."""
        return DelayFit(self.overhead_s * overhead, self.per_step_s * per_step, origin="scaled")


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


@functools.lru_cache(maxsize=1024)
def delay_line(service: ServiceModel, kind: ImageKind) -> DelayFit:
    """A service model's computing delay of one kind of image, as a line in the denoising steps.

    >>> delay_line(LinearService(overhead_s=1.0, per_step_s=0.5), ImageKind(1024, 512)).predict_s(3)
    7.0
    """
    requests = plain_requests(
        np.zeros(2),
        np.array([0.0, 1.0]),
        width=kind.width,
        height=kind.height,
        images=kind.images,
        guided=kind.guided,
        loras=int(kind.has_loras),
    )
    overhead_s, first_step_s = service.seconds(requests).tolist()
    return DelayFit(overhead_s, first_step_s - overhead_s, origin="profile")


class DelayModel:
    """What a server has learned about its own speed: one line per kind of image, refitted with every image.

    Args:
        prior: Service model to use before a line is measured (of a device profile); None knows nothing.
        window: Images per kind that count, the latest ones.
    """

    def __init__(self, prior: ServiceModel | None = None, window: int = 256) -> None:
        self.prior, self._window = prior, window
        self._images: dict[ImageKind, deque[tuple[int, float]]] = {}  # the kind served last comes last, as in fits
        self._fits: dict[ImageKind, DelayFit] = {}

    def add(self, kind: ImageKind, denoising_steps: int, computing_s: float) -> None:
        """Count an image that a warm server took ``computing_s`` [s] for."""
        images = self._images.pop(kind, deque[tuple[int, float]](maxlen=self._window))
        images.append((denoising_steps, computing_s))
        self._images[kind] = images
        steps, seconds = zip(*images, strict=True)
        if len(set(steps)) >= MIN_STEP_COUNTS:
            fit = fit_delay(steps, seconds)
            if fit.per_step_s > 0:  # else noise outweighs the steps; what was known before is better
                self._fits.pop(kind, None)
                self._fits[kind] = fit
        if len(self._images) > MAX_KINDS:
            oldest = next(iter(self._images))
            del self._images[oldest]
            self._fits.pop(oldest, None)

    def fit(self, kind: ImageKind) -> DelayFit | None:
        """The line of a kind: its own, else the prior, else that of another kind scaled, else None."""
        if kind in self._fits:
            return self._fits[kind]
        if self.prior is not None:
            return delay_line(self.prior, kind)
        if other := _latest(self._fits, kind):
            return self._scaled(self._fits[other], other, kind)
        if kind in self._images:
            return self._proportional(kind)
        other = _latest(self._images, kind)
        return None if other is None else self._scaled(self._proportional(other), other, kind)

    def _scaled(self, line: DelayFit, measured: ImageKind, kind: ImageKind) -> DelayFit:
        """The line of a kind from that of another: by what its few images took, else as times grow."""
        before, after = delay_line(GROWTH, measured), delay_line(GROWTH, kind)
        factor = after.per_step_s / before.per_step_s if before.per_step_s and after.per_step_s else 1.0
        line = line.scaled(kind.images / measured.images, factor)
        images = self._images.get(kind, ())
        expected_s = sum(line.predict_s(steps) for steps, _ in images)
        ratio = sum(seconds for _, seconds in images) / expected_s if expected_s else 1.0
        return line.scaled(ratio, ratio)

    def _proportional(self, kind: ImageKind) -> DelayFit:
        steps, seconds = zip(*self._images[kind], strict=True)
        counts = tuple(sorted(set(steps)))
        return DelayFit(0.0, sum(seconds) / sum(steps), 0.0, 0.0, len(steps), counts, "proportional")


def _latest(kinds: Iterable[ImageKind], kind: ImageKind) -> ImageKind | None:
    """The kind measured last, of the same model if there is one."""
    latest = [*kinds]
    alike = [one for one in latest if one.model == kind.model]
    return next(reversed(alike or latest), None)

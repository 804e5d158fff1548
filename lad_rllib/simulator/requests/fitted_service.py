"""A service model fitted to what a log measured: it predicts from what a request says, and knows its own spread."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator.requests.requests import Requests
from lad_rllib.simulator.requests.service_model import SERVICE_MODELS, ServiceModel

FloatArray = NDArray[np.float64]
Effect = Annotated[float, Field(ge=-1e3, le=1e3)]

MIN_REQUESTS = 20
_ROUNDS = 500
_TOLERANCE = 1e-6
_LEAST_VARIANCE = 1e-12
_LN_BOUNDS = np.log([1e-9, 1e9])


@SERVICE_MODELS.register("fitted")
class FittedService(ServiceModel):
    """Log-linear in steps, images, pixels and LoRAs, with an effect of each image model.

    ``seconds = exp(intercept + steps * ln(steps) + images * ln(images) + pixels * ln(pixels) + loras * [has LoRAs] +
    of_model[model] + spread ** 2 / 2)``, the mean of a log-normal time. An image model that it does not know has the
    effect 0, that of an ordinary one. In a setting, ``{kind: fitted}`` alone is fitted to the log of the traffic.

    >>> service = FittedService(intercept=1.0, steps=0.5, of_model={"big": 0.7})
    >>> from lad_rllib.simulator.requests import plain_requests
    >>> requests = plain_requests(np.zeros(2), 4.0, model=[0, 1], models=("small", "big"))
    >>> service.seconds(requests).round(3).tolist()
    [5.437, 10.948]
    """

    intercept: Effect
    """Logarithm of the time of one step of one image of 512 x 512 pixels [ln s]."""
    steps: Effect = 0.0
    """Exponent of the denoising steps."""
    images: Effect = 0.0
    """Exponent of the images drawn at once."""
    pixels: Effect = 0.0
    """Exponent of the pixels of an image over those of 512 x 512."""
    loras: Effect = 0.0
    """What LoRAs add to the logarithm."""
    of_model: dict[str, Effect] = {}
    """What each image model adds to the logarithm, by its name."""

    def seconds(self, requests: Requests) -> FloatArray:
        """See :class:`~lad_rllib.simulator.requests.service_model.ServiceModel`."""
        effects = np.array([self.of_model.get(name, 0.0) for name in requests.models])
        coefficients = np.array([self.steps, self.images, self.pixels, self.loras])
        mean = self.intercept + _features(requests) @ coefficients + effects[requests.model]
        seconds: FloatArray = np.exp(np.clip(mean + 0.5 * self.spread**2, *_LN_BOUNDS))
        return seconds


def _features(requests: Requests) -> FloatArray:
    """What a request says, shape (K, 4), in the order of the coefficients."""
    columns = (np.log(requests.steps), np.log(requests.images), np.log(requests.pixels), requests.loras > 0)
    return np.stack(columns, axis=1).astype(np.float64)


def fit_service(requests: Requests, measured_s: FloatArray) -> FittedService:
    """Fit a service model to measured times.

    The effects of image models are random with a common variance (partial pooling): one of few requests is drawn
    towards the ordinary model. Variances are estimated by expectation maximisation.

    Source: N. M. Laird and J. H. Ware, "Random-effects models for longitudinal data", Biometrics 38 (1982).

    Args:
        requests: The K requests.
        measured_s: Time that each took on a server of speed 1 [s], shape (K,), positive.

    Raises:
        ConfigurationError: for too few requests.
    """
    if len(requests) < MIN_REQUESTS:
        raise ConfigurationError(
            f"service.kind is fitted, and only {len(requests)} requests of traffic.fit_part have a measured time; it "
            f"takes {MIN_REQUESTS}"
        )
    target, features = np.log(measured_s), _features(requests)
    centred = np.column_stack([np.ones(len(target)), features - features.mean(axis=0)])  # constant ones get 0
    solve = np.linalg.pinv(centred)
    number = len(requests.models)
    counts = np.bincount(requests.model, minlength=number)
    effect, noise, between = np.zeros(number), 1.0, 1.0
    for _ in range(_ROUNDS):
        coefficients = solve @ (target - effect[requests.model])
        residual = target - centred @ coefficients
        weight = counts + noise / between
        effect = np.bincount(requests.model, residual, minlength=number) / weight
        uncertainty = noise / weight
        before = noise, between
        noise = max(
            float((np.square(residual - effect[requests.model]).sum() + counts @ uncertainty) / len(target)),
            _LEAST_VARIANCE,
        )
        between = max(float((effect**2 + uncertainty)[counts > 0].mean()), _LEAST_VARIANCE)
        if max(abs(noise - before[0]), abs(between - before[1])) < _TOLERANCE:
            break
    steps, images, pixels, loras = coefficients[1:].tolist()
    return FittedService(
        spread=float(np.sqrt(noise)),
        intercept=float(coefficients[0] - features.mean(axis=0) @ coefficients[1:]),
        steps=steps,
        images=images,
        pixels=pixels,
        loras=loras,
        of_model={name: float(effect[index]) for index, name in enumerate(requests.models) if counts[index]},
    )


def explained(service: ServiceModel, requests: Requests, measured_s: FloatArray) -> float:
    """Share of the variance of the logarithm of measured times that predictions explain (R²); 0 if there is none."""
    logarithm = np.log(measured_s)
    residual = logarithm - np.log(service.seconds(requests)) + 0.5 * service.spread**2
    total = np.square(logarithm - logarithm.mean()).sum()
    return float(1.0 - np.square(residual).sum() / total) if total > 0 else 0.0

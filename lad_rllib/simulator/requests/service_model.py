"""How long a server works on a request: one function for simulator, prediction, observation, costs and bounds.

A model is chosen by its name in :data:`SERVICE_MODELS` and has fields of its own. Another package adds one by
subclassing :class:`ServiceModel` and naming the class in its entry-point group ``lad_rllib.service_models``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lad_rllib.declared import Declared, declared
from lad_rllib.plugins import Registry
from lad_rllib.simulator.requests.requests import Requests

FloatArray = NDArray[np.float64]
_Seconds = Annotated[float, Field(ge=0, le=1e6)]


class ServiceModel(Declared):
    """Service time of requests on one server, without the loading of models."""

    spread: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Standard deviation of the logarithm of the actual over the predicted time."""

    @abstractmethod
    def seconds(self, requests: Requests) -> FloatArray:
        """Predicted service time of each request [s], shape (K,)."""


SERVICE_MODELS: Registry[type[ServiceModel]] = Registry("service model", "lad_rllib.service_models", base=ServiceModel)
"""Name of every service model and its class."""


@SERVICE_MODELS.register("linear")
class LinearService(ServiceModel):
    """``(overhead + steps * per_step * pixels ** exponent * guidance) * images at once``.

    >>> import numpy as np
    >>> from lad_rllib.simulator.requests import plain_requests
    >>> LinearService(overhead_s=0.5, per_step_s=0.1).seconds(plain_requests(np.zeros(1), 20, width=1024)).tolist()
    [4.5]
    """

    overhead_s: _Seconds = 0.0
    """Service time of an image besides its steps: encoding, decoding [s]."""
    per_step_s: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """Time of a denoising step of one image of 512 x 512 pixels without guidance [s]."""
    pixel_exponent: Annotated[float, Field(ge=0, le=4)] = 1.0
    """Growth of a step's time with the number of pixels: ``pixels ** exponent``."""
    guidance_factor: Annotated[float, Field(ge=1, le=10)] = 2.0
    """Time of a step with guidance over that of one without; 2 if the denoiser runs twice."""
    further_image: Annotated[float, Field(ge=0, le=1)] = 1.0
    """What each further image of a request adds, over the time of the first; below 1 where a batch fills the device."""
    lora_factor: Annotated[float, Field(ge=1, le=10)] = 1.0
    """Time of a step with LoRAs over that of one without."""

    def seconds(self, requests: Requests) -> FloatArray:
        """See :class:`ServiceModel`."""
        step = self.per_step_s * requests.density * requests.pixels**self.pixel_exponent
        step = step * np.where(requests.guided, self.guidance_factor, 1.0)
        step = step * np.where(requests.loras > 0, self.lora_factor, 1.0)
        first = self.overhead_s * requests.density + requests.steps * step
        seconds: FloatArray = first * (1.0 + self.further_image * (requests.images - 1))
        return seconds


def make_service_model(spec: Mapping[str, Any] | ServiceModel) -> ServiceModel:
    """Build a service model from a group with ``kind`` (``linear`` if left out) and fields.

    Raises:
        ConfigurationError: for an unknown kind or field, or a value that cannot be used.
    """
    if isinstance(spec, ServiceModel):
        return spec
    values = {key: value for key, value in spec.items() if key != "kind"}
    return declared(SERVICE_MODELS[spec.get("kind", "linear")], values, "service.")

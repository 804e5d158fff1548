"""Requests that come one by one, as arrays: what a client says of each, and how it turned out."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

REFERENCE_PIXELS = 512 * 512
"""Pixels of the image that service times are stated for."""


@dataclass(frozen=True)
class Requests:
    """The K requests of one episode, in order of arrival. Every array has shape (K,).

    What a client says is known at dispatch; ``actual_over_predicted`` is known to nobody before a request is served.

    Attributes:
        arrival_s: When each arrives [s], not decreasing.
        steps: Denoising steps of the image model.
        width, height: Size of the images [pixel].
        images: Images drawn at once.
        guided: Whether guidance is on, which costs a second call of the denoiser in each step.
        model: Image model, an index into ``models``.
        loras: Set of LoRAs, an index into ``lora_sets``; 0 is none.
        station: Base station at which it arrives.
        tenant: On whose account, an index into ``tenants``.
        priority: Priority; greater ones go first where the order of service heeds it.
        deadline_s: Seconds after arrival at which it is due; infinite for none.
        density: Work of a step relative to an ordinary one [1]; the density of arXiv 2412.18212 in Gcycle, else 1.
        upload_mbit, result_mbit: Data sent to the server, and back [Mbit].
        actual_over_predicted: Service time that it takes over the predicted one, on every server.
        models, lora_sets, tenants: Names that the indices stand for.
    """

    arrival_s: FloatArray
    steps: FloatArray
    width: IntArray
    height: IntArray
    images: IntArray
    guided: NDArray[np.bool_]
    model: IntArray
    loras: IntArray
    station: IntArray
    tenant: IntArray
    priority: IntArray
    deadline_s: FloatArray
    density: FloatArray
    upload_mbit: FloatArray
    result_mbit: FloatArray
    actual_over_predicted: FloatArray
    models: tuple[str, ...] = ("default",)
    lora_sets: tuple[str, ...] = ("",)
    tenants: tuple[str, ...] = ("",)

    def __len__(self) -> int:
        return len(self.arrival_s)

    def __getitem__(self, index: slice | NDArray[Any]) -> Requests:
        """Some of the requests."""
        return replace(self, **{name: getattr(self, name)[index] for name in ARRAYS})

    @property
    def pixels(self) -> FloatArray:
        """Pixels of one image over those of the reference, 512 x 512 [1]."""
        return self.width * self.height / REFERENCE_PIXELS

    @property
    def declared_cost(self) -> FloatArray:
        """Steps x pixels x images, what routers that know no server speeds count [steps of a 512 x 512 image].

        Source: llm-d router, pull request 2053.
        """
        return self.steps * self.pixels * self.images


_NAMES = ("models", "lora_sets", "tenants")
ARRAYS = tuple(one.name for one in fields(Requests) if one.name not in _NAMES)
"""Attributes with a value for each request."""


def plain_requests(arrival_s: ArrayLike, steps: FloatArray | float = 20.0, **attributes: Any) -> Requests:
    """Requests of one kind, 512 x 512 pixels without guidance, where nothing else is given; values are broadcast.

    >>> requests = plain_requests(np.array([0.0, 1.5]), steps=8, width=1024)
    >>> requests.steps.tolist(), requests.declared_cost.tolist()
    ([8.0, 8.0], [16.0, 16.0])
    """
    defaults: dict[str, Any] = {
        "steps": steps,
        "width": 512,
        "height": 512,
        "images": 1,
        "guided": False,
        "model": 0,
        "loras": 0,
        "station": 0,
        "tenant": 0,
        "priority": 0,
        "deadline_s": np.inf,
        "density": 1.0,
        "upload_mbit": 0.0,
        "result_mbit": 0.0,
        "actual_over_predicted": 1.0,
    }
    floats = {"steps", "deadline_s", "density", "upload_mbit", "result_mbit", "actual_over_predicted"}
    names = {name: attributes.pop(name) for name in _NAMES if name in attributes}
    values = {**defaults, **attributes}
    arrays: dict[str, Any] = {
        name: np.ascontiguousarray(
            np.broadcast_to(
                np.asarray(value, bool if name == "guided" else np.float64 if name in floats else np.int64),
                np.shape(arrival_s),
            )
        )
        for name, value in values.items()
    }
    return Requests(arrival_s=np.asarray(arrival_s, np.float64), **arrays, **names)


@dataclass(frozen=True)
class ServedRequests:
    """The K requests of an episode as they were served. Every array has shape (K,); times are in seconds.

    ``delay = upload + waiting + swap + computing + download``; a transfer runs beside the queue, as in the paper.

    Attributes:
        requests: What was asked for.
        server: Server of each.
        start_s: When its server began with it.
        swap_s: Loading of its model and LoRAs, at the beginning.
        computing_s: Service after that.
        upload_s, download_s: Transfers.
        predicted_delay_s: Delay that was predicted when it was sent.
        solo_s: Delay it would have on the fastest server, idle, with its model loaded.
        fastest_s: Service there, without transfers.
        notes: What a compiled scheduler noted of each decision, shape (K, notes).
    """

    requests: Requests
    server: IntArray
    start_s: FloatArray
    swap_s: FloatArray
    computing_s: FloatArray
    upload_s: FloatArray
    download_s: FloatArray
    predicted_delay_s: FloatArray
    solo_s: FloatArray
    fastest_s: FloatArray
    notes: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    @property
    def waiting_s(self) -> FloatArray:
        """Time in the server's queue [s]."""
        return self.start_s - self.requests.arrival_s

    @property
    def finish_s(self) -> FloatArray:
        """When the server was done with it."""
        return self.start_s + self.swap_s + self.computing_s

    @property
    def delay_s(self) -> FloatArray:
        """Service delay: transmission + waiting + swap + computing [s]."""
        return self.upload_s + self.waiting_s + self.swap_s + self.computing_s + self.download_s

"""A fleet as the simulator's world of requests that come one by one: what each server takes for any kind of image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lad_rllib.edge import DelayFit, EngineDescription
from lad_rllib.edge.fit import GROWTH
from lad_rllib.fleet.model import PROMPT_MBIT
from lad_rllib.fleet.spec import FleetSpec
from lad_rllib.service import Offer, RequestModel
from lad_rllib.simulator.order import make_order, order_spec
from lad_rllib.simulator.requests import LinearService, RequestSetting
from lad_rllib.simulator.requests.mixes import IMAGE_KINDS
from lad_rllib.simulator.requests.requests import REFERENCE_PIXELS

if TYPE_CHECKING:
    import pandas as pd

MAX_EXPONENT = 3.0
"""Largest growth of a step's time with pixels that is fitted; attention over all pixels has 2."""


def service_of_fit(fit: DelayFit, engine: EngineDescription) -> LinearService:
    """Service model of a server whose line at its own size is known; other images are as its engine states."""
    growth = _growth(engine)
    own = offer_of(engine)
    factor = (own.width * own.height / REFERENCE_PIXELS) ** growth.pixel_exponent * _guidance(growth, engine)
    return growth.model_copy(update={"overhead_s": max(fit.overhead_s, 0.0), "per_step_s": fit.per_step_s / factor})


def service_of_images(images: pd.DataFrame, engine: EngineDescription) -> LinearService:
    """Service model of a server by least relative squares over its measured images.

    Times grow with pixels as measured where there are several sizes, else, and with guidance and images at once, as the
    engine states.

    Args:
        images: One row for each image: ``denoising_steps``, ``width``, ``height`` and ``computing_s`` [s].
        engine: What the server's engine is.
    """
    growth = _growth(engine)
    pixels = (images["width"] * images["height"] / REFERENCE_PIXELS).to_numpy(float)
    steps = images["denoising_steps"].to_numpy(float) * _guidance(growth, engine)
    seconds = images["computing_s"].to_numpy(float)

    def line(exponent: float) -> tuple[float, float, float]:
        """Overhead and time of a step [s], and the sum of squared relative errors."""
        columns = np.stack([np.ones(len(seconds)), steps * pixels**exponent], axis=1) / seconds[:, None]
        (overhead, per_step), *_ = np.linalg.lstsq(columns, np.ones(len(seconds)))
        if overhead < 0:
            overhead, per_step = 0.0, columns[:, 1].sum() / (columns[:, 1] ** 2).sum()
        return float(overhead), float(per_step), float(((columns @ [overhead, per_step] - 1.0) ** 2).sum())

    exponent = growth.pixel_exponent
    if len(np.unique(pixels)) > 1:
        from scipy.optimize import minimize_scalar  # a service fits nothing

        exponent = float(minimize_scalar(lambda e: line(e)[2], bounds=(0.0, MAX_EXPONENT), method="bounded").x)
    overhead_s, per_step_s, _ = line(exponent)
    predicted = overhead_s + per_step_s * steps * pixels**exponent
    spread = float(np.sqrt((np.log(seconds / predicted) ** 2).mean()))
    update = {"overhead_s": overhead_s, "per_step_s": per_step_s, "pixel_exponent": exponent, "spread": spread}
    return growth.model_copy(update=update)


def request_spec(
    spec: FleetSpec,
    services: Sequence[LinearService],
    engines: Sequence[EngineDescription],
    *,
    name: str,
    mix: str = "own",
    denoising_steps: tuple[int, int] = (10, 19),
    size: tuple[int, int] | None = None,
    load: float | None = 0.7,
    rate_per_s: float | None = None,
    requests: int = 10_000,
    result_mbit: float = 0.8,
) -> dict[str, Any]:
    """Settings dictionary of a fleet's requests, for :func:`~lad_rllib.simulator.requests.build_request_setting`.

    Args:
        spec: The fleet; its order of service is that of its first server.
        services: Service model of each server.
        engines: What their engines are.
        name: Name in results.
        mix: Kinds of images: a name in :data:`~lad_rllib.simulator.requests.mixes.IMAGE_KINDS`, or ``own`` for one kind
            with ``denoising_steps`` and ``size``.
        denoising_steps: Fewest and most steps.
        size: Width and height [pixel]; None: the first server's own.
        load: Offered work over what the servers can do; None: ``rate_per_s``.
        rate_per_s: Arrival rate [1/s].
        requests: Requests of an episode.
        result_mbit: Size of an image [Mbit].
    """
    own = offer_of(engines[0])
    width, height = size or (own.width, own.height)
    kinds: Sequence[dict[str, Any]] = IMAGE_KINDS.get(
        mix, ({"steps": list(denoising_steps), "width": width, "height": height, "guided": own.guided},)
    )
    return {
        "name": name,
        "requests": requests,
        "servers": [
            {
                "name": server.name,
                "service": {"kind": "linear", **service.model_dump()},
                "link_rate_mbit_per_s": server.link_rate_mbit_per_s,
                "stations": [b for b, home in enumerate(spec.home_server) if home == index],
            }
            for index, (server, service) in enumerate(zip(spec.servers, services, strict=True))
        ],
        "order": order_spec(make_order(spec.servers[0].order)),
        "traffic": {
            "kind": "poisson",
            **({"load": load} if rate_per_s is None else {"rate_per_s": rate_per_s}),
            "mix": {
                "images": [{**kind, "upload_mbit": list(PROMPT_MBIT), "result_mbit": result_mbit} for kind in kinds],
                "stations": spec.stations,
            },
        },
    }


def services_of(setting: RequestSetting, spec: FleetSpec) -> list[LinearService] | None:
    """Service models of a fleet's servers in a setting of its calibration; None: it is none of this fleet.

    It is of the fleet if it has the fleet's servers, by their names.
    """
    servers = setting.world.servers
    services = [server.service_model("") for server in servers if server.speed == 1]
    linear = [one for one in services if isinstance(one, LinearService)]
    is_it = [server.name for server in servers] == [server.name for server in spec.servers]
    return linear if is_it and len(linear) == len(servers) else None


def request_model(setting: RequestSetting, engines: Sequence[EngineDescription]) -> RequestModel:
    """What a dispatcher knows of a fleet's requests; its past are the setting's past requests."""
    return RequestModel(setting.world, setting.history(), [offer_of(engine) for engine in engines])


def offer_of(engine: EngineDescription) -> Offer:
    """What a server draws; one that does not choose between models has the one that it names, and is sent no names."""
    drawn = Offer(engine.width or Offer.width, engine.height or Offer.height, engine.guided, engine.models)
    if engine.models or engine.residency is not None:
        return drawn
    return replace(drawn, models=(engine.model,), chooses=False)


def _growth(engine: EngineDescription) -> LinearService:
    return engine.service if isinstance(engine.service, LinearService) else GROWTH


def _guidance(growth: LinearService, engine: EngineDescription) -> float:
    return growth.guidance_factor if engine.guided else 1.0

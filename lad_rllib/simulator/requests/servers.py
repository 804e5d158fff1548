"""The servers of a setting of requests as a settings file states them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from lad_rllib.declared import Declared, Text
from lad_rllib.simulator.field_types import MAX_COUNT, CountOrZero, NotNegative, Positive
from lad_rllib.simulator.network import published_network
from lad_rllib.simulator.requests.service_model import ServiceModel, make_service_model
from lad_rllib.simulator.requests.world import RequestServer

ByModel = dict[str, NotNegative]


class ServerFields(Declared):
    """One edge server of a setting; what is null is as the setting says for all."""

    name: Text | None = None
    """Name in results; null: ``server`` and its number, from 0."""
    speed: Positive = 1.0
    """Relative speed: service times are divided by it."""
    service: dict[str, Any] | None = None
    """Group: ``kind`` of its service model, and the fields that this kind has."""
    service_of_model: dict[str, dict[str, Any]] | None = None
    """Such groups for single image models, by their names."""
    link_rate_mbit_per_s: Positive | None = None
    """Rate of its link [Mbit/s]; null: transfers take no time."""
    stations: list[Annotated[int, Field(ge=0, le=MAX_COUNT)]] = []
    """Base stations at which it stands; their requests are not uploaded."""
    models_in_memory: CountOrZero | None = None
    """Image models that it holds at once."""
    swap_s: NotNegative | ByModel | None = None
    """Time to load an image model [s]."""
    lora_swap_s: NotNegative | None = None
    """Time to load a set of LoRAs [s]."""


class ServiceFields(Declared):
    """What the servers of a setting have in common, unless one says otherwise."""

    service: dict[str, Any] = {}
    """Group: ``kind`` of the service model (``linear``), and the fields that this kind has: what a server of speed 1
    needs for a request."""
    service_of_model: dict[str, dict[str, Any]] = {}
    """Such groups for single image models, by their names; ``service`` is that of all others."""
    models_in_memory: CountOrZero = 0
    """Image models that a server holds at once; the least recently used makes room. 0: all of them."""
    swap_s: NotNegative | ByModel = 0.0
    """Time to load an image model that a server does not hold [s]: one number, or one for each model by its name."""
    lora_swap_s: NotNegative = 0.0
    """Time to load a set of LoRAs other than the one last used [s]."""


def reference_server(common: ServiceFields, fitted: ServiceModel | None = None) -> RequestServer:
    """A server of speed 1 that is as the setting says for all: what service times are stated for.

    Args:
        common: The setting.
        fitted: What takes the place of its service model, if that is still to be fitted.
    """
    return build_server(ServerFields(name="reference"), common, fitted)


def build_server(fields: ServerFields, common: ServiceFields, fitted: ServiceModel | None = None) -> RequestServer:
    """A server with what the setting says for all where it says nothing."""
    own = {name: value for name in ServiceFields.model_fields if (value := getattr(fields, name)) is not None}
    values = {**{name: getattr(common, name) for name in ServiceFields.model_fields}, **own}
    of_all = fitted if fitted and "service" not in own else make_service_model(values["service"])
    of_model = {model: make_service_model(spec) for model, spec in values["service_of_model"].items()}
    swap_s = values["swap_s"]
    return RequestServer(
        name=fields.name or "",
        service={"": of_all, **of_model},
        speed=fields.speed,
        link_rate_mbit_per_s=np.inf if fields.link_rate_mbit_per_s is None else fields.link_rate_mbit_per_s,
        stations=frozenset(fields.stations),
        models_in_memory=values["models_in_memory"],
        swap_s=swap_s if isinstance(swap_s, Mapping) else {"": swap_s},
        lora_swap_s=values["lora_swap_s"],
    )


def published_servers() -> list[ServerFields]:
    """The servers of the published experiments: speeds are capacities [Gcycle/s]; each stands at a base station."""
    network = published_network()
    pairs = zip(network.capacity_gcycles_per_s.tolist(), network.link_rate_mbit_per_s.tolist(), strict=True)
    return [
        ServerFields(speed=speed, link_rate_mbit_per_s=rate, stations=[index])
        for index, (speed, rate) in enumerate(pairs)
    ]

"""A setting of requests that come one by one: servers, their order of service, and the traffic.

A setting is described by a plain dictionary with the keys of :class:`RequestSettingFields`. It is one of requests, not
of slots, if its preset is in :data:`REQUEST_PRESETS` or it has the key ``traffic``.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from lad_rllib.declared import Declared, declared, shown
from lad_rllib.errors import ConfigurationError
from lad_rllib.reference import json_schema
from lad_rllib.simulator.field_types import Count, Positive
from lad_rllib.simulator.order import make_order
from lad_rllib.simulator.requests.fitted_service import explained
from lad_rllib.simulator.requests.mixes import Mix
from lad_rllib.simulator.requests.requests import Requests
from lad_rllib.simulator.requests.servers import (
    ServerFields,
    ServiceFields,
    build_server,
    published_servers,
    reference_server,
)
from lad_rllib.simulator.requests.service_model import SERVICE_MODELS
from lad_rllib.simulator.requests.traffic import TRAFFIC, Sent, Traffic
from lad_rllib.simulator.requests.world import RequestServer, RequestWorld, WorkKnown
from lad_rllib.simulator.settings import as_group, resolve_paths
from lad_rllib.simulator.sizes import FLOAT64, check_fits

# The mix's image of 1024 x 1024 takes 10 s on a server of speed 1, give or take about a tenth.
_SERVICE = {"kind": "linear", "per_step_s": 0.1, "spread": 0.1}
_UNEQUAL = [1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25]
REQUEST_PRESETS: dict[str, dict[str, Any]] = {
    # Servers, tasks and load of arXiv 2412.18212, the tasks one by one.
    "paper-one-by-one": {
        "requests": 30_000,
        "servers": "published",
        "service": {"kind": "linear", "per_step_s": 1.0},
        "traffic": {"kind": "poisson", "load": 1.24, "mix": {"images": "paper", "stations": 20}},
    },
    "equal-3": {"servers": [1.0, 1.0, 1.0], "service": _SERVICE, "traffic": {"kind": "poisson", "load": 0.7}},
    "unequal-8": {"servers": _UNEQUAL, "service": _SERVICE, "traffic": {"kind": "poisson", "load": 0.7}},
    "unequal-8-bursty": {"servers": _UNEQUAL, "service": _SERVICE, "traffic": {"kind": "bursty", "load": 0.7}},
    "daily": {
        "servers": _UNEQUAL,
        "service": _SERVICE,
        "duration_s": 86_400.0,
        "traffic": {"kind": "daily", "load": 0.5},
    },
    # Popularity as in GenTD26: of 86 models five have 70 % of the requests; 16 % use LoRAs. Switching a pipeline takes
    # 8.5 s there in the median, a LoRA 4.4 s.
    "swap-heavy": {
        "servers": _UNEQUAL,
        "service": _SERVICE,
        "models_in_memory": 3,
        "swap_s": 8.5,
        "lora_swap_s": 4.4,
        "traffic": {
            "kind": "poisson",
            "load": 0.7,
            "mix": {"models": 86, "zipf": 1.5, "lora_sets": 100, "lora_share": 0.16},
        },
    },
    # A production log (traffic.path must name it). Speeds are those of its containers: median times 21.7, 38.1 and
    # 44.6 s (10th, 50th and 90th percentile); loading a model takes 22.7 s in the median, LoRAs 4.4 s.
    "gentd26": {
        "servers": [1.75, 1.75, 1.0, 1.0, 1.0, 1.0, 0.85, 0.85],
        "service": {"kind": "fitted"},
        "models_in_memory": 2,
        "swap_s": 22.7,
        "lora_swap_s": 4.4,
        "requests": 400,
        "traffic": {"kind": "recorded", "format": "gentd26", "load": 0.6, "max_gap_s": 300.0},
    },
}
"""Named settings of requests. Any key can be changed on top of a preset."""

_PAST_SEED, _PAST_REQUESTS = 271_828, 20_000
_GROUPS = ("traffic", "mix", "service")


class RequestSettingFields(ServiceFields):
    """The keys of a setting of requests."""

    preset: str | None = None
    """Named setting that the other keys change; null: none."""
    name: Annotated[str, Field(max_length=200)] | None = None
    """Name in results; null: the preset's, or ``requests``."""
    servers: Literal["published"] | Annotated[list[Positive | ServerFields], Field(min_length=1)]
    """The edge servers: a list of relative speeds, or of groups; ``published``: those of arXiv 2412.18212."""
    order: str | dict[str, Any] = "fifo"
    """Order of service: ``name``, ``name:field=number``, or a group with ``name`` and fields."""
    work: WorkKnown = "predicted"
    """What schedulers are told of service times: ``predicted`` by the service model, or ``known`` as they will be."""
    requests: Count = 10_000
    """Requests of an episode."""
    duration_s: Positive | None = None
    """Length of an episode [s], instead of ``requests``: so many as arrive in that time on average."""
    traffic: dict[str, Any]
    """Group: ``kind``, where requests come from, and the fields that the kind has."""


@dataclass(frozen=True)
class RequestSetting:
    """What a scheduler of requests is trained or evaluated on.

    Attributes:
        name: Name in results.
        world: The servers and their order of service.
        traffic: Where requests come from.
        num_requests: Requests of an episode.
        rate_per_s: Mean arrival rate [1/s].
        reference: A server of speed 1, for which service times are stated and measured.
        deadline_over_solo: Deadline of requests that state none, see
            :class:`~lad_rllib.simulator.requests.traffic.TrafficFields`.
        spec: The dictionary that describes it, every field filled in; ``build_request_setting(spec)`` builds it again.
    """

    name: str
    world: RequestWorld
    traffic: Traffic
    num_requests: int
    rate_per_s: float
    reference: RequestServer
    deadline_over_solo: float | None
    spec: dict[str, Any]

    def of_episode(self, rng: np.random.Generator) -> RequestSetting:  # noqa: ARG002
        """What an episode is played on: always this, unlike with random fleets."""
        return self

    def draw(self, rng: np.random.Generator) -> Requests:
        """The requests of one episode, with the service times that they will really have."""
        return self._realised(self.traffic.draw(rng, self.num_requests, self.rate_per_s), rng)

    def windows(self) -> Iterator[Requests]:
        """Consecutive episodes of the part of a log in order, none of which overlap, each with empty queues at first.

        Raises:
            ConfigurationError: if the requests come from no log.
        """
        rng = np.random.default_rng(0)
        for sent in self.traffic.windows(self.num_requests, self.rate_per_s, rng):
            yield self._realised(sent, rng)

    def history(self) -> Requests:
        """Requests of the past, from which a service knows its traffic; always the same, and none that an episode has.

        Of a log, those before the part that episodes are cut from. Only a part that begins with the log has no past: it
        gets its own requests, which is for training, not for judging.
        """
        rng = np.random.default_rng(_PAST_SEED)
        past = self.traffic.past(self.rate_per_s)
        number = min(self.num_requests, _PAST_REQUESTS)
        return self._realised(past or self.traffic.draw(rng, number, self.rate_per_s), rng)

    @property
    def most_servers(self) -> int:
        """Edge servers; the most of an episode, where random fleets have several."""
        return self.world.num_servers

    @property
    def load(self) -> float:
        """Offered work over what the servers can do, without the loading of models; above 1 the queues grow."""
        return self.rate_per_s / self.capacity_per_s

    @cached_property
    def capacity_per_s(self) -> float:
        """Requests that all servers together can finish in a second on average, models loaded [1/s]."""
        requests = self._realised(self.traffic.typical(), None)
        actual_s = self.world.service_s(requests) * requests.actual_over_predicted[:, None]
        with np.errstate(over="ignore"):  # whoever asks for a rate is told
            return float((1.0 / actual_s.mean(axis=0)).sum())

    def with_part(self, part: tuple[float, float]) -> RequestSetting:
        """The same setting on another part of its request log, which is not read again.

        Raises:
            ConfigurationError: if the requests come from no log.
        """
        traffic = self.traffic.with_part(part)
        spec = override_request_spec(self.spec, {"traffic": {"part": list(part)}})
        setting = _at_rate(replace(self, traffic=traffic, spec=spec))
        traffic.check_episode(setting.num_requests)
        return setting

    def summary(self) -> str:
        """The setting and what it means, in a few lines of text."""
        growth = "more than they can do: queues grow" if self.load > 1 else "which they can do on average"
        line = (
            f"{self.name}: {self.world.num_servers} edge servers, {self.num_requests:,} requests that come one by one, "
            f"{self.rate_per_s:.4g} a second, load {self.load:.3f}, {growth}"
        )
        return "\n".join(text for text in (line, self.traffic.describe(), self._prediction()) if text)

    def _prediction(self) -> str:
        """How good predictions of measured times are, in words; empty if none were measured."""
        here, past = self.traffic.typical(), self.traffic.past(self.rate_per_s)
        if past is None or here.measured_s is None or past.measured_s is None:
            return ""
        service = self.reference.service_model("")
        share = explained(service, here.requests, here.measured_s)
        before = explained(service, past.requests, past.measured_s)
        return f"  predictions explain {share:.0%} of the variance of ln(service time), {before:.0%} in the past"

    def _realised(self, sent: Sent, rng: np.random.Generator | None) -> Requests:
        """Requests with their deadlines and what they really take: as measured, or drawn; None: as predicted."""
        requests = sent.requests
        actual = np.ones(len(requests))
        if sent.measured_s is not None:
            actual = sent.measured_s / self.reference.service_s(requests)
        elif rng is not None:
            spread = self.reference.spread(requests)
            actual = np.exp(spread * rng.standard_normal(len(requests)) - 0.5 * spread**2)  # of mean 1
        requests = replace(requests, actual_over_predicted=actual)
        if self.deadline_over_solo is None:
            return requests
        timing = replace(self.world, work="predicted").timing(requests)
        due = self.deadline_over_solo * timing.solo_s(timing.predicted_s)
        return replace(requests, deadline_s=np.where(np.isfinite(requests.deadline_s), requests.deadline_s, due))


def is_request_spec(spec: object) -> bool:
    """Whether a settings dictionary is one of requests, not of slots."""
    return isinstance(spec, Mapping) and ("traffic" in spec or spec.get("preset") in (*REQUEST_PRESETS,))


def build_request_setting(spec: Mapping[str, Any]) -> RequestSetting:
    """Build the setting that a plain dictionary describes; the same dictionary gives the same setting.

    Raises:
        ConfigurationError: for an unknown preset, key or kind, for a value that cannot be used, and for values that
            contradict each other.

    >>> setting = build_request_setting({"servers": [1.0, 0.5], "traffic": {"kind": "poisson", "load": 0.6}})
    >>> setting.world.num_servers, round(setting.load, 3), len(setting.draw(np.random.default_rng(0)))
    (2, 0.6, 10000)
    """
    top = declared(RequestSettingFields, _on_preset(as_group("a setting", spec)))
    fields = declared(TRAFFIC[top.traffic.get("kind", "poisson")], top.traffic, "traffic.")
    traffic, servers = fields.build(), _servers(top)
    fitted = traffic.fitted_service() if dict(top.service) == {"kind": "fitted"} else None
    reference = reference_server(top, fitted)
    built = tuple(build_server(one, top, fitted) for one in servers)
    resolved = {
        **top.model_dump(),
        "name": top.name or top.preset or "requests",
        "service": {"kind": top.service.get("kind", "linear"), **reference.service[""].model_dump()},
        "servers": [one.model_dump() for one in servers],
        "traffic": fields.model_dump(),
    }
    setting = _at_rate(
        RequestSetting(
            name=resolved["name"],
            world=RequestWorld(built, make_order(top.order), top.work),
            traffic=traffic,
            num_requests=top.requests,
            rate_per_s=1.0,
            reference=reference,
            deadline_over_solo=fields.deadline_over_solo,
            spec=resolve_paths(resolved, Path.cwd()),
        )
    )
    _check_size(setting)
    traffic.check_episode(setting.num_requests)
    return setting


def _servers(top: RequestSettingFields) -> list[ServerFields]:
    """The servers of a setting, each as a group with its name."""
    stated = published_servers() if top.servers == "published" else top.servers
    groups = [one if isinstance(one, ServerFields) else ServerFields(speed=one) for one in stated]
    servers = [one.model_copy(update={"name": one.name or f"server{index}"}) for index, one in enumerate(groups)]
    names = [one.name for one in servers]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ConfigurationError(f"servers[{index}].name {shown(name)} stands twice; give each server its own")
    return servers


def _at_rate(setting: RequestSetting) -> RequestSetting:
    """The setting at the rate, and with the number of requests, that its dictionary asks for."""
    fields = setting.spec["traffic"]
    rate = fields["rate_per_s"] or setting.traffic.own_rate_per_s
    if fields["load"] is not None:
        rate = fields["load"] * setting.capacity_per_s
    if rate is None or not 0 < rate < np.inf:
        raise ConfigurationError(f"traffic.load {fields['load']} gives {rate} requests a second on these servers")
    duration = setting.spec["duration_s"]
    number = setting.spec["requests"] if duration is None else max(round(rate * duration), 1)
    return replace(setting, rate_per_s=float(rate), num_requests=int(number))


def _check_size(setting: RequestSetting) -> None:
    """Refuse a setting of which one episode does not fit into memory."""
    requests, servers = setting.num_requests, setting.world.num_servers
    matrices = 5  # predicted, actual, both transfers, keys
    check_fits(
        f"an episode of {requests:,} requests on {servers:,} edge servers",
        requests * servers * matrices * FLOAT64,
        "requests, duration_s or servers",
    )


def _on_preset(spec: dict[str, Any]) -> dict[str, Any]:
    preset = spec.get("preset")
    if preset is None:
        return spec
    if not isinstance(preset, str) or preset not in REQUEST_PRESETS:
        raise ConfigurationError(f"unknown preset {shown(preset)}; choose from {', '.join(REQUEST_PRESETS)}")
    return override_request_spec(REQUEST_PRESETS[preset], spec)


def override_request_spec(spec: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A settings dictionary with changes on top; groups are merged field by field.

    Another kind of traffic keeps the fields that both kinds have; another kind of service keeps none. A load takes the
    place of a rate, a duration that of a number of requests, and the other way round.

    >>> override_request_spec({"traffic": {"kind": "poisson", "rate_per_s": 2.0}}, {"traffic": {"load": 0.7}})
    {'traffic': {'kind': 'poisson', 'load': 0.7}}
    """
    merged = copy.deepcopy(dict(spec))
    for key, value in changes.items():
        if key in _GROUPS:
            value, base = as_group(key, value), as_group(key, merged.get(key, {}))
            if value.get("kind", base.get("kind")) != base.get("kind"):
                base = _shared(base, value["kind"]) if key == "traffic" else {}
            value = override_request_spec(base, value) if key == "traffic" else {**base, **value}
        for one, other in _INSTEAD:
            if key == one and value is not None and other not in changes:
                merged.pop(other, None)
        merged[key] = copy.deepcopy(value)
    return merged


_INSTEAD = (("load", "rate_per_s"), ("rate_per_s", "load"), ("requests", "duration_s"))


def _shared(fields: Mapping[str, Any], kind: object) -> dict[str, Any]:
    """The fields of a traffic that another kind has, too."""
    known = TRAFFIC[kind].model_fields
    return {key: value for key, value in fields.items() if key in known and key != "kind"}


def request_setting_groups() -> dict[str, type[Declared]]:
    """Every group of a setting of requests with its declaration, for tables."""
    service = {f"service, kind: {name}": SERVICE_MODELS[name] for name in SERVICE_MODELS}
    traffic = {f"traffic, kind: {name}": TRAFFIC[name] for name in TRAFFIC}
    return {"top level": RequestSettingFields, "servers": ServerFields, **service, **traffic, "traffic.mix": Mix}


def request_setting_schema() -> dict[str, Any]:
    """JSON schema of a settings file of requests, for editors."""
    schema = json_schema(RequestSettingFields)
    schema["properties"]["preset"]["enum"] = [None, *REQUEST_PRESETS]
    schema["properties"]["service"] = {"anyOf": [_of_kind(SERVICE_MODELS[name], name) for name in SERVICE_MODELS]}
    schema["properties"]["traffic"] = {"anyOf": [_of_kind(TRAFFIC[name], name) for name in TRAFFIC]}
    schema["required"] = []  # what a preset has need not be stated
    return schema


def _of_kind(group: type[Declared], kind: str) -> dict[str, Any]:
    schema = json_schema(group)
    schema["properties"]["kind"] = {"const": kind}
    schema["required"] = []
    return schema

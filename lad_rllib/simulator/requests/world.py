"""Where requests are served: unequal servers, what they hold in memory, and their order of service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lad_rllib.arrays import DoubleMatrix, Doubles, Integers
from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator import delays
from lad_rllib.simulator.network import EdgeNetwork
from lad_rllib.simulator.order import FirstInFirstOut, Order
from lad_rllib.simulator.requests.requests import Requests, plain_requests
from lad_rllib.simulator.requests.service_model import LinearService, ServiceModel
from lad_rllib.simulator.tasks import Arrivals

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FIFO = FirstInFirstOut()

WorkKnown = Literal["predicted", "known"]
"""What schedulers, queues and prediction are told of a request's service time: what its service model predicts, or what
it will really take, which no service knows. The world always draws or replays what it really takes."""


@dataclass(frozen=True)
class RequestServer:
    """One edge server.

    Attributes:
        name: Its name.
        service: Service time of a request, by the name of its image model; the entry ``""`` is that of all others.
        speed: Relative speed: the times of its service models are divided by it.
        link_rate_mbit_per_s: Rate of its link; infinite for none [Mbit/s].
        stations: Base stations at which it stands; their requests are not uploaded.
        models_in_memory: Image models that it holds at once; the least recently used makes room. 0: all of them.
        swap_s: Time to load an image model that it does not hold [s], by the model's name; ``""``: all others.
        lora_swap_s: Time to load a set of LoRAs other than the one last used [s]; a model that is loaded has none.
    """

    name: str
    service: Mapping[str, ServiceModel]
    speed: float = 1.0
    link_rate_mbit_per_s: float = np.inf
    stations: frozenset[int] = frozenset()
    models_in_memory: int = 0
    swap_s: Mapping[str, float] = field(default_factory=dict)
    lora_swap_s: float = 0.0

    def service_model(self, model: str) -> ServiceModel:
        """Service model of an image model.

        Raises:
            ConfigurationError: if the server has none for it.
        """
        found = self.service.get(model, self.service.get(""))
        if found is None:
            raise ConfigurationError(
                f"server {self.name} has no service model for {model!r}; it has {', '.join(self.service) or 'none'}"
            )
        return found

    def service_s(self, requests: Requests) -> FloatArray:
        """Predicted service time of each request here, its model loaded [s], shape (K,)."""
        seconds = np.empty(len(requests))
        for model, of_model in self._by_service(requests):
            seconds[of_model] = model.seconds(requests[of_model]) / self.speed
        return seconds

    def load_s(self, model: str) -> float:
        """Time to load an image model that it does not hold [s]."""
        return float(_by_model(self.swap_s, (model,))[0])

    def spread(self, requests: Requests) -> FloatArray:
        """Standard deviation of the logarithm of actual over predicted service times here [1], shape (K,)."""
        spread = np.empty(len(requests))
        for model, of_model in self._by_service(requests):
            spread[of_model] = model.spread
        return spread

    def _by_service(self, requests: Requests) -> Iterator[tuple[ServiceModel, slice | NDArray[np.bool_]]]:
        """Each service model that the requests need, and where; what many image models share comes once."""
        used = np.flatnonzero(np.bincount(requests.model)).tolist()
        named = {index: self.service_model(requests.models[index]) for index in used}
        for model in {id(one): one for one in named.values()}.values():
            own = [index for index, one in named.items() if one is model]
            yield model, slice(None) if len(own) == len(used) else np.isin(requests.model, own)


class Timing(NamedTuple):
    """Everything about K requests on A servers in seconds, as the event loop takes it.

    Attributes:
        arrival_s: Arrivals (K,).
        predicted_s: Service time as it is predicted (K, A).
        actual_s: Service time as it will be (K, A).
        upload_s, download_s: Transfers (K, A).
        key: Key of each request at each server (K, A), see :class:`~lad_rllib.simulator.order.Order`.
        tenant: Tenant of each request (K,), where the order is fair between them.
        weights: Weight of each tenant; empty unless the order is fair.
        model: Image model of each request (K,).
        loras: Set of LoRAs of each request (K,).
        swap_s: Time to load each model on each server (A, M).
        lora_swap_s: Time to load a set of LoRAs on each server (A,).
        models_in_memory: Models that each server holds (A,); 0: all.
        facts: What a request says of itself (K, len(FACTS)).
    """

    arrival_s: Doubles
    predicted_s: DoubleMatrix
    actual_s: DoubleMatrix
    upload_s: DoubleMatrix
    download_s: DoubleMatrix
    key: DoubleMatrix
    tenant: Integers
    weights: Doubles
    model: Integers
    loras: Integers
    swap_s: DoubleMatrix
    lora_swap_s: Doubles
    models_in_memory: Integers
    facts: DoubleMatrix

    def solo_s(self, service_s: FloatArray) -> FloatArray:
        """Delay of each request on the server that is best for it, idle, with its model loaded [s], shape (K,)."""
        solo: FloatArray = (self.upload_s + service_s + self.download_s).min(axis=1)
        return solo


FACTS = ("declared_cost", "priority", "deadline_s", "model", "loras", "station", "tenant")
"""What a request says of itself besides its service times, in the order of :attr:`Timing.facts`."""


@dataclass(frozen=True)
class RequestWorld:
    """Servers and their order of service.

    Attributes:
        servers: The A edge servers.
        order: Order of service, the same on all.
        work: What schedulers are told of service times.
        at_once: Requests of one instant are decided at once, none knowing where the others go, as by base stations at
            the start of a slot; otherwise one after the other. Only compiled rules play such a world.
    """

    servers: tuple[RequestServer, ...]
    order: Order = FIFO
    work: WorkKnown = "predicted"
    at_once: bool = False

    def __post_init__(self) -> None:
        if not self.servers:
            raise ConfigurationError("a world needs at least one edge server")

    @property
    def num_servers(self) -> int:
        """Number of edge servers A."""
        return len(self.servers)

    def service_s(self, requests: Requests) -> FloatArray:
        """Predicted service time of each request on each server, its model loaded [s], shape (K, A)."""
        return np.stack([server.service_s(requests) for server in self.servers], axis=1)

    def speed(self, requests: Requests) -> FloatArray:
        """Relative speed of each server on these requests, mean 1: inverse of its mean service time, shape (A,)."""
        speed = 1.0 / self.service_s(requests).mean(axis=0)
        return speed / speed.mean()

    def timing(self, requests: Requests) -> Timing:
        """Everything about these requests on these servers in seconds."""
        predicted = self.service_s(requests)
        actual = predicted * requests.actual_over_predicted[:, None]
        rate = np.array([server.link_rate_mbit_per_s for server in self.servers])
        is_home = np.stack([np.isin(requests.station, list(server.stations)) for server in self.servers], axis=1)
        return timing_of(
            requests,
            self.order,
            predicted_s=actual if self.work == "known" else predicted,
            actual_s=actual,
            upload_s=delays.upload_delay_s(requests.upload_mbit[:, None], rate, is_home),
            download_s=delays.download_delay_s(requests.result_mbit[:, None], rate),
            swap_s=np.stack([_by_model(server.swap_s, requests.models) for server in self.servers]),
            lora_swap_s=np.array([server.lora_swap_s for server in self.servers]),
            models_in_memory=np.array([server.models_in_memory for server in self.servers]),
        )


def timing_of(
    requests: Requests,
    order: Order,
    *,
    predicted_s: FloatArray,
    actual_s: FloatArray,
    upload_s: FloatArray,
    download_s: FloatArray,
    swap_s: FloatArray,
    lora_swap_s: FloatArray,
    models_in_memory: IntArray,
) -> Timing:
    """Timing of requests whose times on each server are given, with the keys of an order of service."""
    key = order.key(requests.arrival_s[:, None], predicted_s, requests.deadline_s[:, None], requests.priority[:, None])
    shares = order.shares
    weights = [] if shares is None else [shares.get(tenant, 1.0) for tenant in requests.tenants]
    facts = [np.asarray(getattr(requests, name), np.float64) for name in FACTS]
    return Timing(
        arrival_s=_plain(requests.arrival_s),
        predicted_s=_plain(predicted_s),
        actual_s=_plain(actual_s),
        upload_s=_plain(upload_s),
        download_s=_plain(download_s),
        key=_plain(key),
        tenant=_plain(requests.tenant),
        weights=np.array(weights, dtype=np.float64),
        model=_plain(requests.model),
        loras=_plain(requests.loras),
        swap_s=_plain(swap_s.astype(np.float64)),
        lora_swap_s=_plain(lora_swap_s.astype(np.float64)),
        models_in_memory=_plain(np.minimum(models_in_memory, len(requests.models)).astype(np.int64)),
        facts=np.stack(facts, axis=1),
    )


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """The array as compiled code takes it: contiguous, and writable, which broadcast ones and Ray's are not."""
    return np.require(values, requirements=["C", "W"])


def _by_model(seconds: Mapping[str, float], models: tuple[str, ...]) -> FloatArray:
    """Time of each image model [s]; ``""`` stands for those that are not named."""
    values = np.full(len(models), float(seconds.get("", 0.0)))
    for index, model in enumerate(models if any(seconds) else ()):
        values[index] = seconds.get(model, values[index])
    return values


def slotted_world(
    network: EdgeNetwork,
    order: Order = FIFO,
    density: float = 1.0,
    overhead_steps: float = 0.0,
    service: Mapping[str, float] | None = None,
) -> RequestWorld:
    """The world of the paper's simulator: one number of work per request, one number of speed per server.

    Args:
        network: The edge network.
        order: Order of service.
        density: Work of a step of an ordinary request [Gcycle]; 1 where requests state theirs.
        overhead_steps: What an image costs besides its steps, in steps.
        service: Further fields of :class:`LinearService`; None: its defaults.
    """
    servers = [
        RequestServer(
            name=f"server{index}",
            service={"": _linear(density / capacity, overhead_steps, service or {})},
            link_rate_mbit_per_s=rate,
            stations=frozenset(np.flatnonzero(network.home_server == index).tolist()),
        )
        for index, (capacity, rate) in enumerate(
            zip(network.capacity_gcycles_per_s.tolist(), network.link_rate_mbit_per_s.tolist(), strict=True)
        )
    ]
    return RequestWorld(tuple(servers), order)


def _linear(per_step_s: float, overhead_steps: float, fields: Mapping[str, float]) -> LinearService:
    return LinearService(overhead_s=overhead_steps * per_step_s, per_step_s=per_step_s, **fields)


def slotted_requests(network: EdgeNetwork, arrivals: Arrivals, num_slots: int | None = None) -> Requests:
    """The tasks of one slotted episode as requests that arrive at the starts of their slots, in the order of service.

    What an image costs besides its steps is part of the steps' density. Work that schedulers are not told is the part
    of the service time that is not predicted.

    Args:
        network: The edge network.
        arrivals: Arrivals of one episode, without the leading axis.
        num_slots: Slots whose tasks are taken; default all.
    """
    mask = arrivals.mask[:num_slots]
    slot, station, _ = np.nonzero(mask)
    shown = arrivals.shown_workload_gcycles
    steps, density, work, upload_mbit, result_mbit, predicted = (
        values[: len(mask)][mask]
        for values in (
            arrivals.denoising_steps,
            arrivals.density_gcycles_per_step,
            arrivals.workload_gcycles,
            arrivals.task_mbit,
            arrivals.result_mbit,
            arrivals.workload_gcycles if shown is None else shown,
        )
    )
    return plain_requests(
        slot * network.slot_s,
        station=station,
        steps=steps,
        density=predicted / steps if arrivals.overhead_steps or shown is not None else density,
        upload_mbit=upload_mbit,
        result_mbit=result_mbit,
        actual_over_predicted=1.0 if shown is None else work / predicted,
    )

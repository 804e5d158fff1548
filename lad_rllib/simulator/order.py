"""Order of service: which of the requests that wait at an edge server it serves next.

A server takes the waiting request with the least *key*, and finishes it before it takes another. A key is known when
the request joins the server's queue and does not change. An order is chosen by its name in :data:`ORDERS` and has
fields of its own. Another package adds one by subclassing :class:`Order` and naming the class in its entry-point group
``lad_rllib.orders``.

Simulator, edge servers, emulated servers and a dispatcher's prediction call the same function, so they serve alike.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import AfterValidator, Field

from lad_rllib.declared import Declared, declared, shown
from lad_rllib.errors import ConfigurationError
from lad_rllib.plugins import Registry

FloatArray = NDArray[np.float64]

PRIORITY_LEVEL_S = 1e6
"""How much earlier a request seems to have arrived for each level of priority [s]: 11 days, longer than any queue."""


class Order(Declared):
    """Order of service, with its settings as fields."""

    @abstractmethod
    def key(
        self, arrival_s: ArrayLike, service_s: ArrayLike, deadline_s: ArrayLike = np.inf, priority: ArrayLike = 0.0
    ) -> FloatArray:
        """Key of each request at a server; the least is served next, of equal ones the one that joined first.

        Args:
            arrival_s: When requests arrived [s].
            service_s: How long the server is predicted to work on each [s].
            deadline_s: Seconds after arrival at which each is due; infinite for none.
            priority: Priority of each; greater ones go first where the order heeds it.

        Returns:
            Keys, of the arguments' broadcast shape [s].
        """

    @property
    def shares(self) -> Mapping[str, float] | None:
        """Weight of each tenant, if the order shares a server between tenants; None: it does not know tenants."""
        return None


ORDERS: Registry[type[Order]] = Registry("order of service", "lad_rllib.orders", base=Order)
"""Name of every order of service and its class."""


@ORDERS.register("fifo")
class FirstInFirstOut(Order):
    """First in, first out: the order of arXiv 2412.18212.

    >>> FirstInFirstOut().key([0.0, 1.0], [9.0, 2.0]).tolist()
    [0.0, 1.0]
    """

    def key(
        self, arrival_s: ArrayLike, service_s: ArrayLike, deadline_s: ArrayLike = np.inf, priority: ArrayLike = 0.0
    ) -> FloatArray:
        """See :class:`Order`."""
        return np.add(arrival_s, np.zeros_like(service_s, dtype=np.float64))


@ORDERS.register("shortest_first")
class ShortestFirst(Order):
    """Shortest predicted service first: long requests wait for all short ones, and the mean delay is small.

    Least of all orders without interruption on one server with arrivals at random (M/G/1), if predictions come true.
    Source: T. E. Phipps, "Machine repair as a priority waiting-line problem", Operations Research 4 (1956).

    >>> ShortestFirst().key([0.0, 1.0], [9.0, 2.0]).tolist()
    [9.0, 2.0]
    """

    def key(
        self, arrival_s: ArrayLike, service_s: ArrayLike, deadline_s: ArrayLike = np.inf, priority: ArrayLike = 0.0
    ) -> FloatArray:
        """See :class:`Order`."""
        return np.add(service_s, np.zeros_like(arrival_s, dtype=np.float64))


@ORDERS.register("aged")
class Aged(Order):
    """Shortest first with ageing: the least ``arrival + service_weight * service``.

    One knob from first in, first out (0) to shortest first (very large). A request that needs a second more may be
    overtaken by requests that arrive up to ``service_weight`` seconds later, and by no others.

    >>> Aged(service_weight=2.0).key([0.0, 1.0], [9.0, 2.0]).tolist()
    [18.0, 5.0]
    """

    service_weight: Annotated[float, Field(ge=0, le=1e9)] = 300.0
    """Seconds of earlier arrival that make up for a second of longer service."""

    def key(
        self, arrival_s: ArrayLike, service_s: ArrayLike, deadline_s: ArrayLike = np.inf, priority: ArrayLike = 0.0
    ) -> FloatArray:
        """See :class:`Order`."""
        return np.add(arrival_s, np.multiply(self.service_weight, service_s))


@ORDERS.register("deadline")
class EarliestDeadline(Order):
    """Earliest deadline first; requests without a deadline come last, in order of arrival.

    Source: J. R. Jackson, "Scheduling a production line to minimize maximum tardiness" (1955).

    >>> EarliestDeadline().key([0.0, 1.0], [9.0, 2.0], [20.0, 5.0]).tolist()
    [20.0, 6.0]
    """

    def key(
        self, arrival_s: ArrayLike, service_s: ArrayLike, deadline_s: ArrayLike = np.inf, priority: ArrayLike = 0.0
    ) -> FloatArray:
        """See :class:`Order`."""
        last = 1e9  # beyond every deadline; arrivals decide between requests without one
        due = np.minimum(np.asarray(deadline_s, dtype=np.float64), last)
        return np.add(np.add(arrival_s, due), np.zeros_like(service_s, dtype=np.float64))


@ORDERS.register("priority")
class HighestPriority(Order):
    """Greatest priority first, and in order of arrival among equals.

    >>> HighestPriority().key([0.0, 1.0], [9.0, 2.0], priority=[0, 1]).argmin().item()
    1
    """

    def key(
        self, arrival_s: ArrayLike, service_s: ArrayLike, deadline_s: ArrayLike = np.inf, priority: ArrayLike = 0.0
    ) -> FloatArray:
        """See :class:`Order`."""
        arrival = np.subtract(arrival_s, np.multiply(PRIORITY_LEVEL_S, priority))
        return np.add(arrival, np.zeros_like(service_s, dtype=np.float64))


@ORDERS.register("fair")
class WeightedFair(Order):
    """Weighted fair queueing between tenants: each gets its share of a server while it has requests there.

    A request is tagged with the virtual time at which it would end: ``max(v, tenant's last tag) + service / weight``,
    where ``v`` is the tag of the request in service. The least tag is served next. Who keeps the queue computes tags
    (:class:`FairTags`), as they depend on what joined before; :meth:`key` is that of a tenant alone.

    Source: self-clocked fair queueing, S. J. Golestani, INFOCOM 1994.
    """

    weights: dict[str, Annotated[float, Field(gt=0, le=1e6)]] = {}
    """Weight of single tenants; all others have 1."""

    def key(
        self, arrival_s: ArrayLike, service_s: ArrayLike, deadline_s: ArrayLike = np.inf, priority: ArrayLike = 0.0
    ) -> FloatArray:
        """See :class:`Order`; first in, first out."""
        return np.add(arrival_s, np.zeros_like(service_s, dtype=np.float64))

    @property
    def shares(self) -> Mapping[str, float]:
        """See :class:`Order`."""
        return self.weights


class FairTags:
    """Tags of one server's requests under :class:`WeightedFair`.

    >>> tags = FairTags({"b": 2.0})
    >>> [tags.join("a", 4.0), tags.join("a", 4.0), tags.join("b", 4.0)]
    [4.0, 8.0, 2.0]
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights, self._last, self._virtual = weights, dict[str, float](), 0.0

    def tag(self, tenant: str, service_s: float) -> float:
        """The tag of a request if it joined now."""
        return max(self._virtual, self._last.get(tenant, 0.0)) + service_s / self._weights.get(tenant, 1.0)

    def join(self, tenant: str, service_s: float) -> float:
        """A request joins the queue; returns its tag."""
        self._last[tenant] = self.tag(tenant, service_s)
        return self._last[tenant]

    def serve(self, tag: float) -> None:
        """The request with this tag is in service now; of tenants whose requests are all served nothing is kept."""
        self._virtual = tag
        self._last = {tenant: last for tenant, last in self._last.items() if last > tag}

    def idle(self) -> None:
        """Nothing waits or is in service: what tenants had is forgotten."""
        self._last.clear()
        self._virtual = 0.0


class QueueKeys:
    """Keys of one queue's requests under any order, also one for which it matters what joined before.

    Args:
        order: Order of service.

    >>> keys = QueueKeys(make_order("fair"))
    >>> keys.join(0.0, 4.0, tenant="a"), keys.key(0.0, 4.0, tenant="a"), keys.key(0.0, 4.0, tenant="b")
    (4.0, 8.0, 4.0)
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._tags = None if order.shares is None else FairTags(order.shares)

    def key(
        self, arrival_s: float, service_s: float, deadline_s: float = np.inf, priority: float = 0.0, tenant: str = ""
    ) -> float:
        """Key of a request if it joined now; arguments as of :meth:`Order.key`, and its tenant."""
        if self._tags is not None:
            return self._tags.tag(tenant, service_s)
        return float(self._order.key(arrival_s, service_s, deadline_s, priority))

    def join(
        self, arrival_s: float, service_s: float, deadline_s: float = np.inf, priority: float = 0.0, tenant: str = ""
    ) -> float:
        """A request joins the queue; returns its key. Arguments as of :meth:`key`."""
        if self._tags is not None:
            return self._tags.join(tenant, service_s)
        return self.key(arrival_s, service_s, deadline_s, priority)

    def serve(self, key: float) -> None:
        """The request with this key is in service now."""
        if self._tags is not None:
            self._tags.serve(key)

    def idle(self) -> None:
        """Nothing waits or is in service."""
        if self._tags is not None:
            self._tags.idle()


def make_order(spec: str | Mapping[str, Any] | Order) -> Order:
    """Build an order from its name, from ``name:field=number``, or from a group with ``name`` and fields.

    Raises:
        ConfigurationError: for an unknown name or field, or a value that cannot be used.

    >>> make_order("aged:service_weight=100"), make_order({"name": "fifo"})
    (Aged(service_weight=100.0), FirstInFirstOut())
    """
    if isinstance(spec, Order):
        return spec
    if isinstance(spec, str):
        name, _, fields = spec.partition(":")
        pairs = [pair.partition("=") for pair in fields.split(",") if pair]
        try:
            values: dict[str, Any] = {key: float(value) for key, _, value in pairs}
        except ValueError:
            raise ConfigurationError(f"order must be name or name:field=number,..., got {shown(spec)}") from None
    elif isinstance(spec, Mapping):
        values = {key: value for key, value in spec.items() if key != "name"}
        name = spec.get("name", "fifo")
    else:
        raise ConfigurationError(f"order must be a name or a group with a name and fields, got {shown(spec)}")
    return declared(ORDERS[name], values, "order.")


def order_text(order: Order) -> str:
    """An order as ``name`` or ``name:field=value``, as :func:`make_order` and tables have it.

    >>> order_text(Aged(service_weight=100.0)), order_text(ShortestFirst())
    ('aged:service_weight=100', 'shortest_first')
    """
    [name] = [name for name in ORDERS if ORDERS[name] is type(order)]
    fields = [f"{key}={value:g}" for key, value in order.model_dump().items() if isinstance(value, (int, float))]
    return f"{name}:{','.join(fields)}" if fields else name


def order_spec(order: Order) -> str | dict[str, Any]:
    """An order as plain values from which :func:`make_order` makes it again: a text where that says all.

    >>> order_spec(Aged()), order_spec(WeightedFair(weights={"b": 2.0}))
    ('aged:service_weight=300', {'name': 'fair', 'weights': {'b': 2.0}})
    """
    text = order_text(order)
    if make_order(text) == order:
        return text
    return {"name": text.partition(":")[0], **order.model_dump()}


def _checked(spec: str | dict[str, Any]) -> str | dict[str, Any]:
    make_order(spec)
    return spec


OrderSpec = Annotated[str | dict[str, Any], AfterValidator(_checked)]
"""Field of settings that :func:`make_order` makes an order of."""

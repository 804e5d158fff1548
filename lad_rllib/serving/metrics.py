"""Prometheus metrics of a running service, by Ray's metrics: names, labels and meaning declared once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ray.util import metrics

from lad_rllib.api.statistics import in_time
from lad_rllib.service import Delivery, Dispatcher
from lad_rllib.service.named_scheduler import NamedScheduler

DELAY_BOUNDS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
DECISION_BOUNDS_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2)
"""Buckets of the histograms [s]."""


@dataclass(frozen=True)
class MetricKind:
    """One metric; Ray puts ``ray_`` before its name.

    Attributes:
        kind: What it is for Prometheus.
        meaning: What it counts, with the unit.
        labels: Its labels.
        bounds: Upper bounds of a histogram's buckets.
    """

    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()

    def make(self, name: str) -> Any:
        """The metric in this process."""
        if self.kind == "histogram":
            return metrics.Histogram(name, self.meaning, list(self.bounds), self.labels)
        kind = metrics.Counter if self.kind == "counter" else metrics.Gauge
        return kind(name, self.meaning, self.labels)


METRICS = {
    "lad_requests_total": MetricKind("counter", "requests that ended, by error (empty: none)", ("server", "error")),
    "lad_images_total": MetricKind("counter", "images that were delivered", ("server",)),
    "lad_in_time_total": MetricKind(
        "counter", "requests served within their deadline, or without one within `slo_s` of the API", ("server",)
    ),
    "lad_refusals_total": MetricKind("counter", "requests that were not let in, by the error's code", ("code",)),
    "lad_attempts_total": MetricKind("counter", "times that requests were sent to a server"),
    "lad_delay_seconds": MetricKind(
        "histogram", "from the hand-over to the dispatcher to the image [s]", ("server",), DELAY_BOUNDS_S
    ),
    "lad_waiting_seconds": MetricKind(
        "histogram", "part of the delay in which nothing works on the request [s]", ("server",), DELAY_BOUNDS_S
    ),
    "lad_decision_seconds": MetricKind("histogram", "a decision of the policy [s]", (), DECISION_BOUNDS_S),
    "lad_policy_left": MetricKind("gauge", "1 if the policy was left for least-work-left", ("policy",)),
    "lad_policy_handed_over": MetricKind(
        "gauge", "requests beyond what the policy learned, which it left to least-work-left", ("policy",)
    ),
    "lad_policy_share": MetricKind("gauge", "share of the requests for which a policy decides", ("policy",)),
    "lad_policy_events_total": MetricKind(
        "counter", "what became of policies: swapped, swapped by hand, went back, rejected, ...", ("event",)
    ),
    "lad_servers": MetricKind("gauge", "servers, by state (up, down, draining)", ("state",)),
    "lad_server_queue_seconds": MetricKind(
        "gauge", "predicted time until a server is done with all that it has [s]", ("server",)
    ),
    "lad_server_tasks": MetricKind("gauge", "requests that wait for a server or run there", ("server",)),
    "lad_server_over_expected": MetricKind("gauge", "measured over expected computing time", ("server",)),
}
"""Every metric by its name."""


class Metrics:
    """Counts deliveries and decisions, and says how the fleet is whenever it is asked to.

    Args:
        slo_s: Delay that a request without a deadline should meet, in the fleet's seconds [s].
    """

    def __init__(self, slo_s: float) -> None:
        self._slo_s = slo_s
        self._metrics = {name: kind.make(name) for name, kind in METRICS.items()}
        self._seen: set[str] = set()
        self._policies: set[str] = set()

    def decided(self, seconds: float) -> None:
        """The policy has decided."""
        self._metrics["lad_decision_seconds"].observe(seconds)

    def refused(self, code: str) -> None:
        """A request was not let in."""
        self._metrics["lad_refusals_total"].inc(1, {"code": code})

    def recorded(self, record: Mapping[str, Any]) -> None:
        """Something became of a policy."""
        self._metrics["lad_policy_events_total"].inc(1, {"event": record["event"]})

    def delivered(self, delivery: Delivery) -> None:
        """A request has ended."""
        server = {"server": delivery.server}
        error = delivery.error.name if delivery.error else ""
        self._metrics["lad_requests_total"].inc(1, server | {"error": error})
        if delivery.attempts:
            self._metrics["lad_attempts_total"].inc(delivery.attempts)
        if delivery.record is not None:
            self._metrics["lad_images_total"].inc(delivery.task.images, server)
            if in_time(delivery, self._slo_s):
                self._metrics["lad_in_time_total"].inc(1, server)
            self._metrics["lad_delay_seconds"].observe(delivery.service_delay_s, server)
            self._metrics["lad_waiting_seconds"].observe(delivery.record.waiting_s, server)

    def look(self, dispatcher: Dispatcher) -> None:
        """Say how the fleet is; a server that has left has nothing to do."""
        loads = dispatcher.loads
        for state in ("up", "down", "draining"):
            self._metrics["lad_servers"].set(sum(load.state == state for load in loads), {"state": state})
        queue_s = dict(zip([load.name for load in loads], dispatcher.queue_s.tolist(), strict=False))
        for load in loads:
            self._set(load.name, queue_s.get(load.name, 0.0), len(load.backlog), load.speed.over_expected)
        for name in self._seen - queue_s.keys():
            self._set(name, 0.0, 0, 1.0)
        self._seen = set(queue_s)
        scheduler = dispatcher.scheduler
        if isinstance(scheduler, NamedScheduler):
            self._look_at_policies(scheduler)

    def _look_at_policies(self, scheduler: NamedScheduler) -> None:
        in_charge = scheduler.in_charge
        policy = {"policy": in_charge.name}
        self._metrics["lad_policy_left"].set(bool(in_charge.left), policy)
        self._metrics["lad_policy_handed_over"].set(in_charge.handed_over, policy)
        shares = dict.fromkeys(self._policies, 0.0) | dict(scheduler.shares)
        for name, share in shares.items():
            self._metrics["lad_policy_share"].set(share, {"policy": name})
        self._policies = set(scheduler.shares)

    def _set(self, server: str, queue_s: float, tasks: int, over_expected: float) -> None:
        tags = {"server": server}
        self._metrics["lad_server_queue_seconds"].set(queue_s, tags)
        self._metrics["lad_server_tasks"].set(tasks, tags)
        self._metrics["lad_server_over_expected"].set(over_expected, tags)

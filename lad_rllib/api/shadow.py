"""Shadow replay: what other schedulers would have done with the latest requests and the same outages."""

from __future__ import annotations

import copy
import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib.api.admission import Prediction
from lad_rllib.api.jobs import Job
from lad_rllib.edge.record import TaskRecord
from lad_rllib.edge.task import ImageTask
from lad_rllib.scheduling.judgement import Replayed
from lad_rllib.scheduling.outages import Outage, Past, play_again, play_as_sent
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, RequestScheduler
from lad_rllib.service.delivery import Delivery
from lad_rllib.service.dispatcher import Dispatcher
from lad_rllib.service.in_flight import TaskHandle
from lad_rllib.service.named_scheduler import NamedScheduler
from lad_rllib.service.offer import Offer
from lad_rllib.service.past import requests_of
from lad_rllib.simulator.requests import RequestWorld

SHOWN, FEWEST = 500, 20
"""Latest requests that are played again for the page, and the fewest that say anything."""

RIVALS = ("least-work-left", "shortest-expected-delay", "join-shortest-queue", "power-of-two", "round-robin")
"""Schedulers that are compared, besides the present one."""

SENT = "as sent"
"""Name of the requests played again on the servers that they were sent to."""

WINDOWS = 10
"""Windows of equally many requests, which intervals are over."""


@dataclass
class Seen:
    """A request as the service had it.

    Attributes:
        prediction: What was predicted of it when it came.
        task: What was asked for.
        handle: Knows which server was chosen for it, and by whom.
        came_s: When it came, by the fleet's clock [s].
        delivery: How it ended; None: it has not.
    """

    prediction: Prediction
    task: ImageTask
    handle: TaskHandle
    came_s: float
    delivery: Delivery | None = None

    @property
    def arrival_s(self) -> float:
        """When it came, by the fleet's clock, as the dispatcher knows it if it has ended [s]."""
        return self.came_s if self.delivery is None else self.delivery.arrival_s

    @property
    def server(self) -> str:
        """Server that was chosen for it; empty: none was."""
        return self.handle.chosen

    @property
    def record(self) -> TaskRecord | None:
        """How it was served; None: it has not ended."""
        return None if self.delivery is None else self.delivery.record


class Shadow:
    """Remembers the latest requests, and plays them again in the simulator.

    Each request takes on a server what was predicted when it came, times what its server needed over that, and the time
    that it spent between the servers and here. What schedulers know of the past are the same requests. May be used from
    any thread.

    Args:
        dispatcher: Knows the servers, and what decides at present.
        slo_s: Delay that a request without a deadline should meet [s].
        kept: Latest requests that are remembered.
    """

    def __init__(self, dispatcher: Dispatcher, slo_s: float, kept: int = 2000) -> None:
        self._dispatcher, self._slo_s, self._kept = dispatcher, slo_s, kept
        self._seen: OrderedDict[str, Seen] = OrderedDict()
        self._lock, self._playing = threading.Lock(), threading.Lock()

    def came(self, job: Job, handle: TaskHandle) -> None:
        """A request was let in."""
        with self._lock:
            self._seen[job.name] = Seen(job.prediction, job.task, handle, self._dispatcher.now_s)
            while len(self._seen) > self._kept:
                self._seen.popitem(last=False)

    def ended(self, delivery: Delivery) -> None:
        """A request has ended; one without an image is forgotten."""
        name = delivery.task.task_id
        with self._lock:
            if delivery.error is not None or delivery.record is None:
                self._seen.pop(name, None)
            elif name in self._seen:
                self._seen[name].delivery = replace(delivery, png=None, more_pngs=())

    def since(self, moment_s: float) -> list[Seen]:
        """Requests that have come since a moment of the fleet's clock [s], in order, whether they have ended or not."""
        with self._lock:
            seen = [copy.copy(one) for one in self._seen.values() if one.came_s >= moment_s]
        return sorted((one for one in seen if one.server), key=lambda one: one.arrival_s)

    def played(
        self, seen: Sequence[Seen], schedulers: Mapping[str, Callable[[], RequestScheduler]], first: int = 0
    ) -> dict[str, Replayed]:
        """Requests played again as they were sent (:data:`SENT`), and by schedulers; work for a thread of its own.

        Args:
            seen: The requests.
            schedulers: What makes each scheduler, by its name.
            first: The first one whose delay counts, and from which on there are at least :data:`WINDOWS`.
        """
        with self._playing:
            past, names = self._past(seen)
            servers = np.array([names.index(one.server) if one.server in names else 0 for one in seen])
            delays = {SENT: play_as_sent(servers, past)}
            delays |= {name: play_again(make, past) for name, make in schedulers.items()}
        return {name: Replayed(name, tuple(np.array_split(all_s[first:], WINDOWS))) for name, all_s in delays.items()}

    def report(self, latest: int = SHOWN) -> dict[str, Any]:
        """Rows of delays: as it was, then with the present scheduler and its rivals, the same requests played again.

        The present scheduler has no row if it cannot be played: it decides slot by slot. Takes a second or so.

        Args:
            latest: At most so many requests; all are played from the moment on, in their first half, when the servers
                had least to do, since they are idle where a replay begins.
        """
        with self._playing:  # one at a time: it is work
            ended = self._ended()[-latest:]
            if len(ended) < FEWEST:
                return {"requests": len(ended), "outages": 0, "rows": []}
            seen = from_least_work(ended)
            past, _ = self._past(seen)
            measured_s = np.array([one.delivery.service_delay_s for one in seen if one.delivery is not None])
            asked_s = past.requests.deadline_s
            due_s = np.where(np.isinf(asked_s), self._slo_s, asked_s)
            rows = [{"scheduler": "as it was", **_figures(measured_s, due_s)}]
            for name, make in self._schedulers():
                rows.append({"scheduler": name, **_figures(play_again(make, past), due_s)})
        return {"requests": len(seen), "outages": len(past.outages), "rows": rows}

    def _ended(self) -> list[Seen]:
        """The requests before the first that has not ended: with one left out, those after it would find less to do."""
        with self._lock:
            latest = list(self._seen.values())[-SHOWN:]
            ended = list(itertools.takewhile(lambda one: one.delivery is not None, latest))
        return sorted(ended, key=lambda one: one.arrival_s)

    def _past(self, seen: Sequence[Seen]) -> tuple[Past, list[str]]:
        """Requests on the servers that there are now, and the names of these."""
        loads = self._dispatcher.loads
        servers = tuple(server for load in loads if (server := load.backlog.memory.server))
        world = RequestWorld(servers, loads[0].backlog.order)
        names = [load.name for load in loads]
        return past_of(seen, world, names, [load.offer for load in loads]), names

    def _schedulers(self) -> list[tuple[str, Callable[[], RequestScheduler]]]:
        present = self._dispatcher.scheduler
        if isinstance(present, NamedScheduler):
            present = present.in_charge.policy
        rivals: list[tuple[str, Callable[[], RequestScheduler]]] = [(name, REQUEST_SCHEDULERS[name]) for name in RIVALS]
        if not isinstance(present, RequestScheduler):
            return rivals
        return [("the present one", lambda: copy.copy(present)), *rivals]


def from_least_work(seen: Sequence[Seen]) -> Sequence[Seen]:
    """Requests from that on, among the first half, that met least work on all servers together."""
    met_s = [float(one.prediction.wait_s[one.prediction.up].sum()) for one in seen[: len(seen) // 2]]
    return seen[int(np.argmin(met_s)) :] if met_s else seen


def past_of(
    seen: Sequence[Seen], world: RequestWorld, names: Sequence[str], offers: Sequence[Offer] | None = None
) -> Past:
    """Requests as a service had them, on the servers that it has now.

    One that has not ended is taken to need what was predicted.

    Args:
        seen: The requests, in order of arrival.
        world: The servers that there are.
        names: Their names in the service.
        offers: What each can draw; None: whatever is asked for.
    """
    predictions = [one.prediction for one in seen]
    states = np.array([[_of(name, one, one.states, "absent") for name in names] for one in predictions])
    service_s = np.array([[_of(name, one, one.service_s, np.nan) for name in names] for one in predictions])
    way_s = np.array([[_of(name, one, one.way_s, 0.0) for name in names] for one in predictions])
    service_s = np.where(np.isnan(service_s), np.nanmean(service_s, axis=1, keepdims=True), service_s)
    over = np.array([_over_predicted(one) for one in seen])
    requests = requests_of(seen)
    timing = world.timing(requests)._replace(
        predicted_s=service_s,
        actual_s=service_s * over[:, None],
        upload_s=way_s,
        download_s=np.broadcast_to(_between_s(seen)[:, None], way_s.shape),
    )
    down = states == "down"
    number, server = np.nonzero(~down[:-1] & down[1:])
    lost = [Outage(int(index), int(request) + 1) for request, index in zip(number, server, strict=True)]
    can = None if offers is None else np.array([[offer.has(one.task.model) for offer in offers] for one in seen])
    return Past(world, requests, timing, states == "up", lost, can)


def _of(name: str, prediction: Prediction, values: Sequence[Any] | NDArray[Any], other: Any) -> Any:
    """Value of a server, or another if the prediction does not know it."""
    return values[prediction.servers.index(name)] if name in prediction.servers else other


def _between_s(seen: Sequence[Seen]) -> NDArray[np.float64]:
    """Time that each request spent between the servers and here [s]; where that is not known, the others' median."""
    direct = [None if (end := one.delivery) is None or end.attempts > 1 else end.dispatch_s for one in seen]
    known = [seconds for seconds in direct if seconds is not None]
    usual = float(np.median(known)) if known else 0.0
    return np.array([usual if seconds is None else seconds for seconds in direct])


def _over_predicted(one: Seen) -> float:
    """Time that its server worked on a request over what was predicted [1]; 1 where either is not known."""
    if one.delivery is None or one.record is None or one.delivery.server not in one.prediction.servers:
        return 1.0
    return one.record.drawing_s / float(one.prediction.service_s[one.prediction.servers.index(one.delivery.server)])


def _figures(delay_s: NDArray[np.float64], due_s: NDArray[np.float64]) -> dict[str, float]:
    """Mean and percentiles of delays [s], and the share in time."""
    percentiles = {f"p{q}_s": round(float(np.percentile(delay_s, q)), 4) for q in (50, 95, 99)}
    return {"mean_s": round(float(delay_s.mean()), 4), **percentiles, "slo": round(float((delay_s <= due_s).mean()), 4)}

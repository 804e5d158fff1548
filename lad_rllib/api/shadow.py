"""Shadow replay: what other schedulers would have done with the latest requests and the same outages."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib.api.admission import Prediction
from lad_rllib.api.jobs import Job
from lad_rllib.scheduling.outages import Outage, Past, play_again
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, RequestScheduler
from lad_rllib.service.delivery import Delivery
from lad_rllib.service.dispatcher import Dispatcher
from lad_rllib.service.guarded import GuardedScheduler
from lad_rllib.service.past import requests_of
from lad_rllib.simulator.requests import RequestWorld

KEPT, FEWEST = 500, 20
"""Latest requests that are played again, and the fewest that say anything."""

RIVALS = ("least-work-left", "shortest-expected-delay", "join-shortest-queue", "power-of-two", "round-robin")
"""Schedulers that are compared, besides the present one."""


@dataclass
class Seen:
    """A request as the service had it.

    Attributes:
        prediction: What was predicted of it when it came.
        delivery: How it ended; None: it has not.
    """

    prediction: Prediction
    delivery: Delivery | None = None


class Shadow:
    """Remembers the latest requests, and plays them again in the simulator.

    Each request takes on a server what was predicted when it came, times what its server needed over that, and the time
    that it spent between the servers and here. What schedulers know of the past are the same requests. May be used from
    any thread.

    Args:
        dispatcher: Knows the servers, and what decides at present.
        slo_s: Delay that a request without a deadline should meet [s].
    """

    def __init__(self, dispatcher: Dispatcher, slo_s: float) -> None:
        self._dispatcher, self._slo_s = dispatcher, slo_s
        self._seen: OrderedDict[str, Seen] = OrderedDict()
        self._lock, self._playing = threading.Lock(), threading.Lock()

    def came(self, job: Job) -> None:
        """A request was let in."""
        with self._lock:
            self._seen[job.name] = Seen(job.prediction)
            while len(self._seen) > KEPT:
                self._seen.popitem(last=False)

    def ended(self, delivery: Delivery) -> None:
        """A request has ended; one without an image is forgotten."""
        name = delivery.task.task_id
        with self._lock:
            if delivery.error is not None or delivery.record is None:
                self._seen.pop(name, None)
            elif name in self._seen:
                self._seen[name].delivery = replace(delivery, png=None, more_pngs=())

    def report(self, latest: int = KEPT) -> dict[str, Any]:
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
            loads = self._dispatcher.loads
            world = RequestWorld(tuple(server for load in loads if (server := load.memory.server)), loads[0].order)
            past = past_of(seen, world, [load.name for load in loads])
            measured_s = np.array([delivery.service_delay_s for _, delivery in seen])
            asked_s = past.requests.deadline_s
            due_s = np.where(np.isinf(asked_s), self._slo_s, asked_s)
            rows = [{"scheduler": "as it was", **_figures(measured_s, due_s)}]
            for name, make in self._schedulers():
                rows.append({"scheduler": name, **_figures(play_again(make, past), due_s)})
        return {"requests": len(seen), "outages": len(past.outages), "rows": rows}

    def _ended(self) -> list[tuple[Prediction, Delivery]]:
        """The requests before the first that has not ended: with one left out, those after it would find less to do."""
        with self._lock:
            ended = []
            for one in self._seen.values():
                if one.delivery is None:
                    break
                ended.append((one.prediction, one.delivery))
        return sorted(ended, key=lambda one: one[1].arrival_s)

    def _schedulers(self) -> list[tuple[str, Callable[[], RequestScheduler]]]:
        present = self._dispatcher.scheduler
        if isinstance(present, GuardedScheduler):
            present = present.policy
        rivals: list[tuple[str, Callable[[], RequestScheduler]]] = [(name, REQUEST_SCHEDULERS[name]) for name in RIVALS]
        if not isinstance(present, RequestScheduler):
            return rivals
        return [("the present one", lambda: copy.copy(present)), *rivals]


def from_least_work(seen: Sequence[tuple[Prediction, Delivery]]) -> Sequence[tuple[Prediction, Delivery]]:
    """Requests from that on, among the first half, that met least work on all servers together."""
    met_s = [float(one.wait_s[one.up].sum()) for one, _ in seen[: len(seen) // 2]]
    return seen[int(np.argmin(met_s)) :] if met_s else seen


def past_of(seen: Sequence[tuple[Prediction, Delivery]], world: RequestWorld, names: Sequence[str]) -> Past:
    """Requests as a service had them, on the servers that it has now.

    Args:
        seen: What was predicted of each, and how it ended, in order of arrival.
        world: The servers that there are.
        names: Their names in the service.
    """
    requests = requests_of([delivery for _, delivery in seen])
    states = np.array([[_of(name, one, one.states, "absent") for name in names] for one, _ in seen])
    service_s = np.array([[_of(name, one, one.service_s, np.nan) for name in names] for one, _ in seen])
    way_s = np.array([[_of(name, one, one.way_s, 0.0) for name in names] for one, _ in seen])
    service_s = np.where(np.isnan(service_s), np.nanmean(service_s, axis=1, keepdims=True), service_s)
    over = np.array([_over_predicted(one, delivery) for one, delivery in seen])
    timing = world.timing(requests)._replace(
        predicted_s=service_s,
        actual_s=service_s * over[:, None],
        upload_s=way_s,
        download_s=np.broadcast_to(_between_s([delivery for _, delivery in seen])[:, None], way_s.shape),
    )
    down = states == "down"
    number, server = np.nonzero(~down[:-1] & down[1:])
    lost = [Outage(int(index), int(request) + 1) for request, index in zip(number, server, strict=True)]
    return Past(world, requests, timing, states == "up", lost)


def _of(name: str, prediction: Prediction, values: Sequence[Any] | NDArray[Any], other: Any) -> Any:
    """Value of a server, or another if the prediction does not know it."""
    return values[prediction.servers.index(name)] if name in prediction.servers else other


def _between_s(deliveries: Sequence[Delivery]) -> NDArray[np.float64]:
    """Time that each request spent between the servers and here [s]; where attempts were lost, the others' median."""
    between_s = np.array([delivery.dispatch_s for delivery in deliveries])
    is_direct = np.array([delivery.attempts == 1 for delivery in deliveries])
    return np.where(is_direct, between_s, np.median(between_s[is_direct]) if is_direct.any() else 0.0)


def _over_predicted(prediction: Prediction, delivery: Delivery) -> float:
    """Time that its server worked on a request over what was predicted [1]; 1 where the server was not known yet."""
    if delivery.record is None or delivery.server not in prediction.servers:
        return 1.0
    return delivery.record.drawing_s / float(prediction.service_s[prediction.servers.index(delivery.server)])


def _figures(delay_s: NDArray[np.float64], due_s: NDArray[np.float64]) -> dict[str, float]:
    """Mean and percentiles of delays [s], and the share in time."""
    percentiles = {f"p{q}_s": round(float(np.percentile(delay_s, q)), 4) for q in (50, 95, 99)}
    return {"mean_s": round(float(delay_s.mean()), 4), **percentiles, "slo": round(float((delay_s <= due_s).mean()), 4)}

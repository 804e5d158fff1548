"""The past of a running service: the requests that it served, and what decides learning from them what comes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lad_rllib.edge.record import TaskRecord
from lad_rllib.edge.task import ImageTask
from lad_rllib.service.delivery import Delivery
from lad_rllib.service.offer import Offer
from lad_rllib.service.request_model import lora_set
from lad_rllib.simulator.requests import Requests, plain_requests

if TYPE_CHECKING:
    from lad_rllib.service.dispatcher import Dispatcher

KEPT, FIRST, AT_LEAST_EVERY = 2000, 100, 1000
"""Latest requests that are remembered; how many there must be before anything is learned; and the most that come before
it is learned again: after 100, 200, 400, 800, 1600, then 2600, 3600, ..."""


class Past:
    """An observer of deliveries that tells a dispatcher's scheduler what its past requests were.

    Schedulers of requests know sizes, models and rate of what comes from past requests. A service that has just begun
    has none of its own, so its dispatcher begins with made-up ones; with this observer, those that it has served take
    their place.

    Args:
        dispatcher: Its scheduler begins anew whenever enough have come, and at once if there are some of before.
        before: What ``keep`` was given last, by a process before this one on the same machine.
        keep: Takes the requests that are remembered, without their images, whenever they are learned from.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        before: Sequence[Delivery] = (),
        keep: Callable[[list[Delivery]], object] = lambda latest: None,
    ) -> None:
        self._dispatcher, self._keep = dispatcher, keep
        self._latest: deque[Delivery] = deque(before, maxlen=KEPT)
        self._served, self._next = len(before), FIRST
        self._lock = threading.Lock()
        while self._next <= self._served:
            self._next += min(self._next, AT_LEAST_EVERY)
        if before:
            dispatcher.learn(requests_of(before))

    def __call__(self, delivery: Delivery) -> None:
        """A request has ended; one without an image is left out. May take some ten milliseconds."""
        if delivery.error is not None or delivery.record is None:
            return
        with self._lock:
            self._latest.append(replace(delivery, png=None, more_pngs=()))
            self._served += 1
            if self._served < self._next:
                return
            self._next += min(self._next, AT_LEAST_EVERY)
            latest = sorted(self._latest, key=lambda one: one.arrival_s)
        self._dispatcher.learn(requests_of(latest))
        self._keep(latest)


class Came(Protocol):
    """A request that came, such as a delivery."""

    @property
    def task(self) -> ImageTask:
        """What was asked for."""
        ...

    @property
    def arrival_s(self) -> float:
        """When it came, by the fleet's clock [s]."""
        ...

    @property
    def record(self) -> TaskRecord | None:
        """How it was served; None: it has not ended, and sizes that it does not say are the usual ones."""
        ...


def requests_of(came: Sequence[Came]) -> Requests:
    """Requests that came as requests of the simulator, in order of arrival, the first at 0."""
    tasks, usual = [one.task for one in came], Offer()
    arrival_s = np.array([one.arrival_s for one in came])
    names = {
        "model": [task.model or "" for task in tasks],
        "loras": ["", *(lora_set(task) for task in tasks)],
        "tenant": [task.tenant for task in tasks],
    }
    known = {kind: list(dict.fromkeys(values)) for kind, values in names.items()}
    index = {kind: {name: number for number, name in enumerate(known[kind])} for kind in names}
    return plain_requests(
        arrival_s - arrival_s[0],
        np.array([task.denoising_steps for task in tasks], np.float64),
        width=[one.record.width if one.record else one.task.width or usual.width for one in came],
        height=[one.record.height if one.record else one.task.height or usual.height for one in came],
        images=[task.images for task in tasks],
        guided=[task.guidance is None or task.guidance > 1 for task in tasks],
        model=[index["model"][task.model or ""] for task in tasks],
        loras=[index["loras"][lora_set(task)] for task in tasks],
        station=[task.station for task in tasks],
        tenant=[index["tenant"][task.tenant] for task in tasks],
        priority=[task.priority for task in tasks],
        deadline_s=[np.inf if task.deadline_s is None else task.deadline_s for task in tasks],
        models=tuple(known["model"]),
        lora_sets=tuple(known["loras"]),
        tenants=tuple(known["tenant"]),
    )

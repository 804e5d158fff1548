"""Play requests again as a service had them: with servers that were down at times, and lost what they had then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lad_rllib.scheduling.request_scheduler import RequestScheduler
from lad_rllib.simulator.requests import Requests, RequestWorld, ServedRequests
from lad_rllib.simulator.requests.play import RequestSimulation
from lad_rllib.simulator.requests.view import View
from lad_rllib.simulator.requests.world import Timing, timing_of

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Outage(NamedTuple):
    """A server is lost, with all that it has.

    Attributes:
        server: Which one.
        request: The first request that came when it was known to be down.
    """

    server: int
    request: int


@dataclass(frozen=True)
class Past:
    """Requests as a service had them.

    Attributes:
        world: Where they were served.
        requests: The K requests.
        timing: Their times on the servers.
        up: Whether each server was up when each request came (K, A).
        outages: Servers that were lost, in order of time.
        has: Whether each server can serve each request, up or not, as it has its model (K, A); None: all can.
    """

    world: RequestWorld
    requests: Requests
    timing: Timing
    up: NDArray[np.bool_]
    outages: Sequence[Outage] = ()
    has: NDArray[np.bool_] | None = None

    def open_to(self, request: int, seen: int) -> NDArray[np.bool_]:
        """Whether each server may get a request that is sent when another one comes, shape (A,).

        While no server that can serve it is up, those that can, up or not; if none can, all.
        """
        can = np.ones(self.world.num_servers, bool) if self.has is None else self.has[request]
        for servers in (self.up[seen] & can, can):
            if servers.any():
                return servers
        return np.ones_like(can)


class _Attempts(NamedTuple):
    """Requests in the order in which they are sent, those of lost servers once more; arrays have shape (n,).

    Attributes:
        request: Which request each is.
        seen: The request with which it is sent: servers are up then as they were for that.
        cut_s: Service after which its server is lost [s]; infinite: it is not.
    """

    request: IntArray
    seen: IntArray
    cut_s: FloatArray


Choose = Callable[[int, View, np.random.Generator], int]
"""The server of an attempt, by its position among all of them, and of what is known when it is sent."""


def play_again(make: Callable[[], RequestScheduler], past: Past, seed: int = 0) -> FloatArray:
    """Delay of each request if a scheduler had decided, with servers that go and come back as they did [s], shape (K,).

    What a server has when it is known to be down is sent again at that moment, to one that can serve it; its delay
    counts from its arrival. A request that comes while no server is up is sent to one as if all were.

    Args:
        make: Makes the scheduler, for each pass anew: one pass for every outage, and one more.
        past: What it is played on.
        seed: Seed of the decisions.
    """

    def scheduled(attempts: _Attempts) -> Choose:  # noqa: ARG001
        scheduler = make()
        scheduler.begin(past.world, past.requests)
        return lambda attempt, view, rng: scheduler.choose(view, rng)  # noqa: ARG005

    return _delays(scheduled, past, seed)


def play_as_sent(servers: IntArray, past: Past) -> FloatArray:
    """Delay of each request on the servers that were chosen for them when they came [s], shape (K,).

    One whose server was not up, or was lost, goes where it would be done first.

    Args:
        servers: The server of each request (K,).
        past: What it is played on.
    """

    def chosen(attempts: _Attempts) -> Choose:
        def choose(attempt: int, view: View, rng: np.random.Generator) -> int:  # noqa: ARG001
            request = attempts.request[attempt]
            server = int(servers[request])
            if attempts.seen[attempt] == request and view.up[server]:
                return server
            done_s = view.ahead_s + view.swap_s + view.service_s + view.way_s
            return int(np.argmin(np.where(view.up, done_s, np.inf)))

        return choose

    return _delays(chosen, past, 0)


def _delays(choosing: Callable[[_Attempts], Choose], past: Past, seed: int) -> FloatArray:
    """Delay of each request, by what chooses among so many attempts."""
    number = len(past.requests)
    attempts = _Attempts(np.arange(number), np.arange(number), np.full(number, np.inf))
    served = _play(choosing(attempts), past, attempts, seed)
    for outage in past.outages:
        attempts = _sent_again(attempts, served, outage, float(past.requests.arrival_s[outage.request]))
        served = _play(choosing(attempts), past, attempts, seed)
    delay_s = np.zeros(number)
    last = np.isinf(attempts.cut_s)
    done_s = served.requests.arrival_s + served.delay_s
    delay_s[attempts.request[last]] = done_s[last] - past.requests.arrival_s[attempts.request[last]]
    return delay_s


def _play(choose: Choose, past: Past, attempts: _Attempts, seed: int) -> ServedRequests:
    """Have a server chosen for all attempts; those before an outage fare as they did without it."""
    sent_s = past.requests.arrival_s[attempts.seen]
    asked = past.requests[attempts.request]
    waited_s = sent_s - asked.arrival_s
    asked = replace(asked, arrival_s=sent_s, deadline_s=asked.deadline_s - waited_s)
    old = past.timing
    timing = timing_of(
        asked,
        past.world.order,
        predicted_s=old.predicted_s[attempts.request],
        actual_s=np.minimum(old.actual_s[attempts.request], attempts.cut_s[:, None]),
        upload_s=old.upload_s[attempts.request],
        download_s=old.download_s[attempts.request],
        swap_s=old.swap_s,
        lora_swap_s=old.lora_swap_s,
        models_in_memory=old.models_in_memory,
    )
    simulation, rng = RequestSimulation(past.world, asked, timing), np.random.default_rng(seed)
    sent = zip(simulation, attempts.request, attempts.seen, strict=True)
    for attempt, (view, request, seen) in enumerate(sent):
        simulation.send(choose(attempt, view._replace(up=past.open_to(request, seen)), rng))
    return simulation.finish()


def _sent_again(attempts: _Attempts, served: ServedRequests, outage: Outage, lost_s: float) -> _Attempts:
    """The attempts with those that a lost server had cut short then, and sent once more."""
    came_before = served.requests.arrival_s < lost_s
    is_lost = came_before & (served.server == outage.server) & (served.finish_s > lost_s)
    worked_s = np.maximum(lost_s - served.start_s - served.swap_s, 0.0)
    again = _Attempts(attempts.request[is_lost], np.full(is_lost.sum(), outage.request), np.full(is_lost.sum(), np.inf))
    cut = attempts._replace(cut_s=np.where(is_lost, worked_s, attempts.cut_s))
    at = int(came_before.sum())  # before the request that came then
    return _Attempts(*(np.insert(now, at, more) for now, more in zip(cut, again, strict=True)))

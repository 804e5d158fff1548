"""Play an episode of requests: by a compiled rule in one go, by given decisions, or request by request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator.requests import loop
from lad_rllib.simulator.requests.loop import View
from lad_rllib.simulator.requests.requests import Requests, ServedRequests
from lad_rllib.simulator.requests.world import RequestWorld, Timing

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_OUTCOME = ("server", "start_s", "swap_s", "predicted_delay_s")


@dataclass(frozen=True)
class CompiledRule:
    """A scheduler that the event loop calls without Python, see :data:`~lad_rllib.simulator.requests.loop.Rule`.

    Attributes:
        choose: A function decorated with :class:`~lad_rllib.compiling.kernel` that has a rule's arguments.
        numbers, weights: Its constants.
        memory: Length of its memory.
        notes: Length of the row that it fills in for each decision; 0: none.
        sees_order: Whether it needs ``ahead_s`` and ``overtaken``, which cost a walk along every queue.
    """

    choose: Any
    numbers: FloatArray = field(default_factory=lambda: np.zeros(0))
    weights: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    memory: int = 0
    notes: int = 0
    sees_order: bool = True


class RequestSimulation:
    """The requests of one episode, one after the other: look, send, look, send, ...

    >>> from lad_rllib.simulator.requests import LinearService, RequestServer, RequestWorld, plain_requests
    >>> servers = [RequestServer(name, {"": LinearService(per_step_s=s)}) for name, s in (("a", 0.1), ("b", 0.2))]
    >>> simulation = RequestSimulation(RequestWorld(tuple(servers)), plain_requests([0.0, 1.0], steps=20))
    >>> [simulation.send(int((view.work_left_s + view.service_s).argmin())) for view in simulation]
    [2.0, 3.0]
    >>> simulation.finish().delay_s.tolist()
    [2.0, 3.0]

    Raises:
        ConfigurationError: if requests of one instant are decided at once in this world.
    """

    def __init__(self, world: RequestWorld, requests: Requests, timing: Timing | None = None) -> None:
        if world.at_once:
            raise ConfigurationError(
                "requests of one instant are decided at once here, so they cannot be sent one after the other; "
                "play a compiled rule"
            )
        self.world, self.requests = world, requests
        self.timing = world.timing(requests) if timing is None else timing
        self._queues = loop.empty_queues(self.timing)
        self._queues.requests["start_s"] = np.nan
        self._view, self._next = loop.empty_view(self.timing), 0

    @property
    def next(self) -> int:
        """Index of the request that is to be sent next."""
        return self._next

    def __iter__(self) -> Iterator[View]:
        while self._next < len(self.requests):
            yield self.look()

    def look(self) -> View:
        """What is known when the next request is to be sent. The arrays are filled in anew for each request."""
        loop.arrive(self._queues, self.timing, self._view, self._next)
        return self._view._replace(now_s=float(self.timing.arrival_s[self._next]))

    def send(self, server: int) -> float:
        """Send the request that was looked at; returns its predicted delay [s].

        Raises:
            IndexError: if the server does not exist.
        """
        if not 0 <= server < self.world.num_servers:
            raise IndexError(f"a request was sent to server {server}; servers are 0..{self.world.num_servers - 1}")
        loop.send(self._queues, self.timing, self._next, server)
        self._next += 1
        return float(self._queues.requests["predicted_delay_s"][self._next - 1])

    def late_s(self, requests: IntArray) -> FloatArray:
        """How much longer the delays of some requests are than was predicted when they were sent [s]; NaN: they wait.

        Once a server has begun with a request, the simulation knows its delay.
        """
        timing, sent = self.timing, self._queues.requests[requests]
        server, waiting_s = sent["server"], sent["start_s"] - timing.arrival_s[requests]
        busy_s = sent["swap_s"] + timing.actual_s[requests, server]
        way_s = timing.upload_s[requests, server] + timing.download_s[requests, server]
        late: FloatArray = waiting_s + busy_s + way_s - sent["predicted_delay_s"]
        return late

    def finish(self) -> ServedRequests:
        """Let the servers finish, and return how the requests were served."""
        loop.finish(self._queues, self.timing)
        return _served(self.requests, self.timing, self._queues)


def play_rule(
    rule: CompiledRule,
    world: RequestWorld,
    requests: Requests,
    rng: np.random.Generator,
    timing: Timing | None = None,
) -> ServedRequests:
    """Let a compiled rule choose the server of every request.

    Args:
        rule: The rule.
        world: Where they are served.
        requests: The requests of one episode.
        rng: Randomness of the rule.
        timing: Their times on the servers, if they are known already.

    Raises:
        IndexError: if the rule chose a server that does not exist.
    """
    timing = world.timing(requests) if timing is None else timing
    queues = loop.empty_queues(timing)
    notes = np.zeros((len(requests), rule.notes), np.float32)
    wrong = loop.play(
        rule.choose.compile(),
        queues,
        timing,
        loop.empty_view(timing),
        rule.sees_order,
        world.at_once,
        rule.numbers,
        rule.weights,
        np.zeros(rule.memory),
        notes,
        rng.random(len(requests)),
    )
    if wrong >= 0:
        raise IndexError(f"request {wrong} was sent to a server that does not exist")
    return _served(requests, timing, queues, notes)


def play_decisions(
    servers: IntArray, world: RequestWorld, requests: Requests, timing: Timing | None = None
) -> ServedRequests:
    """Send every request to a given server, shape (K,)."""
    timing = world.timing(requests) if timing is None else timing
    queues = loop.empty_queues(timing)
    loop.replay(queues, timing, np.asarray(servers, np.int64))
    return _served(requests, timing, queues)


def play_choices(
    choose: Callable[[View], int], world: RequestWorld, requests: Requests, timing: Timing | None = None
) -> ServedRequests:
    """Let a function choose the server of every request, one after the other."""
    simulation = RequestSimulation(world, requests, timing)
    for view in simulation:
        simulation.send(choose(view))
    return simulation.finish()


def _served(
    requests: Requests, timing: Timing, queues: loop.Queues, notes: NDArray[np.float32] | None = None
) -> ServedRequests:
    outcome: dict[str, Any] = {name: np.ascontiguousarray(queues.requests[name]) for name in _OUTCOME}
    if notes is not None:
        outcome["notes"] = notes

    def there(values: FloatArray) -> FloatArray:
        taken: FloatArray = np.take_along_axis(values, outcome["server"][:, None], axis=1)[:, 0]
        return taken

    return ServedRequests(
        requests=requests,
        computing_s=there(timing.actual_s),
        upload_s=there(timing.upload_s),
        download_s=there(timing.download_s),
        fastest_s=timing.actual_s.min(axis=1),
        solo_s=timing.solo_s(timing.actual_s),
        **outcome,
    )

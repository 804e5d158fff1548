"""The compiled event loop: requests arrive one by one, are sent to servers, wait there in order, and are served.

A server that could begin with a request waits until the clock has moved on, so that requests which arrive at one
instant are all in its queue before it takes the first: as in a slot of the slotted simulator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lad_rllib.arrays import DoubleMatrix, Doubles, Flags, IntegerMatrix, Integers, Matrix, Vector
from lad_rllib.compiling import kernel, part, pointer
from lad_rllib.simulator.requests.world import Timing


class View(NamedTuple):
    """What is known when a request is to be sent; arrays have shape (A,), one value for each server.

    Attributes:
        now_s: When it arrived.
        service_s: Predicted time that the server would work on it, its model loaded.
        swap_s: Predicted time to load its model and LoRAs there before; 0 where they are in memory.
        way_s: Time to send the request there and the image back.
        remaining_s: Predicted time until the server is done with the request that it serves now; 0 if it is idle.
        work_left_s: The same and the predicted times of all that wait there.
        ahead_s: The same, of those alone that the order of service puts before the request.
        overtaken: Requests that wait there and would be served after it.
        tasks: Requests that wait there or are served.
        up: Whether the server may get it.
        facts: What the request says of itself, see :data:`~lad_rllib.simulator.requests.world.FACTS`.
    """

    now_s: float
    service_s: Doubles
    swap_s: Doubles
    way_s: Doubles
    remaining_s: Doubles
    work_left_s: Doubles
    ahead_s: Doubles
    overtaken: Integers
    tasks: Integers
    up: Flags
    facts: Doubles


if TYPE_CHECKING:
    Rule = Callable[[View, Doubles, Vector, Doubles, Vector, float], int]
else:
    Rule = pointer(int, View, Doubles, Vector, Doubles, Vector, float)
"""A compiled scheduler: ``choose(view, numbers, weights, memory, notes, uniform)`` gives the server.

``numbers`` and ``weights`` are constants of the scheduler; ``memory`` is its own, zeros when an episode begins;
``notes`` is a row that it may fill in for whoever reads the record; ``uniform`` is a random number from [0, 1).
"""


class Queues(NamedTuple):
    """State of A servers. Those that wait at one are a linked list, the one that is served next first.

    Attributes:
        ready_s: When each can begin with the next request: the end of the one it serves, or when the first joined.
        expected_end_s: Predicted end of the request that it serves.
        first, last: The first and last request that wait; -1: none.
        behind: The request that waits behind each request; -1: none (K,).
        tag: Key of each request at its server (K,).
        expected_s: Predicted service and swap of each request at its server (K,).
        waiting: Requests that wait.
        waiting_s: Their predicted times together.
        resident: Models in memory, the least recently used first; -1: room for one (A, R).
        loras: Set of LoRAs that was used last.
        wanted: Requests that wait for each model (A, M).
        last_tag: Tag of each tenant's last request, where the order is fair (A, tenants).
        virtual: Tag of the request that is served.
    """

    ready_s: Doubles
    expected_end_s: Doubles
    first: Integers
    last: Integers
    behind: Integers
    tag: Doubles
    expected_s: Doubles
    waiting: Integers
    waiting_s: Doubles
    resident: IntegerMatrix
    loras: Integers
    wanted: IntegerMatrix
    last_tag: DoubleMatrix
    virtual: Doubles


class Outcome(NamedTuple):
    """What is filled in for each request, shape (K,): server, begin, swap, and the predicted delay."""

    server: Integers
    start_s: Doubles
    swap_s: Doubles
    predicted_delay_s: Doubles


@part
def is_resident(queues: Queues, server: int, model: int) -> bool:
    """Whether a server has a model in memory."""
    return bool(np.any(queues.resident[server] == model))


@part
def use_model(queues: Queues, timing: Timing, server: int, model: int) -> float:
    """Load a model if it is not in memory, as the most recently used; returns the time that takes [s]."""
    room = timing.models_in_memory[server]
    if room == 0:
        return 0.0
    held, found = queues.resident[server], 0
    while found < room and held[found] != model:
        found += 1
    missing = found == room
    for place in range(0 if missing else found, room - 1):
        held[place] = held[place + 1]
    held[room - 1] = model
    return timing.swap_s[server, model] if missing else 0.0


@part
def expected_swap_s(queues: Queues, timing: Timing, server: int, request: int) -> float:
    """Predicted time to load a request's model and LoRAs, if it joined a server's queue now [s].

    A model that others wait for will be there; one that is in memory may have to make room for others before.
    """
    seconds = 0.0
    if timing.loras[request] > 0 and queues.loras[server] != timing.loras[request]:
        seconds = timing.lora_swap_s[server]
    room, model = timing.models_in_memory[server], timing.model[request]
    if room == 0 or queues.wanted[server, model] > 0:
        return seconds
    if not is_resident(queues, server, model):
        return seconds + timing.swap_s[server, model]
    if queues.waiting[server] == 0:
        return seconds
    coming = 0
    for other in range(queues.wanted.shape[1]):
        if queues.wanted[server, other] > 0 and not is_resident(queues, server, other):
            coming += 1
    older = 0
    for held in queues.resident[server, :room]:
        if held == model:
            break
        if held < 0 or queues.wanted[server, held] == 0:
            older += 1
    return seconds + (timing.swap_s[server, model] if coming > older else 0.0)


@part
def begin_next(queues: Queues, timing: Timing, outcome: Outcome, server: int) -> None:
    """A server takes the first request that waits."""
    request = queues.first[server]
    queues.first[server] = queues.behind[request]
    if queues.first[server] < 0:
        queues.last[server] = -1
    queues.waiting[server] -= 1
    queues.waiting_s[server] -= queues.expected_s[request]
    if queues.waiting[server] == 0:
        queues.waiting_s[server] = 0.0  # no rounding errors are carried on
    queues.wanted[server, timing.model[request]] -= 1
    queues.virtual[server] = queues.tag[request]
    swap_s = use_model(queues, timing, server, timing.model[request])
    if timing.loras[request] > 0 and queues.loras[server] != timing.loras[request]:
        swap_s += timing.lora_swap_s[server]
        queues.loras[server] = timing.loras[request]
    outcome.start_s[request] = queues.ready_s[server]
    outcome.swap_s[request] = swap_s
    busy_s = queues.ready_s[server] + swap_s
    queues.expected_end_s[server] = busy_s + timing.predicted_s[request, server]
    queues.ready_s[server] = busy_s + timing.actual_s[request, server]


@part
def advance(queues: Queues, timing: Timing, outcome: Outcome, now_s: float) -> None:
    """Let all servers work until just before ``now_s``."""
    first, ready_s = queues.first, queues.ready_s  # taking an array out of a tuple costs as much as the rest
    for server in range(len(ready_s)):
        while first[server] >= 0 and ready_s[server] < now_s:
            begin_next(queues, timing, outcome, server)


@part
def key_at(queues: Queues, timing: Timing, server: int, request: int) -> float:
    """Key of a request if it joined a server's queue now."""
    if len(timing.weights) == 0:
        return float(timing.key[request, server])
    tenant = timing.tenant[request]
    begin = max(queues.virtual[server], queues.last_tag[server, tenant])
    return float(begin + timing.predicted_s[request, server] / timing.weights[tenant])


@part
def remaining_s(ready_s: float, expected_end_s: float, now_s: float) -> float:
    """Predicted time until a server is done with the request that it serves [s]."""
    return max(expected_end_s - now_s, 0.0) if ready_s > now_s else 0.0


@part
def look(queues: Queues, timing: Timing, view: View, request: int, with_order: bool) -> None:
    """Fill in what is known of each server for a request; ``ahead_s`` and ``overtaken`` only ``with_order``."""
    now_s, loras = timing.arrival_s[request], timing.loras[request]
    ready_s, expected_end_s, waiting, waiting_s = (
        queues.ready_s,
        queues.expected_end_s,
        queues.waiting,
        queues.waiting_s,
    )
    left_s, work_left_s, way_s, tasks, swap_s = (
        view.remaining_s,
        view.work_left_s,
        view.way_s,
        view.tasks,
        view.swap_s,
    )
    upload_s, download_s = timing.upload_s[request], timing.download_s[request]
    room = timing.models_in_memory
    view.facts[:] = timing.facts[request]
    view.service_s[:] = timing.predicted_s[request]
    for server in range(len(ready_s)):
        left_s[server] = remaining_s(ready_s[server], expected_end_s[server], now_s)
        work_left_s[server] = left_s[server] + waiting_s[server]
        way_s[server] = upload_s[server] + download_s[server]
        tasks[server] = waiting[server] + (1 if ready_s[server] > now_s else 0)
        has_swaps = room[server] > 0 or loras > 0
        swap_s[server] = expected_swap_s(queues, timing, server, request) if has_swaps else 0.0
    if with_order:
        look_at_order(queues, timing, view, request)


@part
def look_at_order(queues: Queues, timing: Timing, view: View, request: int) -> None:
    """Fill in what the order of service puts ahead of a request, and what it would overtake."""
    first, last, behind, tag, expected_s = queues.first, queues.last, queues.behind, queues.tag, queues.expected_s
    waiting, waiting_s, key, is_fair = queues.waiting, queues.waiting_s, timing.key[request], len(timing.weights) > 0
    ahead_s, overtaken, left_s = view.ahead_s, view.overtaken, view.remaining_s
    for server in range(len(first)):
        own_key = key_at(queues, timing, server, request) if is_fair else key[server]
        ahead_s[server], overtaken[server] = left_s[server] + waiting_s[server], 0
        if last[server] >= 0 and tag[last[server]] > own_key:
            seconds, before, _ = walk(first[server], behind, tag, expected_s, own_key)
            ahead_s[server], overtaken[server] = left_s[server] + seconds, waiting[server] - before


@part
def walk(first: int, behind: Integers, tag: Doubles, expected_s: Doubles, key: float) -> tuple[float, int, int]:
    """Predicted time and number of those that wait ahead of a key, and the last of them; -1: none.

    One that waits must have a greater key.
    """
    seconds, number, before, other = 0.0, 0, -1, first
    while tag[other] <= key:
        seconds += expected_s[other]
        number += 1
        before = other
        other = behind[other]
    return seconds, number, before


@part
def join(queues: Queues, timing: Timing, outcome: Outcome, request: int, server: int) -> None:
    """A request joins a server's queue, at its place in the order of service."""
    now_s, key = timing.arrival_s[request], key_at(queues, timing, server, request)
    expected_s = timing.predicted_s[request, server] + expected_swap_s(queues, timing, server, request)
    ahead_s, before = queues.waiting_s[server], queues.last[server]
    if before >= 0 and queues.tag[before] > key:
        ahead_s, _, before = walk(queues.first[server], queues.behind, queues.tag, queues.expected_s, key)
    way_s = timing.upload_s[request, server] + timing.download_s[request, server]
    left_s = remaining_s(queues.ready_s[server], queues.expected_end_s[server], now_s)
    outcome.server[request] = server
    outcome.predicted_delay_s[request] = way_s + left_s + ahead_s + expected_s
    if queues.waiting[server] == 0 and queues.ready_s[server] <= now_s:
        queues.ready_s[server] = now_s
        if len(timing.weights) > 0:  # idle: what tenants had is forgotten
            queues.last_tag[server] = 0.0
            queues.virtual[server] = 0.0
            key = key_at(queues, timing, server, request)
    after = queues.first[server] if before < 0 else queues.behind[before]
    queues.behind[request] = after
    if before < 0:
        queues.first[server] = request
    else:
        queues.behind[before] = request
    if after < 0:
        queues.last[server] = request
    queues.tag[request] = key
    queues.expected_s[request] = expected_s
    queues.waiting[server] += 1
    queues.waiting_s[server] += expected_s
    queues.wanted[server, timing.model[request]] += 1
    if len(timing.weights) > 0:
        queues.last_tag[server, timing.tenant[request]] = key


@kernel
def arrive(queues: Queues, timing: Timing, outcome: Outcome, view: View, request: int) -> None:
    """Let the servers work until a request arrives, and look at them."""
    advance(queues, timing, outcome, timing.arrival_s[request])
    look(queues, timing, view, request, True)


@kernel
def send(queues: Queues, timing: Timing, outcome: Outcome, request: int, server: int) -> None:
    """Send a request to a server."""
    join(queues, timing, outcome, request, server)


@kernel
def finish(queues: Queues, timing: Timing, outcome: Outcome) -> None:
    """Let the servers work until all is done."""
    advance(queues, timing, outcome, np.inf)


@kernel
def replay(queues: Queues, timing: Timing, outcome: Outcome, servers: Integers) -> None:
    """Send every request to a given server, and finish."""
    for request in range(len(servers)):
        advance(queues, timing, outcome, timing.arrival_s[request])
        join(queues, timing, outcome, request, servers[request])
    advance(queues, timing, outcome, np.inf)


@kernel
def play(
    rule: Rule,
    queues: Queues,
    timing: Timing,
    outcome: Outcome,
    view: View,
    with_order: bool,
    numbers: Doubles,
    weights: Vector,
    memory: Doubles,
    notes: Matrix,
    uniform: Doubles,
) -> int:
    """Let a rule choose the server of every request, and finish.

    Returns:
        -1, or the first request that the rule sent to a server that does not exist.
    """
    nothing = np.empty(0, np.float32)
    for request in range(len(timing.arrival_s)):
        now_s = timing.arrival_s[request]
        advance(queues, timing, outcome, now_s)
        look(queues, timing, view, request, with_order)
        seen = with_clock(view, now_s)
        row = notes[request] if len(notes) > 0 else nothing
        server = rule(seen, numbers, weights, memory, row, uniform[request])
        if server < 0 or server >= len(queues.ready_s):
            return request
        join(queues, timing, outcome, request, server)
    advance(queues, timing, outcome, np.inf)
    return -1


@part
def with_clock(view: View, now_s: float) -> View:
    """The view at another moment."""
    return View(
        now_s,
        view.service_s,
        view.swap_s,
        view.way_s,
        view.remaining_s,
        view.work_left_s,
        view.ahead_s,
        view.overtaken,
        view.tasks,
        view.up,
        view.facts,
    )


def empty_queues(timing: Timing) -> Queues:
    """Idle servers with nothing in memory."""
    requests, servers = timing.predicted_s.shape
    models, tenants = timing.swap_s.shape[1], max(len(timing.weights), 1)
    return Queues(
        ready_s=np.zeros(servers),
        expected_end_s=np.zeros(servers),
        first=np.full(servers, -1),
        last=np.full(servers, -1),
        behind=np.full(requests, -1),
        tag=np.zeros(requests),
        expected_s=np.zeros(requests),
        waiting=np.zeros(servers, np.int64),
        waiting_s=np.zeros(servers),
        resident=np.full((servers, max(int(timing.models_in_memory.max()), 1)), -1),
        loras=np.zeros(servers, np.int64),
        wanted=np.zeros((servers, models), np.int64),
        last_tag=np.zeros((servers, tenants)),
        virtual=np.zeros(servers),
    )


def empty_outcome(requests: int) -> Outcome:
    """Nothing is sent yet."""
    return Outcome(np.full(requests, -1), np.zeros(requests), np.zeros(requests), np.zeros(requests))


def empty_view(timing: Timing) -> View:
    """A view to be filled in, all servers up."""
    servers = timing.predicted_s.shape[1]
    seconds: dict[str, Any] = {
        name: np.zeros(servers) for name in View._fields if name.endswith("_s") and name != "now_s"
    }
    counts: dict[str, Any] = {name: np.zeros(servers, np.int64) for name in ("overtaken", "tasks")}
    return View(now_s=0.0, up=np.ones(servers, bool), facts=np.zeros(timing.facts.shape[1]), **seconds, **counts)

"""The compiled event loop: requests arrive one by one, are sent to servers, wait there in order, and are served.

A server that could begin with a request waits until the clock has moved on, so that requests which arrive at one
instant are all in its queue before it takes the first: as in a slot of the slotted simulator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np

from lad_rllib.arrays import Array, DoubleMatrix, Doubles, IntegerMatrix, Integers, Layout, Matrix, Vector
from lad_rllib.compiling import lean_kernel, lean_part, pointer
from lad_rllib.simulator.requests.memory import bring_in, expected_swap_s, makes_room
from lad_rllib.simulator.requests.view import View as View  # a rule takes its arguments from here
from lad_rllib.simulator.requests.world import FACTS, Timing

if TYPE_CHECKING:
    Rule = Callable[[View, Doubles, Vector, Doubles, Vector, float], int]
else:
    Rule = pointer(int, View, Doubles, Vector, Doubles, Vector, float)
"""A compiled scheduler: ``choose(view, numbers, weights, memory, notes, uniform)`` gives the server.

``numbers`` and ``weights`` are constants of the scheduler; ``memory`` is its own, zeros when an episode begins;
``notes`` is a row that it may fill in for whoever reads the record; ``uniform`` is a random number from [0, 1).
"""


SERVER = np.dtype(
    [
        ("ready_s", "f8"),
        ("expected_end_s", "f8"),
        ("waiting_s", "f8"),
        ("waiting_declared", "f8"),
        ("served_declared", "f8"),
        ("virtual", "f8"),
        ("lora_swap_s", "f8"),
        ("first", "i8"),
        ("last", "i8"),
        ("waiting", "i8"),
        ("loras", "i8"),
        ("room", "i8"),
    ],
    align=True,
)
"""State of a server. Those that wait at it are a linked list, the one that is served next first.

``ready_s``: when it can begin with the next request: the end of the one it serves, or when the first joined;
``expected_end_s``: predicted end of the request that it serves; ``waiting_s``, ``waiting_declared``: predicted times
and declared cost of those that wait, together; ``served_declared``: declared cost of the one that it serves;
``virtual``: its tag; ``lora_swap_s``: time to load LoRAs; ``first``, ``last``: the first and last request that wait, -1
for none; ``waiting``: their number; ``loras``: set of LoRAs in the models; ``room``: models that it holds, 0 for all.
"""

REQUEST = np.dtype(
    [
        ("tag", "f8"),
        ("expected_s", "f8"),
        ("declared", "f8"),
        ("start_s", "f8"),
        ("swap_s", "f8"),
        ("predicted_delay_s", "f8"),
        ("server", "i8"),
        ("behind", "i8"),
        ("model", "i8"),
        ("loras", "i8"),
        ("tenant", "i8"),
    ],
    align=True,
)
"""State of a request.

``tag``: its key at its server; ``expected_s``: predicted service and swap there; ``declared``: its declared cost;
``start_s``, ``swap_s``: when its server began with it, and how long loading took; ``predicted_delay_s``: its delay,
predicted when it was sent; ``server``: where it was sent; ``behind``: the request that waits behind it, -1 for none;
``model``, ``loras``, ``tenant``: as in :class:`~lad_rllib.simulator.requests.world.Timing`.
"""


class Queues(NamedTuple):
    """State of A servers and K requests.

    Attributes:
        servers: One record of :data:`SERVER` for each server.
        requests: One record of :data:`REQUEST` for each request.
        resident: Models in memory, the least recently used first; -1: room for one (A, R).
        wanted: Requests that wait for each model (A, M).
        last_tag: Tag of each tenant's last request, where the order is fair (A, tenants).
    """

    servers: Annotated[Array, Layout(SERVER, 1)]
    requests: Annotated[Array, Layout(REQUEST, 1)]
    resident: IntegerMatrix
    wanted: IntegerMatrix
    last_tag: DoubleMatrix


@lean_part
def begin_next(queues: Queues, timing: Timing, index: int) -> None:
    """A server takes the first request that waits."""
    server = queues.servers[index]
    taken = server.first
    request = queues.requests[taken]
    server.first = request.behind
    if server.first < 0:
        server.last = -1
    server.waiting -= 1
    server.waiting_s -= request.expected_s
    server.waiting_declared -= request.declared
    server.served_declared = request.declared
    if server.waiting == 0:
        server.waiting_s, server.waiting_declared = 0.0, 0.0  # no rounding errors are carried on
    queues.wanted[index, request.model] -= 1
    server.virtual = request.tag
    swap_s, server.loras = bring_in(timing, index, queues.resident[index], server.loras, taken)
    request.start_s = server.ready_s
    request.swap_s = swap_s
    busy_s = server.ready_s + swap_s
    server.expected_end_s = busy_s + timing.predicted_s[taken, index]
    server.ready_s = busy_s + timing.actual_s[taken, index]


@lean_part
def advance(queues: Queues, timing: Timing, now_s: float) -> None:
    """Let all servers work until just before ``now_s``."""
    servers = queues.servers
    for index in range(len(servers)):
        while servers[index].first >= 0 and servers[index].ready_s < now_s:
            begin_next(queues, timing, index)


@lean_part
def key_at(queues: Queues, timing: Timing, index: int, number: int) -> float:
    """Key of a request if it joined a server's queue now."""
    if len(timing.weights) == 0:
        return float(timing.key[number, index])
    tenant = queues.requests[number].tenant
    begin = max(queues.servers[index].virtual, queues.last_tag[index, tenant])
    return float(begin + timing.predicted_s[number, index] / timing.weights[tenant])


@lean_part
def remaining_s(server: Any, now_s: float) -> float:
    """Predicted time until a server is done with the request that it serves [s]."""
    return max(server.expected_end_s - now_s, 0.0) if server.ready_s > now_s else 0.0


@lean_part
def look(queues: Queues, timing: Timing, view: View, number: int, with_order: bool) -> None:
    """Fill in what is known of each server for a request; ``ahead_s`` and ``overtaken`` only ``with_order``."""
    now_s, servers, request = timing.arrival_s[number], queues.servers, queues.requests[number]
    left_s, work_left_s, way_s, swap_s = view.remaining_s, view.work_left_s, view.way_s, view.swap_s
    upload_s, download_s = timing.upload_s[number], timing.download_s[number]
    service_s, predicted_s = view.service_s, timing.predicted_s[number]
    for fact in range(len(view.facts)):
        view.facts[fact] = timing.facts[number, fact]
    for index in range(len(servers)):
        server = servers[index]
        service_s[index] = predicted_s[index]
        left_s[index] = remaining_s(server, now_s)
        work_left_s[index] = left_s[index] + server.waiting_s
        way_s[index] = upload_s[index] + download_s[index]
        view.tasks[index], view.declared[index] = server.waiting, server.waiting_declared
        if server.ready_s > now_s:
            view.tasks[index] += 1
            view.declared[index] += server.served_declared
        swap_s[index], view.makes_room[index] = 0.0, -1
        if server.room > 0 or request.loras > 0:
            held, wanted = queues.resident[index], queues.wanted[index]
            swap_s[index] = expected_swap_s(server, request, held, wanted, timing.swap_s[index])
            view.makes_room[index] = makes_room(server, request, held, wanted)
    if with_order:
        look_at_order(queues, timing, view, number)


@lean_part
def look_at_order(queues: Queues, timing: Timing, view: View, number: int) -> None:
    """Fill in what the order of service puts ahead of a request, and what it would overtake."""
    servers, requests = queues.servers, queues.requests
    key, is_fair = timing.key[number], len(timing.weights) > 0
    ahead_s, overtaken, left_s = view.ahead_s, view.overtaken, view.remaining_s
    for index in range(len(servers)):
        server = servers[index]
        own_key = key_at(queues, timing, index, number) if is_fair else key[index]
        ahead_s[index], overtaken[index] = left_s[index] + server.waiting_s, 0
        if server.last >= 0 and requests[server.last].tag > own_key:
            seconds, before, _ = walk(requests, server.first, own_key)
            ahead_s[index], overtaken[index] = left_s[index] + seconds, server.waiting - before


@lean_part
def walk(requests: Array, first: int, key: float) -> tuple[float, int, int]:
    """Predicted time and number of those that wait ahead of a key, and the last of them; -1: none.

    One that waits must have a greater key.
    """
    seconds, number, before, other = 0.0, 0, -1, first
    while requests[other].tag <= key:
        seconds += requests[other].expected_s
        number += 1
        before = other
        other = requests[other].behind
    return seconds, number, before


@lean_part
def join(queues: Queues, timing: Timing, number: int, index: int) -> None:
    """A request joins a server's queue, at its place in the order of service."""
    requests, server, request = queues.requests, queues.servers[index], queues.requests[number]
    now_s, key = timing.arrival_s[number], key_at(queues, timing, index, number)
    held, wanted = queues.resident[index], queues.wanted[index]
    expected_s = timing.predicted_s[number, index]
    expected_s += expected_swap_s(server, request, held, wanted, timing.swap_s[index])
    ahead_s, before = server.waiting_s, server.last
    if before >= 0 and requests[before].tag > key:
        ahead_s, _, before = walk(requests, server.first, key)
    way_s = timing.upload_s[number, index] + timing.download_s[number, index]
    request.server = index
    request.predicted_delay_s = way_s + remaining_s(server, now_s) + ahead_s + expected_s
    if server.waiting == 0 and server.ready_s <= now_s:
        server.ready_s = now_s
        if len(timing.weights) > 0:  # idle: what tenants had is forgotten
            for tenant in range(len(timing.weights)):
                queues.last_tag[index, tenant] = 0.0
            server.virtual = 0.0
            key = key_at(queues, timing, index, number)
    after = server.first if before < 0 else requests[before].behind
    request.behind = after
    if before < 0:
        server.first = number
    else:
        requests[before].behind = number
    if after < 0:
        server.last = number
    request.tag = key
    request.expected_s = expected_s
    server.waiting += 1
    server.waiting_s += expected_s
    server.waiting_declared += request.declared
    wanted[request.model] += 1
    if len(timing.weights) > 0:
        queues.last_tag[index, request.tenant] = key


@lean_kernel
def arrive(queues: Queues, timing: Timing, view: View, request: int) -> None:
    """Let the servers work until a request arrives, and look at them."""
    advance(queues, timing, timing.arrival_s[request])
    look(queues, timing, view, request, True)


@lean_kernel
def send(queues: Queues, timing: Timing, request: int, server: int) -> None:
    """Send a request to a server."""
    join(queues, timing, request, server)


@lean_kernel
def finish(queues: Queues, timing: Timing) -> None:
    """Let the servers work until all is done."""
    advance(queues, timing, np.inf)


@lean_kernel
def replay(queues: Queues, timing: Timing, servers: Integers) -> None:
    """Send every request to a given server, and finish."""
    for request in range(len(servers)):
        advance(queues, timing, timing.arrival_s[request])
        join(queues, timing, request, servers[request])
    advance(queues, timing, np.inf)


@lean_kernel
def play(
    rule: Rule,
    queues: Queues,
    timing: Timing,
    view: View,
    with_order: bool,
    at_once: bool,
    numbers: Doubles,
    weights: Vector,
    memory: Doubles,
    notes: Matrix,
    uniform: Doubles,
) -> int:
    """Let a rule choose the server of every request, and finish.

    Requests of one instant join the queues one after the other, or with ``at_once`` when all of them are decided.

    Returns:
        -1, or the first request that the rule sent to a server that does not exist.
    """
    last, joined = len(timing.arrival_s) - 1, 0
    for request in range(last + 1):
        now_s = timing.arrival_s[request]
        advance(queues, timing, now_s)
        look(queues, timing, view, request, with_order)
        server = rule(View(now_s, *view[1:]), numbers, weights, memory, notes[request], uniform[request])
        if server < 0 or server >= len(queues.servers):
            return request
        queues.requests[request].server = server
        if at_once and request < last and timing.arrival_s[request + 1] == now_s:
            continue
        while joined <= request:
            join(queues, timing, joined, queues.requests[joined].server)
            joined += 1
    advance(queues, timing, np.inf)
    return -1


def empty_queues(timing: Timing) -> Queues:
    """Idle servers with nothing in memory, and requests of which none is sent."""
    requests, servers = timing.predicted_s.shape
    models, tenants = timing.swap_s.shape[1], max(len(timing.weights), 1)
    rooms = max(int(timing.models_in_memory.max()), 1)
    queues = Queues(
        servers=np.zeros(servers, SERVER),
        requests=np.zeros(requests, REQUEST),
        resident=np.full((servers, rooms), -1),
        wanted=np.zeros((servers, models), np.int64),
        last_tag=np.zeros((servers, tenants)),
    )
    for name in ("ready_s", "expected_end_s"):
        queues.servers[name] = -np.inf
    for name in ("first", "last"):
        queues.servers[name] = -1
    for name in ("server", "behind"):
        queues.requests[name] = -1
    queues.servers["room"], queues.servers["lora_swap_s"] = timing.models_in_memory, timing.lora_swap_s
    queues.requests["declared"] = timing.facts[:, FACTS.index("declared_cost")]
    for name in ("model", "loras", "tenant"):
        queues.requests[name] = getattr(timing, name)
    return queues


def empty_view(timing: Timing) -> View:
    """A view to be filled in, all servers up."""
    servers = timing.predicted_s.shape[1]
    floats = [name for name in View._fields if name.endswith("_s") and name != "now_s"]
    seconds: dict[str, Any] = {name: np.zeros(servers) for name in (*floats, "declared")}
    counts: dict[str, Any] = {name: np.zeros(servers, np.int64) for name in ("overtaken", "tasks", "makes_room")}
    return View(now_s=0.0, up=np.ones(servers, bool), facts=np.zeros(timing.facts.shape[1]), **seconds, **counts)

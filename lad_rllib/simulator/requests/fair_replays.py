"""What a server that is shared between tenants would have done with one request more or less.

Under weighted fair queueing a request changes the keys of those that join later, so that no record can be followed: the
server is played again from the request's arrival until it runs idle when it did. A tenant's requests are served in the
order of their arrival, so a queue is one list for each tenant.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lad_rllib.arrays import Array, Doubles, IntegerMatrix, Integers, Layout
from lad_rllib.compiling import lean_kernel, lean_part
from lad_rllib.simulator.requests.loop import Queues
from lad_rllib.simulator.requests.memory import bring_in
from lad_rllib.simulator.requests.replays import Changes, note
from lad_rllib.simulator.requests.world import Timing

ITEM = np.dtype(
    [
        ("arrival_s", "f8"),
        ("share_s", "f8"),
        ("actual_s", "f8"),
        ("weight", "f8"),
        ("tag", "f8"),
        ("end_s", "f8"),
        ("delay_s", "f8"),
        ("request", "i8"),
        ("tenant", "i8"),
        ("behind", "i8"),
        ("finds_idle", "i8"),
    ],
    align=True,
)
"""A request of a server: ``share_s``: predicted time over its tenant's weight; ``tag``: its key; ``end_s``: when the
server was done with it; ``delay_s``: its delay; ``behind``: the tenant's next; ``finds_idle``:
whether it found the server idle."""

TENANT = np.dtype([("last_tag", "f8"), ("first", "i8"), ("last", "i8")], align=True)
"""A tenant's queue: its last tag, its first and last item that wait; ``first`` is -1 if none does."""

SERVER = np.dtype([("ready_s", "f8"), ("virtual", "f8"), ("waiting", "i8"), ("loras", "i8")], align=True)
"""When the server is free, the tag of the request that it serves, how many wait, the LoRAs in the models."""


class FairQueue(NamedTuple):
    """A server that is shared between tenants.

    Attributes:
        items: Its n requests in order of arrival, and room for one more (n + 1,).
        tenants: Their queues (T,).
        server: Its state (1,).
        resident: Models in memory (R,).
    """

    items: Annotated[Array, Layout(ITEM, 1)]
    tenants: Annotated[Array, Layout(TENANT, 1)]
    server: Annotated[Array, Layout(SERVER, 1)]
    resident: Integers


def fair_queue(timing: Timing, weight: Doubles, served: NDArray[np.int64]) -> FairQueue:
    """A server that is to get the given requests, in order of arrival; ``weight``: of each of all requests' delays."""
    items = np.zeros(len(served) + 1, ITEM)
    items["request"][:-1], items["weight"][:-1] = served, weight[served]
    rooms = max(int(timing.models_in_memory.max()), 1)
    return FairQueue(items, np.zeros(len(timing.weights), TENANT), np.zeros(1, SERVER), np.zeros(rooms, np.int64))


@lean_part
def describe(items: Array, timing: Timing, server: int, index: int, request: int) -> None:
    """Fill in what an item is."""
    item, tenant = items[index], timing.tenant[request]
    item.arrival_s = timing.arrival_s[request]
    item.share_s = timing.predicted_s[request, server] / timing.weights[tenant]
    item.actual_s = timing.actual_s[request, server]
    item.request = request
    item.tenant = tenant


@lean_part
def empty(queue: FairQueue) -> None:
    """Make the server idle, with nothing in memory."""
    server = queue.server[0]
    server.ready_s, server.virtual = -np.inf, 0.0
    server.waiting = server.loras = 0
    for index in range(len(queue.tenants)):
        queue.tenants[index].last_tag = 0.0
        queue.tenants[index].first = -1
    for index in range(len(queue.resident)):
        queue.resident[index] = -1


@lean_part
def copy(source: FairQueue, target: FairQueue) -> None:
    """Make one state another; they share their items."""
    for index in range(len(source.tenants)):
        target.tenants[index] = source.tenants[index]
    target.server[0] = source.server[0]
    for index in range(len(source.resident)):
        target.resident[index] = source.resident[index]


@lean_part
def is_idle(queue: FairQueue, now_s: float) -> bool:
    """Whether the server is idle."""
    return bool(queue.server[0].waiting == 0 and queue.server[0].ready_s <= now_s)


@lean_part
def join(queue: FairQueue, index: int) -> None:
    """An item joins the queue of its tenant."""
    item, server = queue.items[index], queue.server[0]
    if is_idle(queue, item.arrival_s):
        server.ready_s, server.virtual = item.arrival_s, 0.0
        for other in range(len(queue.tenants)):
            queue.tenants[other].last_tag = 0.0
    tenant = queue.tenants[item.tenant]
    item.tag = max(server.virtual, tenant.last_tag) + item.share_s
    tenant.last_tag = item.tag
    if tenant.first < 0:
        tenant.first = index
    else:
        queue.items[tenant.last].behind = index
    tenant.last = index
    server.waiting += 1


@lean_part
def take(queue: FairQueue) -> int:
    """Take the item with the least tag out of the queue; of equal ones the one that arrived first."""
    best, of = -1, 0
    for index in range(len(queue.tenants)):
        first = queue.tenants[index].first
        if first >= 0:
            one, other = queue.items[first], queue.items[best]
            if best < 0 or one.tag < other.tag or (one.tag == other.tag and one.request < other.request):
                best, of = first, index
    tenant = queue.tenants[of]
    tenant.first = -1 if tenant.first == tenant.last else queue.items[best].behind
    queue.server[0].waiting -= 1
    return best


@lean_part
def serve(queue: FairQueue, timing: Timing, changes: Changes, index: int, now_s: float, known: bool) -> float:
    """Let a server work until just before ``now_s``.

    Args:
        queue: The server.
        timing: Times of all requests.
        changes: Filled in, unless empty, where it is ``known`` when the items ended.
        index: Number of the server.
        now_s: Until when [s].
        known: Whether ends of items are known and this is to be compared with them; else they are filled in.

    Returns:
        Weighted sum of the changes of delays; 0 unless ``known`` [s].
    """
    total, server = 0.0, queue.server[0]
    while server.waiting > 0 and server.ready_s < now_s:
        taken = take(queue)
        item = queue.items[taken]
        server.virtual = item.tag
        swap_s, server.loras = bring_in(timing, index, queue.resident, server.loras, item.request)
        server.ready_s = (server.ready_s + swap_s) + item.actual_s
        if known and taken + 1 < len(queue.items):
            total += note(changes, item, server.ready_s - item.end_s)
        else:
            way_s = timing.upload_s[item.request, index] + timing.download_s[item.request, index]
            item.end_s = server.ready_s
            item.delay_s = way_s + item.end_s - item.arrival_s
    return total


@lean_kernel
def play_fair(
    queue: FairQueue, timing: Timing, changes: Changes, server: int, resident: IntegerMatrix, loras: Integers
) -> None:
    """Serve all items, and fill in what a replay compares with.

    Args:
        queue: The server.
        timing: Times of all requests.
        changes: Not filled in.
        server: Number of the server.
        resident: Models in memory when an item finds the server idle, filled in (n, R).
        loras: LoRAs in the models then, filled in (n,).
    """
    empty(queue)
    for index in range(len(queue.items) - 1):
        item = queue.items[index]
        describe(queue.items, timing, server, index, item.request)
        serve(queue, timing, changes, server, item.arrival_s, False)
        item.finds_idle = 1 if is_idle(queue, item.arrival_s) else 0
        for place in range(len(queue.resident)):
            resident[index, place] = queue.resident[place]
        loras[index] = queue.server[0].loras
        join(queue, index)
    serve(queue, timing, changes, server, np.inf, False)


@lean_kernel
def fair_costs(
    queue: FairQueue,
    other: FairQueue,
    resident: IntegerMatrix,
    loras: Integers,
    queues: Queues,
    timing: Timing,
    changes: Changes,
    server: int,
    sample: Integers,
    first: int,
    own_s: Doubles,
    change_s: Doubles,
    behind: Integers,
) -> int:
    """As :func:`~lad_rllib.simulator.requests.replays.server_costs`, of a sample in order of arrival.

    Args:
        queue: The server, after :func:`play_fair`.
        other: Room for another state of it, with the same items.
        resident: As filled in there.
        loras: As filled in there.
        queues: All requests as they were served.
        timing: Their times.
        changes: Filled in, unless empty, until there is no more room.
        server: The server.
        sample: The M sampled requests.
        first: Index of the first of them to be done.
        own_s: Own delay of each here, filled in (M,).
        change_s: Sum of the changes of others' delays that each makes, filled in (M,).
        behind: Number of changes filled in after each (M,).

    Returns:
        Index of the first that is not done.
    """
    items, joined, count, room = queue.items, 0, len(queue.items) - 1, len(changes.request)
    empty(queue)
    changes.filled[0] = 0
    for index in range(first, len(sample)):
        if room > 0 and changes.filled[0] + count > room:
            return index
        request = sample[index]
        now_s = changes.loss[0].now_s = timing.arrival_s[request]
        while joined < count and items[joined].request < request:
            serve(queue, timing, changes, server, items[joined].arrival_s, False)
            join(queue, joined)
            joined += 1
        serve(queue, timing, changes, server, now_s, False)
        copy(queue, other)
        own, following = count, joined
        if queues.requests[request].server == server:
            own, following = joined, joined + 1
        else:
            describe(items, timing, server, count, request)
            join(other, count)
        change_s[index] = follow_arrivals(other, timing, changes, server, following, resident, loras)
        own_s[index] = items[own].delay_s
        behind[index] = changes.filled[0]
    return len(sample)


@lean_part
def follow_arrivals(
    queue: FairQueue,
    timing: Timing,
    changes: Changes,
    server: int,
    index: int,
    resident: IntegerMatrix,
    loras: Integers,
) -> float:
    """Serve all items from one on, until the server is idle as it was; returns the weighted change of delays [s]."""
    total = 0.0
    for following in range(index, len(queue.items) - 1):
        item = queue.items[following]
        total += serve(queue, timing, changes, server, item.arrival_s, True)
        if item.finds_idle and is_idle(queue, item.arrival_s) and queue.server[0].loras == loras[following]:
            same = True
            for place in range(len(queue.resident)):
                same &= queue.resident[place] == resident[following, place]
            if same:
                return total
        join(queue, following)
    return total + serve(queue, timing, changes, server, np.inf, True)

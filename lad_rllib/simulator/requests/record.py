"""What one server did, in order of service, with what tells quickly where a disturbed server would do otherwise."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lad_rllib.arrays import Array, Doubles, IntegerMatrix, Integers, Layout
from lad_rllib.compiling import kernel, lean_part, part
from lad_rllib.simulator.requests.loop import Queues
from lad_rllib.simulator.requests.memory import bring_in
from lad_rllib.simulator.requests.world import Timing

PLACE = np.dtype(
    [
        ("arrival_s", "f8"),
        ("overtaken_s", "f8"),
        ("key", "f8"),
        ("begin_s", "f8"),
        ("busy_s", "f8"),
        ("weight", "f8"),
        ("is_forward", "i8"),
        ("end_s", "f8"),
        ("delay_s", "f8"),
        ("slack_s", "f8"),
        ("weight_before", "f8"),
        ("request", "i8"),
        ("next_waiting", "i8"),
        ("next_behind", "i8"),
        ("period_end", "i8"),
        ("rank", "i8"),
    ],
    align=True,
)
"""A place in the order in which a server served its n requests; places are numbered from 0.

``request``: which request was served there; ``arrival_s``, ``key``, ``weight``: its arrival, key, weight of its delay;
``begin_s``, ``busy_s``, ``end_s``: when the server began with it, was busy with it (loading and service), was done;
``delay_s``: its delay; ``overtaken_s``: the first arrival after it began that would have gone before it, infinite for
none; ``slack_s``: least time from ``begin_s`` to ``overtaken_s`` from here to the end of the busy period: a delay below
that changes no order;
``weight_before``: weights of all earlier places together; ``next_waiting``: place of the request that was next in order
when it began, n for none; ``next_behind``: the next place with a greater key, n for none; ``period_end``: the first
place after its busy period; ``rank``: how many arrived before; ``is_forward``: used by replays.
"""


class Record(NamedTuple):
    """What a server did.

    Attributes:
        places: One record of :data:`PLACE` for each place, and one behind the last, of which only sums count (n + 1,).
        joined_s: Arrivals, in their order (n,).
        resident: Models in memory before each place (n + 1, R).
        loras: Set of LoRAs in the models before each place (n + 1,).
    """

    places: Annotated[Array, Layout(PLACE, 1)]
    joined_s: Doubles
    resident: IntegerMatrix
    loras: Integers


def record_of(queues: Queues, timing: Timing, weight: Doubles, server: int, served: NDArray[np.int64]) -> Record:
    """Record of a server.

    Args:
        queues: All requests as they were served.
        timing: Their times.
        weight: Weight of each request's delay.
        server: The server.
        served: Its requests in order of service.
    """
    count, rooms = len(served), queues.resident.shape[1]
    places = np.zeros(count + 1, PLACE)
    places["request"][:count] = served
    record = Record(places, np.empty(count), np.full((count + 1, rooms), -1), np.zeros(count + 1, np.int64))
    write(record, queues, timing, weight, server)
    return record


@kernel
def write(record: Record, queues: Queues, timing: Timing, weight: Doubles, server: int) -> None:
    """Fill in a record whose ``request`` is given."""
    count = len(record.joined_s)
    arrival_s, begin_s, key, number = np.empty(count), np.empty(count), np.empty(count), np.empty(count, np.int64)
    for index in range(count):
        place = record.places[index]
        number[index] = place.request
        served = queues.requests[place.request]
        arrival_s[index] = place.arrival_s = timing.arrival_s[place.request]
        begin_s[index] = place.begin_s = served.start_s
        key[index] = place.key = served.tag
        actual_s = timing.actual_s[place.request, server]
        place.busy_s = served.swap_s + actual_s
        place.end_s = (served.start_s + served.swap_s) + actual_s  # as the event loop adds them
        way_s = timing.upload_s[place.request, server] + timing.download_s[place.request, server]
        place.delay_s = place.end_s - place.arrival_s + way_s
        place.weight = weight[place.request]
        record.places[index + 1].weight_before = place.weight_before + place.weight
        record.resident[index + 1] = record.resident[index]
        held, loras = record.resident[index + 1], record.loras[index]
        _, record.loras[index + 1] = bring_in(timing, server, held, loras, place.request)
    by_arrival = np.argsort(number)
    record.joined_s[:] = arrival_s[by_arrival]
    for rank in range(count):
        record.places[by_arrival[rank]].rank = rank
    write_overtakers(record, begin_s, key, key[by_arrival])
    write_who_waited(record, begin_s, arrival_s, key)
    write_busy_periods(record)


@part
def next_smaller(values: Doubles) -> Integers:
    """Index of the next smaller value behind each one; their number where there is none."""
    count = len(values)
    following = np.empty(count, np.int64)
    for index in range(count - 1, -1, -1):
        other = index + 1
        while other < count and values[other] >= values[index]:
            other = following[other]
        following[index] = other
    return following


@part
def write_overtakers(record: Record, begin_s: Doubles, key: Doubles, joined_key: Doubles) -> None:
    """Fill in the first arrival after each request began whose key is smaller."""
    count, smaller = len(begin_s), next_smaller(joined_key)
    for index in range(count):
        other = np.searchsorted(record.joined_s, begin_s[index], "right")
        while other < count and joined_key[other] >= key[index]:
            other = smaller[other]
        record.places[index].overtaken_s = record.joined_s[other] if other < count else np.inf


@part
def write_who_waited(record: Record, begin_s: Doubles, arrival_s: Doubles, key: Doubles) -> None:
    """Fill in the next place of a request that had arrived when each one began, and the next with a greater key."""
    count, earlier, behind = len(begin_s), next_smaller(arrival_s), next_smaller(-key)
    for index in range(count):
        other = index + 1
        while other < count and arrival_s[other] > begin_s[index]:
            other = earlier[other]
        record.places[index].next_waiting = other
        record.places[index].next_behind = behind[index]


@part
def write_busy_periods(record: Record) -> None:
    """Fill in the first place after each one's busy period, and the least slack to its end."""
    places = record.places
    for index in range(len(record.joined_s) - 1, -1, -1):
        place, following = places[index], places[index + 1]
        place.slack_s = place.overtaken_s - place.begin_s
        place.period_end = index + 1
        if index + 1 < len(record.joined_s) and following.begin_s <= place.end_s:
            place.period_end = following.period_end
            place.slack_s = min(place.slack_s, following.slack_s)


@lean_part
def place_of(record: Record, request: int, arrival_s: float, key: float) -> tuple[int, float]:
    """Where a further request would be served, and when: its place, and the beginning of its service [s].

    Until then the server does what it did.
    """
    places, low, count = record.places, 0, len(record.joined_s)
    high = count
    while low < high:
        middle = (low + high) // 2
        if places[middle].begin_s < arrival_s:
            low = middle + 1
        else:
            high = middle
    begin_s = max(arrival_s, places[low - 1].end_s) if low > 0 else arrival_s
    if low == count or begin_s < places[low].begin_s:
        return low, begin_s
    index, end = low, places[low].period_end
    while index < end and places[index].key <= key:
        if places[index].key < key:
            index = places[index].next_behind
        elif places[index].request < request:
            index += 1
        else:
            break
    return (index, places[index].begin_s) if index < end else (end, places[end - 1].end_s)

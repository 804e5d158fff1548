"""What a server would have done with one request more or less: a replay along its record, exact for keys that stay.

The replay follows the record and keeps apart only what differs: requests *held back*, which the record has served by
now, and requests *brought forward*, which it serves later. A server that does what the record says costs a few
additions for each request; one whose order no longer differs until it runs idle costs one for a whole busy period.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple

import numpy as np

from lad_rllib.arrays import Array, Doubles, Integers, Layout
from lad_rllib.compiling import lean_kernel, lean_part
from lad_rllib.simulator.requests.loop import Queues
from lad_rllib.simulator.requests.memory import bring_in
from lad_rllib.simulator.requests.record import Record, place_of
from lad_rllib.simulator.requests.world import Timing

LOSS = np.dtype(
    [
        ("slope", "f8"),
        ("further_slope", "f8"),
        ("corner_s", "f8"),
        ("decay_per_s", "f8"),
        ("horizon_s", "f8"),
        ("now_s", "f8"),
        ("is_plain", "i8"),
    ],
    align=True,
)
"""How a change of a delay counts: loss ``slope * delay + further_slope * max(delay - corner_s, 0)``, less by
``exp(-decay_per_s)`` for each second that a request arrives after ``now_s``, not at all beyond ``horizon_s``;
``is_plain``: nothing but the delay."""


class Changes(NamedTuple):
    """Where changes of delays go.

    Attributes:
        request: Each request whose delay changes, filled from the start; empty where sums are enough.
        by_s: How much later it is done [s].
        filled: How many there are (1,).
        loss: How they count in sums, one record of :data:`LOSS`.
    """

    request: Integers
    by_s: Doubles
    filled: Integers
    loss: Annotated[Array, Layout(LOSS, 1)]


class Scratch(NamedTuple):
    """Room for one replay.

    Attributes:
        held_back: Places held back, the one that goes last first (n,).
        resident: Models in memory (R,).
        loras: Set of LoRAs in the models (1,).
    """

    held_back: Integers
    resident: Integers
    loras: Integers


def scratch_of(record: Record) -> Scratch:
    """Room for replays of a record."""
    count, rooms = record.resident.shape
    return Scratch(np.empty(count, np.int64), np.empty(rooms, np.int64), np.empty(1, np.int64))


@lean_kernel
def server_costs(
    record: Record,
    queues: Queues,
    timing: Timing,
    scratch: Scratch,
    changes: Changes,
    server: int,
    place_in_record: Integers,
    sample: Integers,
    first: int,
    own_s: Doubles,
    change_s: Doubles,
    behind: Integers,
) -> int:
    """Own delays of the sampled requests on one server, and what they change there.

    Args:
        record: What the server did.
        queues: All requests as they were served.
        timing: Their times.
        scratch: Room.
        changes: Filled in, unless empty, until there is no more room.
        server: The server.
        place_in_record: Place of each request at its server (K,).
        sample: The M sampled requests.
        first: Index of the first of them to be done.
        own_s: Own delay of each here, filled in (M,).
        change_s: Sum of the changes of others' delays that each makes, filled in (M,).
        behind: Number of changes filled in after each (M,).

    Returns:
        Index of the first that is not done.
    """
    room = len(changes.request)
    changes.filled[0] = 0
    for index in range(first, len(sample)):
        if room > 0 and changes.filled[0] + len(record.joined_s) > room:
            return index
        request = sample[index]
        changes.loss[0].now_s = timing.arrival_s[request]
        if queues.requests[request].server == server:
            place = place_in_record[request]
            own_s[index], change_s[index] = change_without(record, timing, scratch, changes, server, place)
        else:
            own_s[index], change_s[index] = change_with(record, timing, scratch, changes, server, request)
        behind[index] = changes.filled[0]
    return len(sample)


@lean_part
def change_with(
    record: Record, timing: Timing, scratch: Scratch, changes: Changes, server: int, request: int
) -> tuple[float, float]:
    """Delay of a request that the server did not get, and the change of all others' delays if it does [s]."""
    arrival_s = timing.arrival_s[request]
    place, begin_s = place_of(record, request, arrival_s, timing.key[request, server])
    swap_s, same = 0.0, True
    if has_swaps(timing, server):
        recall(record, scratch, place)
        swap_s = load(timing, scratch, server, request)
        same = remembers(record, scratch, place)
    free_s = (begin_s + swap_s) + timing.actual_s[request, server]
    way_s = timing.upload_s[request, server] + timing.download_s[request, server]
    change = follow(record, timing, scratch, changes, server, place, free_s, same)
    return way_s + free_s - arrival_s, change


@lean_part
def change_without(
    record: Record, timing: Timing, scratch: Scratch, changes: Changes, server: int, index: int
) -> tuple[float, float]:
    """Delay of the request at a place, and the change of all others' delays if the server does not get it [s]."""
    place, same = record.places[index], True
    request = place.request
    if has_swaps(timing, server):
        recall(record, scratch, index)
        same = remembers(record, scratch, index + 1)
    way_s = timing.upload_s[request, server] + timing.download_s[request, server]
    change = follow(record, timing, scratch, changes, server, index + 1, place.begin_s, same)
    return way_s + place.end_s - place.arrival_s, change


@lean_part
def has_swaps(timing: Timing, server: int) -> bool:
    """Whether a server ever loads models or LoRAs."""
    return bool(timing.models_in_memory[server] > 0 or timing.lora_swap_s[server] > 0)


@lean_part
def recall(record: Record, scratch: Scratch, place: int) -> None:
    """Have in memory what the record had before a place."""
    for index in range(len(scratch.resident)):
        scratch.resident[index] = record.resident[place, index]
    scratch.loras[0] = record.loras[place]


@lean_part
def remembers(record: Record, scratch: Scratch, place: int) -> bool:
    """Whether memory is as the record had it before a place."""
    same = bool(scratch.loras[0] == record.loras[place])
    for index in range(len(scratch.resident)):
        same &= scratch.resident[index] == record.resident[place, index]
    return same


@lean_part
def load(timing: Timing, scratch: Scratch, server: int, request: int) -> float:
    """Load a request's model and LoRAs; returns the time that takes [s]."""
    swap_s, scratch.loras[0] = bring_in(timing, server, scratch.resident, scratch.loras[0], request)
    return swap_s


@lean_part
def follow(
    record: Record,
    timing: Timing,
    scratch: Scratch,
    changes: Changes,
    server: int,
    place: int,
    free_s: float,
    same: bool,
) -> float:
    """Serve what the record serves from a place on, by a server that is free at ``free_s``.

    Args:
        record: The record.
        timing: Times of all requests.
        scratch: Room; what is in memory, unless it is the ``same``.
        changes: Filled in, unless empty.
        server: The server.
        place: All before it are served, none after it.
        free_s: When the server takes its next request [s].
        same: Whether memory is as the record had it before ``place``.

    Returns:
        Weighted sum of the changes of delays [s].
    """
    places, held_back, count = record.places, scratch.held_back, len(record.joined_s)
    swaps, only_sum = has_swaps(timing, server), len(changes.request) == 0
    held, forward, total = 0, 0, 0.0
    while place < count or held > 0:
        if only_sum and same:
            before = places[held_back[held - 1]].key if held > 0 else np.inf
            place, free_s, change = follow_undisturbed(record, changes, place, free_s, before, forward)
            total += change
            if place == count and held == 0:
                break
        chosen, passes = next_of_record(record, place, free_s, forward)
        if not passes and held > 0 and (chosen == count or goes_first(record, held_back[held - 1], chosen)):
            held -= 1
            chosen = held_back[held]
        if chosen == count:  # nothing waits
            if same and (place == 0 or places[place].begin_s > places[place - 1].end_s):
                break  # both are idle
            free_s = record.joined_s[arrived(record, place, free_s)]
            continue
        if swaps and same and (passes or chosen != place):
            recall(record, scratch, place)
            same = False
        if passes:
            if places[place].is_forward:
                places[place].is_forward = 0
                forward -= 1
            else:
                held = hold_back(record, held_back, held, place)
            place += 1
            continue
        free_s += places[chosen].busy_s if same else busy_anew(record, timing, scratch, server, chosen)
        later_s = free_s - places[chosen].end_s
        total += note(changes, places[chosen], later_s)
        if chosen == place:
            place += 1
        elif chosen > place:
            places[chosen].is_forward = 1
            forward += 1
        same = same or remembers(record, scratch, place)
    return total


@lean_part
def follow_undisturbed(
    record: Record, changes: Changes, index: int, free_s: float, before: float, forward: int
) -> tuple[int, float, float]:
    """Serve as the record does for as long as nothing else goes before.

    Args:
        record: The record.
        changes: How they count.
        index: All places before it are served or held back, none after it.
        free_s: When the server takes its next request [s].
        before: Least key of those held back; infinite for none.
        forward: How many were brought forward.

    Returns:
        The first place that is not served, when the server is free, the weighted sum of the changes of delays [s].
    """
    places, count, total, plain = record.places, len(record.joined_s), 0.0, changes.loss[0].is_plain
    while index < count:
        later_s = free_s - places[index].begin_s
        keeps_order = 0 < later_s * (1 + 1e-9) < places[index].slack_s  # with a margin for rounding
        if keeps_order and before == np.inf and forward == 0 and plain:
            end = places[index].period_end
            total += later_s * (places[end].weight_before - places[index].weight_before)
            free_s, index = places[end - 1].end_s + later_s, end
            continue
        start = index
        while index < count:
            place = places[index]
            if not (place.arrival_s <= free_s < place.overtaken_s and place.key < before and place.is_forward == 0):
                break
            later_s = free_s - place.begin_s
            total += place.weight * (
                later_s if plain else effect(changes.loss[0], place.arrival_s, place.delay_s, later_s)
            )
            free_s += place.busy_s
            index += 1
        if index in (start, count) or before < np.inf:
            break
    return index, free_s, total


@lean_part
def next_of_record(record: Record, index: int, free_s: float, forward: int) -> tuple[int, bool]:
    """Place of the next in order at ``free_s`` of those that are not held back, n: none; or whether to pass ``index``.

    A place is passed if it was brought forward, or if others may go before it that came after it began in the record:
    it is held back, to be compared with what follows.
    """
    places, count = record.places, len(record.joined_s)
    if index == count:
        return count, False
    if places[index].is_forward:
        return index, True
    if places[index].arrival_s <= free_s:
        return index, bool(places[index].overtaken_s <= free_s)
    # It comes later, and the record served all that had come before it in their order. Does one of them wait?
    if arrived(record, index, free_s) == index + forward:
        return count, False
    chosen = places[index].next_waiting
    while places[chosen].arrival_s > free_s or places[chosen].is_forward:
        chosen = places[chosen].next_waiting
    return chosen, False


@lean_part
def arrived(record: Record, index: int, now_s: float) -> int:
    """How many had arrived at a moment before the request at a place came."""
    count = record.places[index].rank
    while count > 0 and record.joined_s[count - 1] > now_s:
        count -= 1
    return count


@lean_part
def goes_first(record: Record, one: int, other: int) -> bool:
    """Whether the request at one place goes before that at another."""
    this, that = record.places[one], record.places[other]
    return bool(this.key < that.key or (this.key == that.key and this.request < that.request))


@lean_part
def hold_back(record: Record, held_back: Integers, held: int, place: int) -> int:
    """Hold a request back; returns how many there are."""
    index = held
    while index > 0 and goes_first(record, held_back[index - 1], place):
        held_back[index] = held_back[index - 1]
        index -= 1
    held_back[index] = place
    return held + 1


@lean_part
def busy_anew(record: Record, timing: Timing, scratch: Scratch, server: int, place: int) -> float:
    """How long the server is busy with a request, with what is in memory now [s]."""
    request = record.places[place].request
    return float(load(timing, scratch, server, request) + timing.actual_s[request, server])


@lean_part
def effect(loss: Any, arrival_s: float, delay_s: float, by_s: float) -> float:
    """How much it counts that a request is done so much later."""
    since_s = arrival_s - loss.now_s
    if since_s > loss.horizon_s:
        return 0.0
    over_s = max(delay_s + by_s - loss.corner_s, 0.0) - max(delay_s - loss.corner_s, 0.0)
    change = loss.slope * by_s + loss.further_slope * over_s
    if since_s > 0 and loss.decay_per_s > 0:
        change *= math.exp(-loss.decay_per_s * since_s)
    return float(change)


@lean_part
def note(changes: Changes, place: Any, by_s: float) -> float:
    """A request is done so much later; returns how much that counts, weighted."""
    if len(changes.request) > 0:
        changes.request[changes.filled[0]] = place.request
        changes.by_s[changes.filled[0]] = by_s
        changes.filled[0] += 1
        return 0.0
    return float(place.weight * effect(changes.loss[0], place.arrival_s, place.delay_s, by_s))

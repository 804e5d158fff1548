"""Which image models and LoRAs a server has in memory, and what it has to load: the least recently used makes room."""

from __future__ import annotations

from typing import Any

from lad_rllib.arrays import Doubles, Integers
from lad_rllib.compiling import lean_part
from lad_rllib.simulator.requests.world import Timing


@lean_part
def is_resident(held: Integers, model: int) -> bool:
    """Whether a server has a model in memory."""
    found = False
    for one in held:
        found |= one == model
    return found


@lean_part
def use_model(held: Integers, room: int, model: int) -> bool:
    """A server uses a model, the most recently used from now on; returns whether it had to be loaded."""
    if room == 0:
        return False
    found = 0
    while found < room and held[found] != model:
        found += 1
    missing = found == room
    for place in range(0 if missing else found, room - 1):
        held[place] = held[place + 1]
    held[room - 1] = model
    return missing


@lean_part
def bring_in(timing: Timing, server: int, held: Integers, last_loras: int, request: int) -> tuple[float, int]:
    """Have a request's model and LoRAs in memory.

    Args:
        timing: Times of all requests.
        server: The server.
        held: Models that it holds, changed here.
        last_loras: Set of LoRAs in its models: the one used last, 0 if a model was loaded after that, which has none.
        request: The request.

    Returns:
        The time that loading takes [s], and the set of LoRAs from now on.
    """
    seconds, model, loras = 0.0, timing.model[request], timing.loras[request]
    if use_model(held, timing.models_in_memory[server], model):
        seconds, last_loras = timing.swap_s[server, model], 0
    if loras > 0 and last_loras != loras:
        seconds, last_loras = seconds + timing.lora_swap_s[server], loras
    return seconds, last_loras


@lean_part
def expected_swap_s(server: Any, request: Any, held: Integers, wanted: Integers, swap_s: Doubles) -> float:
    """Predicted time to load a request's model and LoRAs, if it joined a server's queue now [s].

    A model that others wait for will be there; one that is in memory may have to make room for others before.
    """
    room, model = server.room, request.model
    loras_s = server.lora_swap_s if request.loras > 0 else 0.0
    now_s = loras_s if server.loras != request.loras else 0.0
    if room == 0 or wanted[model] > 0:
        return now_s
    if not is_resident(held, model):
        return loras_s + swap_s[model]
    if server.waiting == 0:
        return now_s
    coming = 0
    for other in range(len(wanted)):
        if wanted[other] > 0 and not is_resident(held, other):
            coming += 1
    older = 0
    for other in held[:room]:
        if other == model:
            break
        if other < 0 or wanted[other] == 0:
            older += 1
    return loras_s + swap_s[model] if coming > older else now_s


@lean_part
def makes_room(server: Any, request: Any, held: Integers, wanted: Integers) -> int:
    """The model that is predicted to leave a server's memory for a request's; -1: none has to.

    It is the least recently used of those that nobody waits for there, or of all.
    """
    room, model = server.room, request.model
    if room == 0 or wanted[model] > 0 or is_resident(held, model):
        return -1
    for other in held[:room]:
        if other < 0 or wanted[other] == 0:
            return int(other)
    return int(held[0])

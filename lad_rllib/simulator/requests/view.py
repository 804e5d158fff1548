"""What a scheduler of single requests knows of each server; the same in the simulator and in front of real servers."""

from __future__ import annotations

from typing import NamedTuple

from lad_rllib.arrays import Doubles, Flags, Integers


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
        makes_room: Number of the image model that would make room for the request's there; -1: none has to.
        declared: Declared cost of those, see :attr:`~lad_rllib.simulator.requests.Requests.declared_cost`.
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
    makes_room: Integers
    declared: Doubles
    up: Flags
    facts: Doubles

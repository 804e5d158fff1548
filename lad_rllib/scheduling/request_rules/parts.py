"""What several rules need: choices among the servers that are up, and what the past says of traffic."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lad_rllib.arrays import Doubles, Flags
from lad_rllib.compiling import lean_part
from lad_rllib.simulator.requests import Requests, RequestWorld

FloatArray = NDArray[np.float64]


@lean_part
def least(score: Doubles, tie: Doubles, up: Flags) -> int:
    """The server with the least score of those that are up; among equal ones that with the least ``tie``."""
    best = -1
    for server in range(len(up)):
        if up[server] and (
            best < 0 or score[server] < score[best] or (score[server] == score[best] and tie[server] < tie[best])
        ):
            best = server
    return best


@lean_part
def drawn(shares: Doubles, up: Flags, without: int, uniform: float) -> tuple[int, float]:
    """A server with a probability in proportion to its share, and the rest of the randomness, again from [0, 1).

    Args:
        shares: Shares (A,), above 0.
        up: Whether each may be drawn (A,).
        without: One that may not, unless no other is up; -1: all may.
        uniform: A random number from [0, 1).
    """
    total, last = 0.0, -1
    for server in range(len(up)):
        if up[server] and server != without:
            total += shares[server]
    below = uniform * total
    for server in range(len(up)):
        if up[server] and server != without:
            last = server
            if below < shares[server]:
                return server, below / shares[server]
            below -= shares[server]
    return (last, 0.0) if last >= 0 else (without, 0.0)


@lean_part
def mean(values: Doubles) -> float:
    """Mean of some values; that of a request's service times is its size."""
    total = 0.0
    for value in values:
        total += value
    return total / len(values)


def sizes_s(world: RequestWorld, history: Requests) -> FloatArray:
    """Size of each request of the past: its predicted service time, mean over the servers [s], shape (K,)."""
    return world.service_s(history).mean(axis=1)


def rate_per_s(history: Requests) -> float:
    """Arrival rate of the past [1/s], also where many arrive at one instant; infinite if all do."""
    instants = len(np.unique(history.arrival_s))
    span_s = float(history.arrival_s[-1] - history.arrival_s[0])
    return len(history) * (instants - 1) / (instants * span_s) if span_s > 0 else np.inf


def load(world: RequestWorld, history: Requests) -> float:
    """Arrival rate of the past over the rate at which all servers together serve such requests."""
    return rate_per_s(history) / float((1.0 / world.service_s(history).mean(axis=0)).sum())

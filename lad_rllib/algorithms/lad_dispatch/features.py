"""What an actor sees of each server for a request: one token, F numbers without units, most of them within +-1.

A token depends on the request and the server, on what a service knows from its history and remembers of the latest
requests (``knowledge.py``). Nothing depends on the number of servers, on units, or on a server's index, so that one
network serves any fleet. Compiled; simulated and live requests go the same way.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from lad_rllib.algorithms.lad_dispatch.knowledge import KNOTS, LAGS, MODELS, SIZES, Known, Memory
from lad_rllib.arrays import Array, Doubles
from lad_rllib.compiling import part
from lad_rllib.simulator.requests.loop import View
from lad_rllib.simulator.requests.world import FACTS

FEATURES = (
    "cost: log of the prior's cost / tau, halved",
    "own delay: log, halved",
    "own delay: log, less its mean over servers",
    "work left: log(1 + t / tau), halved",
    "work left: log(1 + t / tau), less its mean over servers",
    "work ahead under the order: log(1 + t / tau), halved",
    "work ahead under the order: log(1 + t / tau), less its mean over servers",
    "rest of the request in service: log(1 + t / tau)",
    "own service: log(t / tau), halved",
    "speed on this request over the mean one: log, doubled",
    "rank r: middle of the server's share of capacity, slow servers first",
    "size position v less rank, v: share of work in smaller requests",
    "distance of size position and rank",
    "cos 2 pi r",
    "cos 3 pi r",
    "cos 4 pi r",
    "size position u: share of smaller requests",
    "size position v",
    "cos 2 pi v",
    "cos 3 pi v",
    "cos 4 pi v",
    "size over the mean one: log",
    "delay added to those it overtakes: log(1 + t / tau), halved",
    "price, the delay added to those to come: log(1 + t / tau), halved",
    "share of recent requests over share of capacity: log",
    "utilisation by recent work: log",
    "load",
    "rate of the latest requests over that of recent ones: log",
    "work left in all: log(1 + t / tau), halved",
    "number of servers: log",
    "variation of sizes",
    "way: log(1 + t / tau), doubled",
    "swap: log(1 + t / tau), doubled",
    "requests there: log(1 + n), halved",
    "share of those that it overtakes",
    "slack to the deadline over the deadline; 0: none",
    "expected overtaking: log of own delay with it over that without",
    "image model: recent requests for it over those for each server: log",
    "image model: latest requests for it over those for each server: log",
    "model that makes room: recent requests for it over those for each server: log",
    "model that makes room: latest requests for it over those for each server: log",
)
"""What each number of a token is; tau is the service time of a mean request on a mean server."""
NUM_FEATURES = len(FEATURES)
OF_MODELS = 4
"""The last columns: how popular image models are; all 0 where every server holds all."""
CENTRED = tuple(column for column, what in enumerate(FEATURES) if "less its mean over servers" in what)
"""Columns whose mean over the servers, weighted by capacity, is subtracted."""
SHARE, START, LOGIT = NUM_FEATURES, NUM_FEATURES + 1, NUM_FEATURES + 2
"""Columns behind the features in the record of a decision: share of capacity (0: not up), latent start, logit."""
COLUMNS = NUM_FEATURES + 3
ABOUT = 0.03
"""Share by which sizes may differ that are taken for equal."""
_DEADLINE, MODEL = FACTS.index("deadline_s"), FACTS.index("model")


@part
def interpolated(grid: Doubles, place: float) -> float:
    """Value of a table at a place between its entries."""
    low = min(int(place), len(grid) - 2)
    return float(grid[low] + (place - low) * (grid[low + 1] - grid[low]))


@part
def position(known: Known, size: float) -> float:
    """Place of a size among the knots, the middle of those that are about as large.

    A running service predicts with measured speeds, so that two requests that are alike differ by a per cent or so.
    """
    sizes, last = known.size, len(known.size) - 1
    low = 0
    while low <= last and sizes[low] < size * (1.0 - ABOUT):
        low += 1
    high = low
    while high <= last and sizes[high] <= size * (1.0 + ABOUT):
        high += 1
    if high > low:
        return (low + high - 1) / 2
    if low == 0 or low > last:
        return float(min(low, last))
    return low - 1 + (size - sizes[low - 1]) / (sizes[low] - sizes[low - 1])


@part
def within(x: float, bound: float) -> float:
    """Cut to +-bound."""
    return min(max(x, -bound), bound)


@part
def size_of(view: View, known: Known, share: Array) -> float:
    """Size of a request over the mean one: its service times over the mean ones, weighted by capacity."""
    size = 0.0
    for server in range(len(share)):
        size += share[server] * view.service_s[server] / known.mean_service_s[server]
    return max(size, 1e-9)


@part
def capacity_shares(view: View, known: Known, share: Array) -> None:
    """Share of each server in the capacity of those that are up."""
    total = 0.0
    for server in range(len(share)):
        share[server] = 1.0 / known.mean_service_s[server] if view.up[server] else 0.0
        total += share[server]
    for server in range(len(share)):
        share[server] /= total


class Situation(NamedTuple):
    """What is the same for all servers when a request is to be sent.

    Attributes:
        up: Servers that are up.
        backlog_s: Work left on a mean server.
        rate: Recent requests per second.
        load: Recent work over what the servers can do.
        latest: Rate of the latest requests over that of recent ones, log.
        size: Size of the request over the mean one.
        below: Share of requests that are smaller, and share of work in these.
        deadline_s: Its deadline.
        row: Where its class of sizes begins in the tables of who overtakes whom.
        popularity: How popular its image model is, of late and of the latest, see :func:`popularity`.
    """

    up: float
    backlog_s: float
    rate: float
    load: float
    latest: float
    size: float
    below: tuple[float, float]
    deadline_s: float
    row: int
    popularity: tuple[float, float]


@part
def situation_of(view: View, known: Known, memory: Memory, share: Array, size: float) -> Situation:
    """What is the same for all servers."""
    up, backlog_s, work_left_s, clock = 0.0, 0.0, view.work_left_s, memory.clock
    for server in range(len(share)):
        up += 1.0 if share[server] > 0 else 0.0
        backlog_s += share[server] * work_left_s[server]
    recent, latest = known.load_memory * len(share), known.shares_memory * len(share)
    rate = known.requests_per_s * clock[3] / recent
    place = position(known, size)
    u = place / (KNOTS - 1)
    return Situation(
        up,
        backlog_s,
        rate,
        known.requests_per_s * clock[4] / recent * known.tau_s / up,
        math.log((clock[2] / latest + 0.1) / (clock[3] / recent + 0.1)),
        size,
        (u, interpolated(known.work_below, place)),
        view.facts[_DEADLINE],
        min(int(u * SIZES), SIZES - 1) * LAGS,
        popularity(known, memory, int(view.facts[MODEL]), up),
    )


@part
def popularity(known: Known, memory: Memory, model: int, servers: float) -> tuple[float, float]:
    """Recent and latest requests for an image model, over what each server has of all if they are spread evenly: log.

    No model (-1) is as rare as can be.
    """
    if known.swaps == 0.0:
        return 0.0, 0.0
    place, there = model % MODELS, 0.0 if model < 0 else servers
    return (
        0.7 * math.log(there * memory.recent[place] + 0.05),
        0.7 * math.log(there * memory.latest[place] + 0.05),
    )


@part
def describe(view: View, known: Known, memory: Memory, share: Array, size: float, tokens: Array) -> None:
    """Fill in the tokens (A, F) of a request; zeros for servers that are not up.

    Args:
        view: What is known of the servers.
        known: What is known from history.
        memory: What is remembered, up to now.
        share: Shares of capacity of those that are up (A,).
        size: Size of the request over the mean one.
        tokens: Filled in.
    """
    situation, slow_first = situation_of(view, known, memory, share, size), known.slow_first
    slower = 0.0
    for index in range(len(share)):
        server = int(slow_first[index])
        if share[server] > 0:
            fill_in(view, known, memory, situation, server, share[server], slower + share[server] / 2, tokens[server])
            slower += share[server]
        else:
            tokens[server] = 0.0
    for column in CENTRED:
        mean = 0.0
        for server in range(len(share)):
            mean += share[server] * tokens[server, column]
        for server in range(len(share)):
            if share[server] > 0:
                tokens[server, column] -= mean


@part
def fill_in(
    view: View, known: Known, memory: Memory, now: Situation, server: int, share: float, rank: float, token: Array
) -> None:
    """Fill in the token of a server with a share and a rank in capacity, means over servers not subtracted yet."""
    tau, mean_s, (u, v) = known.tau_s, known.mean_service_s[server], now.below
    service_s, swap_s, way_s, wait_s = (
        view.service_s[server],
        view.swap_s[server],
        view.way_s[server],
        view.ahead_s[server],
    )
    busy_s = swap_s + service_s
    own_s = way_s + wait_s + busy_s
    lag = now.row + min(math.log2(1.0 + wait_s / 2 / mean_s), LAGS - 1.001)
    utilisation = now.load * memory.work[server] / share
    overtaking = min(utilisation * interpolated(known.overtakers, lag), 0.9)
    expected_s = own_s + wait_s * overtaking / (1.0 - overtaking)
    added_s = view.overtaken[server] * busy_s
    to_come = now.rate * memory.requests[server] * (interpolated(known.behind, lag) * wait_s + busy_s)
    price_s = busy_s * to_come
    log_own = math.log(own_s / tau)
    log_left, log_ahead = math.log1p(view.work_left_s[server] / tau), math.log1p(wait_s / tau)
    delays_and_sizes = (
        0.5 * math.log((expected_s + added_s + known.price_weight * price_s) / tau) - 1.0,
        0.5 * log_own - 1.0,
        log_own,
        0.5 * log_left - 1.0,
        log_left,
        0.5 * log_ahead - 1.0,
        log_ahead,
        math.log1p(view.remaining_s[server] / tau) - 0.5,
        0.5 * math.log(service_s / tau),
        within(2.0 * math.log(now.size * tau / service_s), 3.0),
        3.5 * (rank - 0.5),
        2.5 * (v - rank),
        5.0 * abs(v - rank) - 1.5,
        math.cos(2 * math.pi * rank),
        math.cos(3 * math.pi * rank),
        math.cos(4 * math.pi * rank),
        3.5 * (u - 0.5),
        3.5 * (v - 0.5),
        math.cos(2 * math.pi * v),
        math.cos(3 * math.pi * v),
        math.cos(4 * math.pi * v),
        within(math.log(now.size), 3.0),
    )
    others_and_fleet = (
        0.5 * math.log1p(added_s / tau),
        0.5 * math.log1p(price_s / tau) - 1.0,
        within(0.7 * math.log(memory.requests[server] / share + 1e-9), 3.0),
        within(math.log(utilisation + 1e-9), 3.0),
        within(2.0 * (now.load - 1.0), 3.0),
        now.latest,
        0.5 * math.log1p(now.backlog_s / tau) - 1.0,
        math.log(now.up / 15.0),
        2.0 * math.log1p(known.variation) - 1.0,
        2.0 * math.log1p(way_s / tau),
        2.0 * math.log1p(swap_s / tau),
        0.5 * math.log1p(view.tasks[server]) - 0.5,
        2.0 * view.overtaken[server] / (view.tasks[server] + 1.0),
        within((now.deadline_s - own_s) / now.deadline_s, 3.0) if now.deadline_s < np.inf else 0.0,
        math.log(expected_s / own_s),
    )
    of_models = now.popularity + popularity(known, memory, view.makes_room[server], now.up)
    values = delays_and_sizes + others_and_fleet + of_models  # no longer tuple in one piece is compiled
    for column in range(len(values)):
        token[column] = values[column]

"""What an actor sees of each server for a request: one token, F numbers without units, most of them within +-1.

A token depends on the request and the server, on what a service knows from its history (:func:`knowledge`), and on
slowly moving statistics of the requests before (:func:`remember`). Nothing depends on the number of servers, on units,
or on a server's index, so that one network serves any fleet. Compiled; simulated and live requests go the same way.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lad_rllib.arrays import Array, Doubles
from lad_rllib.compiling import part
from lad_rllib.simulator.requests import Requests, RequestWorld
from lad_rllib.simulator.requests.loop import View
from lad_rllib.simulator.requests.world import FACTS

FloatArray = NDArray[np.float64]

FEATURES = (
    "cost: log of the prior's cost / tau, halved",
    "own delay: log, halved",
    "own delay: log, less its mean over servers",
    "work left: log(1 + t / tau), halved",
    "work left: log(1 + t / tau), less its mean",
    "work ahead under the order: log(1 + t / tau), halved",
    "work ahead under the order: log(1 + t / tau), less its mean",
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
)
"""What each number of a token is; tau is the service time of a mean request on a mean server."""
NUM_FEATURES = len(FEATURES)
SHARE, START, LOGIT = NUM_FEATURES, NUM_FEATURES + 1, NUM_FEATURES + 2
"""Columns behind the features in the record of a decision: share of capacity (0: not up), latent start, logit."""
COLUMNS = NUM_FEATURES + 3

SIZES, LAGS, KNOTS = 8, 12, 33
"""Classes of sizes, and lags of ``2 ** k - 1`` mean services, in tables of who overtakes whom; knots of the sizes."""
_SAMPLE = 512
_DEADLINE = FACTS.index("deadline_s")


class Known(NamedTuple):
    """What a service knows of its servers and from the history of its requests; A servers.

    Attributes:
        tau_s: Service time of a mean request on a mean server.
        requests_per_s: Rate of requests.
        variation: Squared coefficient of variation of sizes.
        shares_memory: Requests over which recent shares are taken, for each server.
        load_memory: The same of the load.
        price_weight: Weight of the price in the prior's cost.
        mean_service_s: Service time of the requests on each server, on average (A,).
        slow_first: Servers, the slowest first (A,).
        size: Size over the mean one at ``KNOTS`` quantiles.
        work_below: Share of all work in requests below these sizes.
        behind: Probability that a later request is served after one of each class of sizes, if it comes a lag later,
            flat (SIZES, LAGS).
        overtakers: Share of later requests' work that is served before it, flat (SIZES, LAGS).
    """

    tau_s: float
    requests_per_s: float
    variation: float
    shares_memory: float
    load_memory: float
    price_weight: float
    mean_service_s: Doubles
    slow_first: Doubles
    size: Doubles
    work_below: Doubles
    behind: Doubles
    overtakers: Doubles


SCALARS = Known._fields.index("mean_service_s")
TABLE = SIZES * LAGS


def knowledge(
    world: RequestWorld,
    history: Requests,
    *,
    shares_memory: float = 20.0,
    load_memory: float = 200.0,
    price_weight: float = 0.5,
) -> Known:
    """What a service knows before an episode.

    Args:
        world: Its servers and their order of service.
        history: Past requests.
        shares_memory: See :class:`Known`.
        load_memory: See :class:`Known`.
        price_weight: See :class:`Known`.
    """
    service = world.service_s(history)
    mean_service = service.mean(axis=0)
    share = 1.0 / mean_service / (1.0 / mean_service).sum()
    tau = world.num_servers / (1.0 / mean_service).sum()
    sizes = (service / mean_service) @ share
    ordered = np.sort(sizes)
    knots = np.linspace(0.0, 1.0, KNOTS)
    size = np.quantile(ordered, knots)
    work = np.concatenate([[0.0], np.cumsum(ordered)]) / ordered.sum()
    below = np.interp(knots * len(ordered), np.arange(len(ordered) + 1), work)
    behind, overtakers = _order_tables(world, history, sizes, tau)
    duration = max(float(history.arrival_s[-1] - history.arrival_s[0]), 1e-9)
    return Known(
        tau_s=tau,
        requests_per_s=max(len(history) - 1, 1) / duration,
        variation=float(sizes.var()),
        shares_memory=shares_memory,
        load_memory=load_memory,
        price_weight=price_weight,
        mean_service_s=mean_service,
        slow_first=np.argsort(-mean_service, kind="stable").astype(np.float64),
        size=size,
        work_below=below,
        behind=behind.ravel(),
        overtakers=overtakers.ravel(),
    )


def _order_tables(
    world: RequestWorld, history: Requests, sizes: FloatArray, tau: float
) -> tuple[FloatArray, FloatArray]:
    """Tables ``behind`` and ``overtakers`` of :class:`Known`, from a sample of the history."""
    taken = np.linspace(0, len(sizes) - 1, min(len(sizes), _SAMPLE)).astype(np.int64)
    taken = taken[np.argsort(sizes[taken], kind="stable")]
    service, deadline, priority = sizes[taken] * tau, history.deadline_s[taken], history.priority[taken]
    own = world.order.key(np.zeros(len(taken)), service, deadline, priority)
    classes = np.array_split(np.arange(len(taken)), SIZES)
    behind, overtakers = np.zeros((2, SIZES, LAGS))
    for lag in range(LAGS):
        later = world.order.key(np.full(len(taken), tau * (2.0**lag - 1.0)), service, deadline, priority)
        overtakes = later[None, :] < own[:, None]
        for row, members in enumerate(classes):
            if len(members):
                behind[row, lag] = 1.0 - overtakes[members].mean()
                overtakers[row, lag] = (overtakes[members] @ service).mean() / service.sum()
    return behind, overtakers


def packed(known: Known) -> FloatArray:
    """All of it as one array, which :func:`unpacked` takes apart."""
    return np.concatenate([np.atleast_1d(np.asarray(value, np.float64)) for value in known])


@part
def unpacked(numbers: Doubles, servers: int) -> Known:
    """The reverse of :func:`packed`; more numbers may follow."""
    a = SCALARS + servers
    b = a + servers
    c = b + KNOTS
    d = c + KNOTS
    e = d + TABLE
    return Known(
        numbers[0],
        numbers[1],
        numbers[2],
        numbers[3],
        numbers[4],
        numbers[5],
        numbers[SCALARS:a],
        numbers[a:b],
        numbers[b:c],
        numbers[c:d],
        numbers[d:e],
        numbers[e : e + TABLE],
    )


def length(servers: int) -> int:
    """Numbers of :func:`packed`."""
    return SCALARS + 2 * servers + 2 * KNOTS + 2 * TABLE


class Memory(NamedTuple):
    """Moving statistics of the requests so far: views of a rule's memory.

    Attributes:
        clock: Whether anything is remembered; when the last request came; decayed numbers of the latest and of recent
            requests, and decayed work of the recent ones over that of as many mean requests.
        requests: Share of recent requests that went to each server (A,).
        work: Share of recent work (A,).
        latent: The last output of the chain for each server (A,).
    """

    clock: Doubles
    requests: Doubles
    work: Doubles
    latent: Doubles


CLOCK = 5


def memory_length(servers: int) -> int:
    """Numbers in a rule's memory."""
    return CLOCK + 3 * servers


@part
def recalled(memory: Doubles, servers: int) -> Memory:
    """Views of a rule's memory."""
    a = CLOCK + servers
    return Memory(memory[:CLOCK], memory[CLOCK:a], memory[a : a + servers], memory[a + servers : a + 2 * servers])


@part
def let_time_pass(known: Known, memory: Memory, now_s: float) -> None:
    """Decay the numbers of requests until now; begin with what the history says."""
    servers, clock = len(known.mean_service_s), memory.clock
    latest = known.shares_memory * servers
    recent = known.load_memory * servers
    if clock[0] == 0.0:
        clock[0], clock[1], clock[2], clock[3], clock[4] = 1.0, now_s, latest, recent, recent
        total = 0.0
        for server in range(servers):
            total += 1.0 / known.mean_service_s[server]
        for server in range(servers):
            memory.requests[server] = memory.work[server] = 1.0 / known.mean_service_s[server] / total
    passed = (now_s - clock[1]) * known.requests_per_s
    clock[1] = now_s
    clock[2] *= math.exp(-passed / latest)
    fading = math.exp(-passed / recent)
    clock[3] *= fading
    clock[4] *= fading


@part
def remember(known: Known, memory: Memory, server: int, size: float) -> None:
    """A request of a size (over the mean one) goes to a server."""
    forget = 1.0 / (known.shares_memory * len(memory.requests))
    of_work = forget * min(size, 10.0)
    memory.clock[2] += 1.0
    memory.clock[3] += 1.0
    memory.clock[4] += size
    total = 0.0
    for other in range(len(memory.requests)):
        memory.requests[other] *= 1.0 - forget
        memory.work[other] *= 1.0 - forget
        total += memory.work[other]
    memory.requests[server] += forget
    memory.work[server] += of_work
    total += of_work
    for other in range(len(memory.work)):
        memory.work[other] /= total


@part
def interpolated(grid: Doubles, place: float) -> float:
    """Value of a table at a place between its entries."""
    low = min(int(place), len(grid) - 2)
    return float(grid[low] + (place - low) * (grid[low + 1] - grid[low]))


@part
def position(known: Known, size: float) -> float:
    """Place of a size among the knots, the middle of those that are equal."""
    sizes, last = known.size, len(known.size) - 1
    low = 0
    while low < last and sizes[low + 1] < size:
        low += 1
    high = low
    while high < last and sizes[high + 1] <= size:
        high += 1
    if sizes[low] >= size or low == last:
        return (low + high) / 2
    if high > low:
        return (low + 1 + high) / 2
    return low + (size - sizes[low]) / (sizes[low + 1] - sizes[low])


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
    servers, tau, clock = len(share), known.tau_s, memory.clock
    service_s, swap_s, way_s, left_s, work_left_s, ahead_s = (
        view.service_s,
        view.swap_s,
        view.way_s,
        view.remaining_s,
        view.work_left_s,
        view.ahead_s,
    )
    overtaken, tasks, recent, recent_work = view.overtaken, view.tasks, memory.requests, memory.work
    memory_size = known.load_memory * servers
    up, backlog_s = 0.0, 0.0
    for server in range(servers):
        up += 1.0 if share[server] > 0 else 0.0
        backlog_s += share[server] * work_left_s[server]
    rate = known.requests_per_s * clock[3] / memory_size
    load = known.requests_per_s * clock[4] / memory_size * tau / up
    latest = math.log((clock[2] / (known.shares_memory * servers) + 0.1) / (clock[3] / memory_size + 0.1))
    place = position(known, size)
    u, v = place / (KNOTS - 1), interpolated(known.work_below, place)
    row = min(int(u * SIZES), SIZES - 1) * LAGS
    behind, overtakers = known.behind[row : row + LAGS], known.overtakers[row : row + LAGS]
    cos_v = (math.cos(2 * math.pi * v), math.cos(3 * math.pi * v), math.cos(4 * math.pi * v))
    log_size, deadline = math.log(size), view.facts[_DEADLINE]
    mean_own, mean_left, mean_ahead, below = 0.0, 0.0, 0.0, 0.0
    for index in range(servers):
        server = int(known.slow_first[index])
        token = tokens[server]
        token[:] = 0.0
        if share[server] <= 0:
            continue
        rank = below + share[server] / 2
        below += share[server]
        busy_s = swap_s[server] + service_s[server]
        wait_s = ahead_s[server]
        own_s = way_s[server] + wait_s + busy_s
        lag = min(math.log2(1.0 + wait_s / 2 / known.mean_service_s[server]), LAGS - 1.001)
        utilisation = load * recent_work[server] / share[server]
        more = min(utilisation * interpolated(overtakers, lag), 0.9)
        expected_s = own_s + wait_s * more / (1.0 - more)
        price_s = busy_s * rate * recent[server] * (interpolated(behind, lag) * wait_s + busy_s)
        added_s = overtaken[server] * busy_s
        cost_s = expected_s + added_s + known.price_weight * price_s
        token[0] = 0.5 * math.log(cost_s / tau) - 1.0
        log_own = math.log(own_s / tau)
        token[1], token[2] = 0.5 * log_own - 1.0, log_own
        log_left = math.log1p(work_left_s[server] / tau)
        token[3], token[4] = 0.5 * log_left - 1.0, log_left
        log_ahead = math.log1p(wait_s / tau)
        token[5], token[6] = 0.5 * log_ahead - 1.0, log_ahead
        token[7] = math.log1p(left_s[server] / tau) - 0.5
        token[8] = 0.5 * math.log(service_s[server] / tau)
        token[9] = within(2.0 * math.log(size * tau / service_s[server]), 3.0)
        token[10] = 3.5 * (rank - 0.5)
        token[11] = 2.5 * (v - rank)
        token[12] = 5.0 * abs(v - rank) - 1.5
        token[13], token[14] = math.cos(2 * math.pi * rank), math.cos(3 * math.pi * rank)
        token[15] = math.cos(4 * math.pi * rank)
        token[16], token[17] = 3.5 * (u - 0.5), 3.5 * (v - 0.5)
        token[18], token[19], token[20] = cos_v
        token[21] = within(log_size, 3.0)
        token[22] = 0.5 * math.log1p(added_s / tau)
        token[23] = 0.5 * math.log1p(price_s / tau) - 1.0
        token[24] = within(0.7 * math.log(recent[server] / share[server] + 1e-9), 3.0)
        token[25] = within(math.log(utilisation + 1e-9), 3.0)
        token[26] = within(2.0 * (load - 1.0), 3.0)
        token[27] = latest
        token[28] = 0.5 * math.log1p(backlog_s / tau) - 1.0
        token[29] = math.log(up / 15.0)
        token[30] = 2.0 * math.log1p(known.variation) - 1.0
        token[31] = 2.0 * math.log1p(way_s[server] / tau)
        token[32] = 2.0 * math.log1p(swap_s[server] / tau)
        token[33] = 0.5 * math.log1p(tasks[server]) - 0.5
        token[34] = 2.0 * overtaken[server] / (tasks[server] + 1.0)
        token[35] = within((deadline - own_s) / deadline, 3.0) if deadline < np.inf else 0.0
        token[36] = math.log(expected_s / own_s)
        mean_own += share[server] * log_own
        mean_left += share[server] * log_left
        mean_ahead += share[server] * log_ahead
    for server in range(servers):
        if share[server] > 0:
            tokens[server, 2] -= mean_own
            tokens[server, 4] -= mean_left
            tokens[server, 6] -= mean_ahead

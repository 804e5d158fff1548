"""What a service knows from the history of its requests, and what it remembers of the latest ones.

Both are plain numbers that a compiled rule takes; none depends on a unit or on a server's index.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lad_rllib.arrays import Doubles
from lad_rllib.compiling import part
from lad_rllib.simulator.requests import Requests, RequestWorld

FloatArray = NDArray[np.float64]

SIZES, LAGS, KNOTS, MODELS = 8, 12, 33, 64
"""Classes of sizes, and lags of ``2 ** k - 1`` mean services, in tables of who overtakes whom; knots of the sizes;
places for image models, which those with numbers that far apart share."""
_SAMPLE = 512
LATEST = 10.0
"""How much sooner the latest requests' models are forgotten than those of recent ones."""


class Known(NamedTuple):
    """What a service knows of its servers and from the history of its requests; A servers.

    Attributes:
        tau_s: Service time of a mean request on a mean server.
        requests_per_s: Rate of requests.
        variation: Squared coefficient of variation of sizes.
        shares_memory: Requests over which recent shares are taken, for each server.
        load_memory: The same of the load.
        price_weight: Weight of the price in the prior's cost.
        at_once: 1 where requests of one instant do not know of one another, else 0.
        swaps: 1 where a server does not hold all image models at once, else 0.
        mean_service_s: Service time of the requests on each server, on average (A,).
        slow_first: Servers, the slowest first (A,).
        size: Size over the mean one at ``KNOTS`` quantiles.
        work_below: Share of all work in requests below these sizes.
        behind: Probability that a later request is served after one of each class of sizes, if it comes a lag later,
            flat (SIZES, LAGS).
        overtakers: Share of later requests' work that is served before it, flat (SIZES, LAGS).
        popularity: Share of requests for each image model (MODELS,).
    """

    tau_s: float
    requests_per_s: float
    variation: float
    shares_memory: float
    load_memory: float
    price_weight: float
    at_once: float
    swaps: float
    mean_service_s: Doubles
    slow_first: Doubles
    size: Doubles
    work_below: Doubles
    behind: Doubles
    overtakers: Doubles
    popularity: Doubles


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
        at_once=float(world.at_once),
        swaps=float(any(server.models_in_memory > 0 for server in world.servers)),
        mean_service_s=mean_service,
        slow_first=np.argsort(-mean_service, kind="stable").astype(np.float64),
        size=size,
        work_below=below,
        behind=behind.ravel(),
        overtakers=overtakers.ravel(),
        popularity=np.bincount(history.model % MODELS, minlength=MODELS) / len(history),
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
        numbers[6],
        numbers[7],
        numbers[SCALARS:a],
        numbers[a:b],
        numbers[b:c],
        numbers[c:d],
        numbers[d:e],
        numbers[e : e + TABLE],
        numbers[e + TABLE : e + TABLE + MODELS],
    )


@part
def length(servers: int) -> int:
    """Numbers of :func:`packed`."""
    return SCALARS + 2 * servers + 2 * KNOTS + 2 * TABLE + MODELS


class Memory(NamedTuple):
    """Moving statistics of the requests so far: views of a rule's memory.

    Attributes:
        clock: Whether anything is remembered; when the last request came; decayed numbers of the latest and of recent
            requests, and decayed work of the recent ones over that of as many mean requests; how many requests were
            handed over to another rule, as they were not familiar.
        requests: Share of recent requests that went to each server (A,).
        work: Share of recent work (A,).
        latent: The last output of the chain for each server (A,).
        recent: Share of recent requests for each image model (MODELS,).
        latest: The same of the latest.
    """

    clock: Doubles
    requests: Doubles
    work: Doubles
    latent: Doubles
    recent: Doubles
    latest: Doubles


CLOCK, HANDED_OVER = 6, 5


def memory_length(servers: int, features: int) -> int:
    """Numbers in a rule's memory.

    They are the latest :class:`Memory`, that of when this instant began, and at the end how often each number of a
    token was beyond what is familiar (F,).
    """
    of_one = int(one_memory.py_func(servers))  # called as it is, it would be compiled: in every process
    return 2 * of_one + features


@part
def one_memory(servers: int) -> int:
    """Numbers of a :class:`Memory`."""
    return CLOCK + 3 * servers + 2 * MODELS


@part
def recalled(memory: Doubles, servers: int) -> Memory:
    """Views of the latest memory."""
    a = CLOCK + servers
    b = a + servers
    c = b + servers
    d = c + MODELS
    return Memory(memory[:CLOCK], memory[CLOCK:a], memory[a:b], memory[b:c], memory[c:d], memory[d : d + MODELS])


@part
def what_is_seen(known: Known, memory: Doubles, servers: int, now_s: float) -> Memory:
    """Let time pass until now; returns the memory that a request is decided with.

    It is the latest, or where requests of one instant do not know of one another that of when the instant began.
    """
    latest, end = recalled(memory, servers), one_memory(servers)
    is_new = latest.clock[0] == 0.0 or latest.clock[1] < now_s
    let_time_pass(known, latest, now_s)
    if known.at_once == 0.0:
        return latest
    if is_new:
        memory[end : 2 * end] = memory[:end]
    return recalled(memory[end:], servers)


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
        memory.recent[:] = known.popularity
        memory.latest[:] = known.popularity
    passed = (now_s - clock[1]) * known.requests_per_s
    clock[1] = now_s
    clock[2] *= math.exp(-passed / latest)
    fading = math.exp(-passed / recent)
    clock[3] *= fading
    clock[4] *= fading


@part
def remember(known: Known, memory: Memory, server: int, size: float, model: int) -> None:
    """A request of a size (over the mean one) and for an image model goes to a server."""
    forget = 1.0 / (known.shares_memory * len(memory.requests))
    of_work = forget * min(size, 10.0)
    memory.clock[2] += 1.0
    memory.clock[3] += 1.0
    memory.clock[4] += size
    if known.swaps > 0:
        sooner = min(LATEST * forget, 1.0)
        for other in range(MODELS):
            memory.recent[other] *= 1.0 - forget
            memory.latest[other] *= 1.0 - sooner
        memory.recent[model % MODELS] += forget
        memory.latest[model % MODELS] += sooner
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

"""The compiled rule of LAD-Dispatch: what a simulated or live request goes through on its way to a server."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lad_rllib.algorithms.lad_dispatch.features import (
    COLUMNS,
    LOGIT,
    MODEL,
    NUM_FEATURES,
    SHARE,
    START,
    capacity_shares,
    describe,
    size_of,
)
from lad_rllib.algorithms.lad_dispatch.knowledge import (
    HANDED_OVER,
    Known,
    length,
    memory_length,
    packed,
    recalled,
    remember,
    unpacked,
    what_is_seen,
)
from lad_rllib.arrays import Array, Doubles, Matrix, Vector
from lad_rllib.compiling import kernel, part
from lad_rllib.kernels.scoring_chain import denoise, encode, learned_starts, split_weights
from lad_rllib.scheduling.request_rules.parts import least
from lad_rllib.simulator.requests.loop import View
from lad_rllib.simulator.requests.play import CompiledRule

LEFT_OUT = np.float32(-1e9)
"""Logit of a server that a cap leaves out."""


@part
def drawn(logits: Array, share: Array, temperature: float, uniform: float) -> int:
    """A server that is up, drawn from the softmax of the logits; with temperature 0 the one of the greatest logit."""
    best = -1
    for server in range(len(logits)):
        if share[server] > 0 and (best < 0 or logits[server] > logits[best]):
            best = server
    if temperature <= 0:
        return best
    total = 0.0
    for server in range(len(logits)):
        if share[server] > 0:
            total += math.exp((logits[server] - logits[best]) / temperature)
    rest, last = uniform * total, best
    for server in range(len(logits)):
        if share[server] > 0:
            chance = math.exp((logits[server] - logits[best]) / temperature)
            if chance > 0:
                last = server
            rest -= chance
            if rest < 0:
                return server
    return last


@part
def beyond(tokens: Matrix, share: Array, bounds: Doubles, counts: Doubles) -> bool:
    """Whether a number of a server that is up is beyond what is familiar.

    Args:
        tokens: What is known of each server (A, F).
        share: Shares of capacity of those that are up (A,).
        bounds: Least and greatest familiar value of each number, one after the other; empty: all are.
        counts: How often each number was beyond them (F,); counted up here.
    """
    features = len(bounds) // 2
    found = False
    for column in range(features):
        is_beyond = False
        for server in range(len(share)):
            if share[server] > 0:
                value = tokens[server, column]
                is_beyond |= value < bounds[column] or value > bounds[features + column]
        if is_beyond:
            counts[column] += 1.0
            found = True
    return found


@part
def keep_to_cap(view: View, share: Array, cap: float, logits: Array) -> None:
    """Leave out servers where the request would wait for too long.

    The limit is the least delay that it can have, and ``cap`` times the wait that every server would have if all work
    was spread evenly: the former at low load, where there is no such wait, the latter when queues grow. The server of
    the least delay stays.
    """
    least_s, even_s, best = np.inf, 0.0, -1
    for server in range(len(share)):
        if share[server] > 0:
            even_s += share[server] * view.work_left_s[server]
            wait_s = view.ahead_s[server] + view.swap_s[server]
            delay_s = view.way_s[server] + wait_s + view.service_s[server]
            if delay_s < least_s:
                least_s, best = delay_s, server
    for server in range(len(share)):
        if server != best and view.ahead_s[server] + view.swap_s[server] > least_s + cap * even_s:
            logits[server] = LEFT_OUT


@kernel
def lad_dispatch(view: View, numbers: Doubles, weights: Vector, memory: Doubles, notes: Vector, uniform: float) -> int:
    """Describe the servers, score them, draw one, and remember; least work left takes what is not familiar."""
    servers = len(view.up)
    known, latest = unpacked(numbers, servers), recalled(memory, servers)
    actor = numbers[length(servers) :]
    prior_weight, temperature, kept, gain, hidden, start_hidden, steps = (
        actor[0],
        actor[1],
        actor[2],
        actor[3],
        actor[4],
        actor[5],
        int(actor[6]),
    )
    cap = actor[7]
    scales, bounds = actor[8 : 8 + 2 * steps].astype(np.float32).reshape((-1, 2)), actor[8 + 2 * steps :]
    net = split_weights(weights, NUM_FEATURES, int(hidden), len(scales), int(start_hidden))
    share, tokens = np.empty(servers, np.float32), np.empty((servers, NUM_FEATURES), np.float32)
    x, eps, logits = np.zeros(servers, np.float32), np.empty(servers, np.float32), np.empty(servers, np.float32)
    past = what_is_seen(known, memory, servers, view.now_s)
    capacity_shares(view, known, share)
    size = size_of(view, known, share)
    describe(view, known, past, share, size, tokens)
    if len(net.start_bias) > 0:
        learned_starts(net, tokens, x)
    for server in range(servers):
        x[server] = gain * (x[server] + kept * past.latent[server])
        if len(notes) > 0:
            notes[server * COLUMNS + START] = gain * kept * past.latent[server]
    denoise(encode(net, tokens, share), x, net.readout, net.latent, net.step_bias, scales, eps)
    for server in range(servers):
        logits[server] = x[server] - 2.0 * prior_weight * tokens[server, 0]
        latest.latent[server] = x[server]
    if cap < np.inf:
        keep_to_cap(view, share, cap, logits)
    if beyond(tokens, share, bounds, memory[len(memory) - NUM_FEATURES :]):
        chosen = least(view.work_left_s, view.service_s, view.up)
        latest.clock[HANDED_OVER] += 1.0
    else:
        chosen = drawn(logits, share, temperature, uniform)
    remember(known, latest, chosen, size, int(view.facts[MODEL]))
    if len(notes) > 0:
        for server in range(servers):
            row = notes[server * COLUMNS : (server + 1) * COLUMNS]
            row[:NUM_FEATURES] = tokens[server]
            row[SHARE], row[LOGIT] = share[server], logits[server]
    return chosen


def compiled_rule(
    known: Known,
    weights: NDArray[np.float32],
    *,
    prior_weight: float,
    temperature: float,
    kept: float,
    gain: float,
    hidden: int,
    start_hidden: int,
    scales: NDArray[np.float32],
    wait_cap: float | None = None,
    recorded: bool = False,
    bounds: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
) -> CompiledRule:
    """The rule of an actor.

    Args:
        known: What the service knows.
        weights: The actor's weights, see :class:`~lad_rllib.kernels.scoring_chain.ScoringShape`.
        prior_weight: Weight of the prior's log cost in the logits.
        temperature: What logits are divided by before a server is drawn; 0 takes the greatest.
        kept: Share of the last ``x_0`` of a server that starts its next chain.
        gain: Factor of a start: the forward diffusion's, in its mean.
        hidden: Width of the network.
        start_hidden: Width of that which gives learned starts; 0 for none.
        scales: Factors of the denoising steps (I, 2).
        wait_cap: Limit to what a request may wait, see :func:`keep_to_cap`; None: no limit.
        recorded: Whether tokens and logits are noted, ``COLUMNS`` numbers for each server.
        bounds: Least and greatest familiar value of each number of a token; requests that are beyond them go where
            least work is left. None: all are familiar.
    """
    servers = len(known.mean_service_s)
    cap = np.inf if wait_cap is None else wait_cap
    actor = np.array([prior_weight, temperature, kept, gain, hidden, start_hidden, len(scales), cap], np.float64)
    familiar = np.zeros(0) if bounds is None else np.concatenate(bounds).astype(np.float64)
    return CompiledRule(
        lad_dispatch,
        numbers=np.concatenate([packed(known), actor, scales.ravel(), familiar]),
        weights=weights,
        memory=memory_length(servers, NUM_FEATURES),
        notes=COLUMNS * servers if recorded else 0,
    )

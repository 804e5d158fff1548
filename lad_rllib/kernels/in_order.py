"""Compiled kernel of decisions one after the other: a chain for one task at a time, and what it sends where."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lad_rllib.arrays import Array, Batch, Batches, IntegerBatch, IntegerMatrix, Matrix, Vector
from lad_rllib.compiling import kernel, part
from lad_rllib.kernels.chain import Passes, Settings, begin_agent, chain_work_of_one, denoised_block
from lad_rllib.kernels.softmax import softmax


@part
def chosen_server(probabilities: Array, logits: Array, uniform: np.float32) -> int:
    """The first server whose cumulative probability exceeds ``uniform``; below 0: the most probable one."""
    if uniform < 0:
        return int(np.argmax(logits))
    cumulative = np.float32(0.0)
    for server in range(len(probabilities) - 1):
        cumulative += probabilities[server]
        if cumulative > uniform:
            return server
    return len(probabilities) - 1


class Prior(NamedTuple):
    """What surrounds the chain in an actor's logits, see :class:`~lad_rllib.algorithms.lad_pmd.prior_actor.PriorActor`.

    Attributes:
        log_capacity: Logits of servers without a queue (A,).
        task_scale: What input size and workload are divided by (2,).
        waiting_per_work: By how much a Gcycle lengthens each server's queue (A,).
        queue_weight: By how much a logit falls for each slot of waiting time.
    """

    log_capacity: Vector
    task_scale: Vector
    waiting_per_work: Vector
    queue_weight: np.float32


class Slots(NamedTuple):
    """What is to be decided in E slots.

    Attributes:
        tasks: Input size and workload (E, B, N, 2).
        counts: Tasks of each station (E, B).
        queues: Slot-start queues (E, A).
        starts: What chains start from (E, B, N, A).
        uniform: Random numbers (E, B, N), or below 0 for the most probable servers.
    """

    tasks: Batches
    counts: IntegerMatrix
    queues: Matrix
    starts: Batches
    uniform: Batch


class Decisions(NamedTuple):
    """What is filled in: servers (E, B, N), logits, their softmax, and the queues that each was based on (..., A)."""

    servers: IntegerBatch
    logits: Batches
    probabilities: Batches
    seen_queues: Batches


@kernel
def run_in_order(
    parameters: Matrix, chain: Settings, prior: Prior, only_own: bool, slots: Slots, decisions: Decisions
) -> None:
    """Decide the tasks of E slots one after the other, see :mod:`lad_rllib.algorithms.lad_pmd.in_slot`.

    Args:
        parameters: Parameters of the denoisers (G, P): one of all stations, or one of each.
        chain: Settings.
        prior: The prior.
        only_own: Tasks see their own station's earlier ones alone.
        slots: Tasks to decide.
        decisions: Filled in, where there are tasks.
    """
    actions, now = chain.sizes[-1], slots.queues.copy()
    work, scores = chain_work_of_one(chain), np.empty((actions, 1), np.float32)
    passes = Passes(
        np.empty((1, 2 + actions, 1), np.float32),
        np.empty((1, actions, 1), np.float32),
        np.empty((0, 1, actions, 1), np.float32),
    )
    seen = passes.state[0]
    for station in range(slots.tasks.shape[1]):
        if station < len(parameters):
            begin_agent(work, chain, parameters[station])
        for episode in range(len(now)):
            for a in range(actions if only_own else 0):
                now[episode, a] = slots.queues[episode, a]
            for task in range(slots.counts[episode, station]):
                place, size = (episode, station, task), slots.tasks[episode, station, task]
                seen[0, 0], seen[1, 0] = size[0] / prior.task_scale[0], size[1] / prior.task_scale[1]
                start, seen_queues = slots.starts[place], decisions.seen_queues[place]
                logits, probabilities = decisions.logits[place], decisions.probabilities[place]
                for a in range(actions):
                    seen[2 + a, 0], passes.latent[0, a, 0] = np.log1p(now[episode, a]), start[a]
                    seen_queues[a] = now[episode, a]
                x = denoised_block(work, chain, passes, 0, 0)
                for a in range(actions):
                    scores[a, 0] = x[a, 0] + prior.log_capacity[a] - prior.queue_weight * now[episode, a]
                    logits[a] = scores[a, 0]
                softmax(scores, actions, work.scratch[0], work.scratch[1])
                for a in range(actions):
                    probabilities[a] = scores[a, 0]
                server = chosen_server(probabilities, logits, slots.uniform[place])
                decisions.servers[place] = server
                now[episode, server] += prior.waiting_per_work[server] * size[1]

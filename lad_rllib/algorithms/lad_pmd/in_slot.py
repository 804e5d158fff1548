"""Decisions that know of those made before them in the same slot."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lad_rllib.algorithms.common.acting import Decision, choose_servers
from lad_rllib.algorithms.lad_pmd.prior_actor import PriorActor

InSlotView = Literal["none", "own", "all"]


def decide_in_order(
    actor: PriorActor,
    view: InSlotView,
    waiting_per_work: Tensor,
    tasks: Tensor,
    counts: Tensor,
    queues: Tensor,
    latent: Tensor,
    uniform: Tensor | None,
) -> Decision:
    """Decide the tasks of E slots one after the other; each adds to the queues that later ones see.

    Args:
        actor: Actor.
        view: ``"own"``: a station's tasks in turn, each knows where the station's earlier ones went, and nothing of
            other stations. ``"all"``: all tasks in turn, station by station as servers receive them, each knows where
            all earlier ones went: one dispatcher for all stations, or stations that hear of one another.
        waiting_per_work: By how much a Gcycle lengthens each server's queue, in the queues' unit, shape (A,).
        tasks: Input size and workload, shape (E, B, N, 2).
        counts: Tasks of each station, shape (E, B).
        queues: Slot-start queues, shape (E, A).
        latent: What the actor starts from, shape (E, B, N, latent size).
        uniform: Random numbers, see :func:`choose_servers`, shape (E, B, N); None takes the most probable servers.

    Returns:
        Decisions with the queues that each was based on; undefined where there is no task.
    """
    device = waiting_per_work.device
    tasks, counts, queues, latent = (x.to(device) for x in (tasks, counts.long(), queues, latent))
    uniform = None if uniform is None else uniform.to(device)
    if counts.max() > tasks.shape[2]:
        raise ValueError(f"a station has {int(counts.max())} tasks, there is room for {tasks.shape[2]}")
    if actor.chain.denoiser.backend.decides_in_order:
        return _of_backend(actor, view, waiting_per_work, tasks, counts, queues, latent, uniform)
    shape = tasks.shape[:3]
    logits = queues.new_zeros(*shape, queues.shape[-1])
    probabilities, seen = torch.zeros_like(logits), torch.zeros_like(logits)
    servers = torch.zeros(shape, dtype=torch.long, device=device)
    now = queues[:, None].repeat(1, shape[1], 1) if view == "own" else queues.clone()
    episodes = torch.arange(shape[0], device=device)
    num_turns = int(counts.max() if view == "own" else counts.sum(1).max())
    ends = counts.cumsum(1)
    for turn in range(num_turns):
        where: tuple[Tensor | slice, ...]
        if view == "own":
            where = (slice(None), slice(None), torch.tensor(turn))
            state = torch.cat([tasks[where], now], -1).permute(1, 2, 0)
            start = latent[where].permute(1, 2, 0)
            of_task = actor(state, start, start).permute(2, 0, 1)
        else:
            active = episodes[ends[:, -1] > turn]
            station = (ends[active] <= turn).sum(1)
            where = (active, station, turn - (ends - counts)[active, station])
            of_task = actor.of_stations(station, torch.cat([tasks[where], now[active]], -1), latent[where])
        choice, chances = choose_servers(of_task, None if uniform is None else uniform[where])
        logits[where], probabilities[where], servers[where] = of_task, chances, choice
        added = torch.nn.functional.one_hot(choice, queues.shape[-1]) * waiting_per_work * tasks[where][..., 1:]
        if view == "own":
            seen[where] = now
            now = now + added
        else:
            seen[where] = now[active]
            now[active] += added
    return Decision(servers.cpu(), logits.cpu(), probabilities.cpu(), seen.cpu())


@torch.no_grad()
def _of_backend(
    actor: PriorActor,
    view: InSlotView,
    waiting_per_work: Tensor,
    tasks: Tensor,
    counts: Tensor,
    queues: Tensor,
    latent: Tensor,
    uniform: Tensor | None,
) -> Decision:
    """The same by a backend that decides all tasks in one call."""
    denoiser, shape = actor.chain.denoiser, tasks.shape[:3]
    latent = latent.permute(1, 3, 0, 2).flatten(2)  # (B, features, E * N)
    starts = actor.chain_start(torch.arange(shape[1], device=latent.device)[:, None], latent, latent.shape[-1])
    starts = starts.unflatten(2, (shape[0], shape[2])).permute(2, 0, 3, 1)
    prior = (actor.log_capacity, actor.task_scale[:, 0], waiting_per_work, actor.prior_queue_weight)
    slots = (tasks, counts, queues, starts, torch.full(shape, -1.0) if uniform is None else uniform)
    decided = denoiser.backend.decide_in_order(denoiser.weights, actor.chain.chain, prior, view == "own", slots)
    return Decision(*decided)

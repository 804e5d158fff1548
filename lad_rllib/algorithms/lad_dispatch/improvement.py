"""A step of policy mirror descent from the costs of played requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lad_rllib.algorithms.common.mirror_descent import advantages
from lad_rllib.algorithms.lad_dispatch.features import COLUMNS, LOGIT, NUM_FEATURES, SHARE, START
from lad_rllib.algorithms.lad_dispatch.networks import ScoringActor

DOWN = -1e9
"""Logit of a server that is not up."""
_COLUMNS = ("tokens", "share", "start", "logits", "advantage")
LOGGED = ("actor_loss", "entropy_mean", "grad_norm")
"""What a gradient step tells: cross-entropy [nat], entropy of the policy [nat], and the gradient's norm."""


@dataclass(frozen=True)
class DecisionTable:
    """M requests of an episode: on what they were decided, by which logits, and what each server would have cost.

    Attributes:
        tokens: Shape (M, A, F).
        share: Share of each server in the capacity of those that are up, 0 for others (M, A).
        start: What chains started from (M, A).
        logits: Logits of the policy that played (M, A).
        advantage: Cost on each server less what the policy expects, in units of what it expects on average (M, A).
    """

    tokens: NDArray[np.float32]
    share: NDArray[np.float32]
    start: NDArray[np.float32]
    logits: NDArray[np.float32]
    advantage: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.tokens)

    def parts(self, number: int) -> list[DecisionTable]:
        """Every k-th request, from each of the first k: parts as alike as can be, whose arrays are contiguous."""
        columns = {name: getattr(self, name) for name in _COLUMNS}
        return [
            DecisionTable(**{name: np.ascontiguousarray(values[first::number]) for name, values in columns.items()})
            for first in range(number)
        ]

    def minibatch(self, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Some of the requests, drawn with replacement."""
        index = rng.integers(len(self), size=size)
        return {name: torch.from_numpy(getattr(self, name)[index]) for name in _COLUMNS}


def decision_table(notes: NDArray[np.float32], cost_s: NDArray[np.float64]) -> DecisionTable:
    """The table of requests from what their decisions noted (M, A * COLUMNS) and their costs (M, A)."""
    notes = notes.reshape(len(notes), -1, COLUMNS)
    share = notes[..., SHARE]
    up = share > 0
    logits = np.where(up, notes[..., LOGIT], np.float32(DOWN))
    advantage, size = advantages(logits.astype(np.float64), np.where(up, cost_s, 0.0))
    return DecisionTable(
        tokens=notes[..., :NUM_FEATURES],
        share=share,
        start=notes[..., START],
        logits=logits,
        advantage=np.where(up, advantage / max(size, 1e-12), 0.0).astype(np.float32),
    )


def stacked(tables: Sequence[DecisionTable]) -> dict[str, NDArray[np.float32]]:
    """The columns of several tables, one below the other; smaller fleets get servers that are not up."""
    tables = tables or [_NOTHING]
    rows, most = sum(map(len, tables)), max(table.share.shape[1] for table in tables)
    columns = {}
    for name in _COLUMNS:
        shape = (rows, most, *getattr(tables[0], name).shape[2:])
        columns[name] = np.full(shape, DOWN if name == "logits" else 0.0, np.float32)
        end = 0
        for table in tables:
            values = getattr(table, name)
            end += len(values)
            columns[name][end - len(values) : end, : values.shape[1]] = values
    return columns


_NOTHING = DecisionTable(np.zeros((0, 1, NUM_FEATURES), np.float32), *(np.zeros((0, 1), np.float32) for _ in range(4)))


@torch.no_grad()
def present_logits(actor: ScoringActor, batch: Mapping[str, Tensor]) -> Tensor:
    """Logits (M, A) of an actor on what others have decided; see :func:`improvement_loss` for the columns."""
    return actor(batch["tokens"], batch["share"], batch["start"]).masked_fill(batch["share"] <= 0, DOWN)


def improvement_loss(actor: ScoringActor, batch: Mapping[str, Tensor], step_size: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy to the policy that mirror descent steps to, ``softmax(z - step_size * advantage)``.

    Args:
        actor: The actor.
        batch: Columns of a :class:`DecisionTable`.
        step_size: Step size in units of the mean cost.

    Returns:
        Mean cross-entropy, and the mean entropy of the actor's policy, without gradient [nat].
    """
    target = torch.softmax(batch["logits"] - step_size * batch["advantage"], dim=1)
    logits = actor(batch["tokens"], batch["share"], batch["start"])
    log_policy = torch.log_softmax(logits.masked_fill(batch["share"] <= 0, DOWN), dim=1)
    with torch.no_grad():
        entropy = -(log_policy.exp() * log_policy).sum(1).mean()
    return -(target * log_policy).sum(1).mean(), entropy


def improvement_step(
    actor: ScoringActor,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Mapping[str, Tensor]],
    step_size: float,
    grad_clip: float | None,
    averaged: Callable[[Sequence[Tensor]], Sequence[Tensor]] = lambda gradients: gradients,
) -> dict[str, float]:
    """One gradient step on the mean loss of some minibatches.

    Args:
        actor: The actor; its weights change.
        optimizer: Optimiser of its weights.
        batches: Minibatches, each as :func:`improvement_loss` takes it.
        step_size: See :func:`improvement_loss`.
        grad_clip: Limit of the gradient's norm; None: no limit.
        averaged: Gives the mean gradients of all processes that learn together.

    Returns:
        :data:`LOGGED` by name.
    """
    losses, entropies = zip(*(improvement_loss(actor, batch, step_size) for batch in batches), strict=True)
    loss = torch.stack(losses).mean()
    gradients = averaged(torch.autograd.grad(loss, list(actor.parameters())))
    norm = apply_gradients(actor, optimizer, gradients, grad_clip)
    return dict(zip(LOGGED, (loss.item(), torch.stack(entropies).mean().item(), norm.item()), strict=True))


def apply_gradients(
    actor: ScoringActor, optimizer: torch.optim.Optimizer, gradients: Sequence[Tensor], grad_clip: float | None
) -> Tensor:
    """One step of the optimiser; returns the norm of the gradient before it is limited."""
    for parameter, gradient in zip(actor.parameters(), gradients, strict=True):
        parameter.grad = gradient
    norm = torch.nn.utils.clip_grad_norm_(actor.parameters(), torch.inf if grad_clip is None else grad_clip)
    optimizer.step()
    return norm


def improve(
    actor: ScoringActor,
    optimizer: torch.optim.Optimizer,
    tables: Sequence[DecisionTable],
    rng: np.random.Generator,
    *,
    step_size: float,
    minibatches: int,
    minibatch_size: int,
    grad_clip: float | None,
) -> dict[str, float]:
    """Gradient steps towards the policy that mirror descent steps to from the tables' costs.

    Args:
        actor: The actor; its weights change.
        optimizer: Optimiser of its weights.
        tables: Requests of episodes that it played; each gradient step takes a minibatch of every one.
        rng: Randomness of the minibatches.
        step_size: See :func:`improvement_loss`.
        minibatches: Gradient steps.
        minibatch_size: Requests of each table in a gradient step.
        grad_clip: Limit of the gradient's norm; None: no limit.

    Returns:
        Means of :data:`LOGGED` over the gradient steps.
    """
    steps = [
        improvement_step(
            actor, optimizer, [table.minibatch(minibatch_size, rng) for table in tables], step_size, grad_clip
        )
        for _ in range(minibatches)
    ]
    return {name: float(np.mean([step[name] for step in steps])) for name in LOGGED}

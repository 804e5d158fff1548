"""A plain training loop, without RLlib: play an episode, cost its requests, step towards less cost.

RLlib's env runners call :func:`play_and_cost`, and its learners the gradient steps of :mod:`improvement`; here both
take turns in one process.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from lad_rllib.algorithms.common.mirror_descent import ImprovementSchedule
from lad_rllib.algorithms.common.task_loss import TaskLoss
from lad_rllib.algorithms.lad_dispatch.hyperparameters import LADDispatchHyperparameters
from lad_rllib.algorithms.lad_dispatch.improvement import DecisionTable, decision_table, improve
from lad_rllib.algorithms.lad_dispatch.knowledge import Known, knowledge
from lad_rllib.algorithms.lad_dispatch.networks import ActorSettings, ScoringActor
from lad_rllib.simulator.penalties import make_penalty
from lad_rllib.simulator.requests import Requests, RequestWorld, ServedRequests
from lad_rllib.simulator.requests.costs import marginal_costs_s
from lad_rllib.simulator.requests.play import play_rule


class RequestSource(Protocol):
    """Where episodes come from, as a :class:`~lad_rllib.simulator.requests.setting.RequestSetting` does."""

    @property
    def world(self) -> RequestWorld:
        """Servers and their order of service."""

    def draw(self, rng: np.random.Generator) -> Requests:
        """The requests of one episode."""

    def history(self) -> Requests:
        """Requests of the past."""


@dataclass(frozen=True)
class PlayedTable:
    """An episode as it was played, and what is learned from it.

    Attributes:
        served: How the requests were served.
        table: What the sampled ones were decided on, and their costs.
    """

    served: ServedRequests
    table: DecisionTable


def play_and_cost(
    source: RequestSource,
    known: Known,
    actor: ActorSettings,
    weights: NDArray[np.float32],
    rng: np.random.Generator,
    *,
    sampled: int,
    discount: float = 1.0,
    temperature: float = 1.0,
    penalty: Mapping[str, Any] | None = None,
) -> PlayedTable:
    """Play an episode with servers drawn from an actor's policy, and cost some of its requests.

    Args:
        source: Where the episode comes from.
        known: What the service knows of it, :func:`~lad_rllib.algorithms.lad_dispatch.knowledge.knowledge`.
        actor: What the actor is.
        weights: Its weights.
        rng: Randomness of the episode, the policy and the sample.
        sampled: Requests to cost.
        discount: Weight of another request for each second that it comes later.
        temperature: What logits are divided by.
        penalty: Loss of a request by its delay: name and fields; None: the delay.
    """
    world, requests = source.world, source.draw(rng)
    timing = world.timing(requests)
    served = play_rule(actor.rule(known, weights, temperature, recorded=True), world, requests, rng, timing)
    sample = np.sort(rng.choice(len(requests), min(sampled, len(requests)), replace=False))
    loss = None if penalty is None else make_penalty(**penalty)
    cost = marginal_costs_s(timing, served.server, sample, loss, discount=discount)
    return PlayedTable(served, decision_table(served.notes[sample], cost))


@dataclass
class Improvement:
    """The state of learning: actor, mean actor, optimiser and schedule.

    Attributes:
        settings: What the actor is, and how it learns.
        seed: Seed of the initial weights and of the minibatches.
    """

    settings: LADDispatchHyperparameters
    seed: int = 0
    networks: ScoringActor = field(init=False)
    average: ScoringActor = field(init=False)
    schedule: ImprovementSchedule = field(init=False)

    def __post_init__(self) -> None:
        s = self.settings
        self.networks = ScoringActor(s, self.seed, s.kernels)
        self.average = copy.deepcopy(self.networks).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.networks.parameters(), lr=s.actor_lr, betas=(0.9, 0.99))
        self.schedule = ImprovementSchedule(s.step_size, s.last_step_size, s.step_size_iterations, s.averaging_exponent)
        self.rng = np.random.default_rng([self.seed, 2])

    def step_on(self, *tables: DecisionTable) -> dict[str, float]:
        """One step of mirror descent from an iteration's tables; returns what is to be logged."""
        s = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.falling(s.actor_lr, s.last_actor_lr)
        metrics = improve(
            self.networks,
            self.optimizer,
            tables,
            self.rng,
            step_size=self.schedule.step_size,
            minibatches=s.updates_per_iteration,
            minibatch_size=s.train_batch_size_per_learner,
            grad_clip=s.grad_clip,
        )
        metrics["step_size"], share = self.schedule.step_size, self.schedule.averaging_share
        self.schedule.iteration += 1
        with torch.no_grad():
            self.average.weights.lerp_(self.networks.weights, share)
        return metrics


def learn(
    source: RequestSource,
    settings: LADDispatchHyperparameters,
    seed: int = 0,
    on_iteration: Callable[[Improvement, dict[str, Any]], None] | None = None,
) -> tuple[ScoringActor, list[dict[str, Any]]]:
    """Learn where to send the requests of a source.

    Args:
        source: The source.
        settings: What the actor is, and how it learns: for ``step_size_iterations`` episodes.
        seed: Seed of weights, episodes and minibatches.
        on_iteration: Called after each iteration with the state of learning and its row of the curve.

    Returns:
        The mean actor, and a row for each iteration: delays [s], CPU time [s], and what the step logged.
    """
    state, curve = Improvement(settings, seed), list[dict[str, Any]]()
    loss = TaskLoss(settings.penalty, settings.bounded_percentile, settings.percentile_bound_s)
    known, rng = knowledge(source.world, source.history()), np.random.default_rng([seed, 1])
    for iteration in range(settings.step_size_iterations):
        began = time.process_time()
        played = play_and_cost(
            source,
            known,
            settings,
            state.networks.packed(),
            rng,
            sampled=settings.sampled_requests,
            discount=settings.discount,
            temperature=settings.temperature,
            penalty=loss.penalty,
        )
        loss.observe(played.served.delay_s)
        costed = time.process_time()
        metrics = state.step_on(played.table)
        delay = played.served.delay_s
        row = {
            "iteration": iteration + 1,
            "mean_s": float(delay.mean()),
            "p95_s": float(np.percentile(delay, 95)),
            "p99_s": float(np.percentile(delay, 99)),
            "loss_strength": loss.strength,
            "play_cpu_s": costed - began,
            "learn_cpu_s": time.process_time() - costed,
            **metrics,
        }
        curve.append(row)
        if on_iteration is not None:
            on_iteration(state, row)
    return state.average, curve

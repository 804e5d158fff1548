"""A plain training loop, without RLlib: play an episode, cost its requests, step towards less cost.

RLlib's env runners call :func:`play_and_cost`, and its learners the gradient steps of :mod:`improvement`; here both
take turns in one process.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from lad_rllib.algorithms.common.mirror_descent import ImprovementSchedule
from lad_rllib.algorithms.lad_dispatch.actor_settings import ActorSettings
from lad_rllib.algorithms.lad_dispatch.episode_loss import EpisodeLoss
from lad_rllib.algorithms.lad_dispatch.familiar import SeenRange
from lad_rllib.algorithms.lad_dispatch.hyperparameters import ActorHyperparameters, LADDispatchHyperparameters
from lad_rllib.algorithms.lad_dispatch.improvement import DecisionTable, decision_table, improve
from lad_rllib.algorithms.lad_dispatch.knowledge import Known, knowledge
from lad_rllib.algorithms.lad_dispatch.networks import ScoringActor
from lad_rllib.simulator.penalties import DelayPenalty, make_penalty
from lad_rllib.simulator.requests import Requests, RequestWorld, ServedRequests
from lad_rllib.simulator.requests.costs import marginal_costs_s
from lad_rllib.simulator.requests.play import play_rule

if TYPE_CHECKING:
    from lad_rllib.algorithms.lad_dispatch.policy_file import SavedDispatchPolicy


class EpisodeSource(Protocol):
    """Where an episode comes from, as a :class:`~lad_rllib.simulator.requests.setting.RequestSetting` does."""

    @property
    def world(self) -> RequestWorld:
        """Servers and their order of service."""

    def draw(self, rng: np.random.Generator) -> Requests:
        """The requests of one episode."""

    def history(self) -> Requests:
        """Requests of the past."""


class RequestSource(Protocol):
    """Where episodes come from: one setting for all, or random fleets, which have another one for each."""

    def of_episode(self, rng: np.random.Generator) -> EpisodeSource:
        """What an episode is played on."""


class KnownEpisodes:
    """What episodes are played on, and what a service knows of each beforehand.

    Args:
        source: Where they come from.
    """

    def __init__(self, source: RequestSource) -> None:
        self.source = source
        self._last: tuple[EpisodeSource, Known] | None = None

    def next(self, rng: np.random.Generator) -> tuple[EpisodeSource, Known]:
        """The next episode's; what is known is computed once for each setting."""
        setting = self.source.of_episode(rng)
        if self._last is None or self._last[0] is not setting:
            self._last = setting, knowledge(setting.world, setting.history())
        return self._last


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
    source: EpisodeSource,
    known: Known,
    actor: ActorHyperparameters,
    weights: NDArray[np.float32],
    rng: np.random.Generator,
    *,
    sampled: int,
    discount: float = 1.0,
    temperature: float = 1.0,
    loss: EpisodeLoss | None = None,
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
        loss: Loss of a request by its delay, which takes the episode into account; None: the delay.
    """
    world, requests = source.world, source.draw(rng)
    timing = world.timing(requests)
    rule = ActorSettings.of(actor).rule(known, weights, temperature, recorded=True)
    served = play_rule(rule, world, requests, rng, timing)
    sample = np.sort(rng.choice(len(requests), min(sampled, len(requests)), replace=False))
    penalty: DelayPenalty | None = None
    if loss is not None:
        bound_s = loss.bound_s(source, requests, timing)
        named = loss.penalty(bound_s)
        penalty = None if named is None else make_penalty(**named)
        loss.observe(served.delay_s, bound_s)
    cost = marginal_costs_s(timing, served.server, sample, penalty, discount=discount)
    return PlayedTable(served, decision_table(served.notes[sample], cost))


@dataclass
class Improvement:
    """The state of learning: actor, mean actor, optimiser, schedule, weight of the bound, and what was seen.

    Attributes:
        settings: What the actor is, and how it learns.
        seed: Seed of the initial weights and of the minibatches.
    """

    settings: LADDispatchHyperparameters
    seed: int = 0
    networks: ScoringActor = field(init=False)
    average: ScoringActor = field(init=False)
    schedule: ImprovementSchedule = field(init=False)
    loss: EpisodeLoss = field(init=False)
    seen: SeenRange = field(default_factory=SeenRange)

    def __post_init__(self) -> None:
        s = self.settings
        self.networks = ScoringActor(s, self.seed, s.kernels)
        self.average = copy.deepcopy(self.networks).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.networks.parameters(), lr=s.actor_lr, betas=(0.9, 0.99))
        self.loss = EpisodeLoss(s)
        self.schedule = ImprovementSchedule(s.step_size, s.last_step_size, s.step_size_iterations, s.averaging_exponent)

    def start_from(self, policy: SavedDispatchPolicy) -> None:
        """Take over what another run has learned, and what it has seen."""
        networks = policy.load_networks()
        self.networks.load_state_dict(networks.actor.state_dict())
        self.average.load_state_dict(networks.average.state_dict())
        if policy.seen is not None:
            self.seen.set_state(policy.seen.get_state())

    def get_state(self) -> dict[str, Any]:
        """What going on needs: tensors and plain numbers."""
        return {
            "actor": self.networks.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.get_state(),
            "loss": self.loss.get_state(),
            "seen": {name: torch.from_numpy(values) for name, values in self.seen.get_state().items()},
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`get_state`."""
        self.networks.load_state_dict(state["actor"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.set_state(state["schedule"])
        self.loss.set_state(state["loss"])
        self.seen.set_state(state["seen"])

    def step_on(self, *tables: DecisionTable) -> dict[str, float]:
        """One step of mirror descent from an iteration's tables; returns what is to be logged."""
        s = self.settings
        for table in tables:
            self.seen.widen(table.tokens, table.share)
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.falling(s.actor_lr, s.last_actor_lr)
        metrics = improve(
            self.networks,
            self.optimizer,
            tables,
            np.random.default_rng([self.seed, 2, self.schedule.iteration]),
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
    on_iteration: Callable[[Improvement, dict[str, Any]], bool | None] | None = None,
    *,
    episodes: int = 1,
    state: Improvement | None = None,
) -> tuple[ScoringActor, list[dict[str, Any]]]:
    """Learn where to send the requests of a source.

    Args:
        source: The source.
        settings: What the actor is, and how it learns: for ``step_size_iterations`` iterations.
        seed: Seed of weights, episodes and minibatches.
        on_iteration: Called after each iteration with the state of learning and its row of the curve; ends learning by
            returning True.
        episodes: Episodes of an iteration; of random fleets each is another one.
        state: Goes on from here; None: begins.

    Returns:
        The mean actor, and a row for each iteration: delays [s], CPU time [s], and what the step logged.
    """
    state, curve = state or Improvement(settings, seed), list[dict[str, Any]]()
    known = KnownEpisodes(source)
    while state.schedule.iteration < settings.step_size_iterations:
        began, iteration = time.process_time(), state.schedule.iteration + 1
        played = [
            _lesson(known, state, np.random.default_rng([seed, 1, iteration, index])) for index in range(episodes)
        ]
        costed = time.process_time()
        metrics = state.step_on(*(one.table for one in played))
        delay = np.concatenate([one.served.delay_s for one in played])
        row = {
            "iteration": iteration,
            "mean_s": float(delay.mean()),
            "p95_s": float(np.percentile(delay, 95)),
            "p99_s": float(np.percentile(delay, 99)),
            "loss_strength": state.loss.strength,
            "play_cpu_s": costed - began,
            "learn_cpu_s": time.process_time() - costed,
            **metrics,
        }
        curve.append(row)
        if on_iteration is not None and on_iteration(state, row):
            break
    return state.average, curve


def _lesson(known: KnownEpisodes, state: Improvement, rng: np.random.Generator) -> PlayedTable:
    """Play and cost one episode."""
    source, told = known.next(rng)
    settings = state.settings
    return play_and_cost(
        source,
        told,
        settings,
        state.networks.packed(),
        rng,
        sampled=settings.sampled_requests,
        discount=settings.discount,
        temperature=settings.temperature,
        loss=state.loss,
    )

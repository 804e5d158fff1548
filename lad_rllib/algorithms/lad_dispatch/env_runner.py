"""Env runner of LAD-Dispatch: plays whole episodes in compiled code, and costs their requests on the spot."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.utils.metrics import SAMPLE_TIMER

from lad_rllib import names
from lad_rllib.algorithms.common.base_env_runner import SchedulingEnvRunner, seed_word
from lad_rllib.algorithms.lad_dispatch.environment import not_of_requests
from lad_rllib.algorithms.lad_dispatch.episode_loss import EpisodeLoss
from lad_rllib.algorithms.lad_dispatch.familiar import SeenRange
from lad_rllib.algorithms.lad_dispatch.training import KnownEpisodes, RequestSource, play_and_cost
from lad_rllib.simulator.order import order_text
from lad_rllib.simulator.penalties import MeanDelay, make_penalty
from lad_rllib.simulator.requests import RequestWorld, ServedRequests
from lad_rllib.simulator.requests.play import play_decisions, play_rule

_JUDGED = 2**31


@dataclass(frozen=True)
class PlayedEpisode:
    """An episode as callbacks see it; it has what RLlib asks of one that is done.

    Attributes:
        world: Servers and order of service.
        served: How its requests were served.
        duration_s: Wall time that playing took.
        id_: Its name.
    """

    world: RequestWorld
    served: ServedRequests
    duration_s: float
    id_: str = field(default_factory=lambda: uuid.uuid4().hex)
    is_done = True

    def __len__(self) -> int:
        return len(self.served.server)

    def env_steps(self) -> int:
        """Requests."""
        return len(self)

    agent_steps = env_steps

    def get_return(self) -> float:
        """Minus the sum of all service delays [s]."""
        return -float(self.served.delay_s.sum())

    def get_duration_s(self) -> float:
        """Wall time that playing took."""
        return self.duration_s


@dataclass(frozen=True)
class Lesson:
    """What is learned from one episode.

    Attributes:
        tables: Its sampled requests, and their costs: a table; or for each learner a reference to a list of one table,
            its part of the requests.
        seen: Range of each number of a token.
        is_last: Whether it is the last one of an iteration.
    """

    tables: list[Any]
    seen: SeenRange
    is_last: bool


class LADDispatchEnvRunner(SchedulingEnvRunner):
    """Plays episodes of request environments by the actor's compiled rule, without Python for each request.

    ``collect()`` plays one episode of each environment and returns what is learned from them; ``sample()`` plays as
    RLlib asks, in evaluation with the mean actor. The environments say what is played: their ``setting``. Requests and
    decisions of an episode depend on the seed, the runner's index, the environment's index and the running number of
    the episode alone.
    """

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        self._sources: list[KnownEpisodes] = []
        self._num_episodes = 0
        self._loss = EpisodeLoss(config)
        super().__init__(config=config, **kwargs)

    def make_env(self) -> None:
        """Create the environments, and take note of what is played in them."""
        super().make_env()
        self._sources = [KnownEpisodes(_source(self.config.title, env.unwrapped)) for env in self.env.unwrapped.envs]

    def trained_for(self) -> dict[str, Any]:
        """Setting and orders of service of the first environment, as policy files have them."""
        source: Any = self._sources[0].source
        setting = getattr(source, "spec", None) or self.config.env_config.get("setting", "")
        return {"setting": setting, "orders": getattr(source, "orders", None) or [order_text(source.world.order)]}

    # -- Episodes -------------------------------------------------------------------------------------------------

    def collect(self, fragment: int | None = None) -> list[Lesson]:
        """Play one episode of each environment, exploring as configured, and cost their requests.

        Args:
            fragment: Must be None: costs are known of whole episodes only.
        """
        if fragment is not None:
            raise ValueError("costs are known of whole episodes only; collect() them without a number of requests")
        with self.metrics.log_time(SAMPLE_TIMER):
            lessons = [self._lesson(index) for index in range(self.num_envs)]
        return lessons

    def _lesson(self, index: int) -> Lesson:
        """Play and cost an episode."""
        began, rng = self._begin(index), self._randomness(index)
        source, known = self._sources[index].next(rng)
        actor, config = self.module.networks.actor, self.config
        played = play_and_cost(
            source,
            known,
            actor.settings,
            actor.packed(),
            rng,
            sampled=config.sampled_requests,
            discount=config.discount,
            temperature=config.temperature if config.explore else 0.0,
            loss=self._loss,
        )
        if config.bounded_percentile is not None:
            self.metrics.log_value(names.LOSS_STRENGTH, self._loss.strength, window=1)
        self._end(index, source.world, played.served, began)
        seen = SeenRange()
        seen.widen(played.table.tokens, played.table.share)
        return Lesson([played.table], seen, is_last=index == self.num_envs - 1)

    def for_the_way(self, samples: list[Lesson]) -> list[Lesson]:
        """Tables go from here to the learners, past the algorithm's process, each learner's part to it alone.

        What is played and learned in one process stays as it is.
        """
        learners = self.config.num_learners
        if not self.worker_index and not learners:
            return samples
        return [
            replace(lesson, tables=[ray.put([part]) for part in lesson.tables[0].parts(max(learners, 1))])
            for lesson in samples
        ]

    def _played(self, index: int, explore: bool, random_actions: bool) -> PlayedEpisode:
        """Play an episode."""
        began, rng = self._begin(index), self._randomness(index)
        source, known = self._sources[index].next(rng)
        networks, world = self.module.networks, source.world
        requests = source.draw(rng)
        if random_actions:
            servers = rng.integers(world.num_servers, size=len(requests))
            return self._end(index, world, play_decisions(servers, world, requests), began)
        actor = networks.evaluated_actor if self.config.in_evaluation else networks.actor
        rule = actor.settings.rule(known, actor.packed(), self.config.temperature if explore else 0.0)
        return self._end(index, world, play_rule(rule, world, requests, rng), began)

    def judged(self, actors: Sequence[NDArray[np.float32]], episodes: int) -> list[float]:
        """Mean loss of actors, each by its most probable servers, on the same episodes that are not trained on.

        Args:
            actors: Weights of each.
            episodes: Episodes of the first environment.
        """
        settings = self.module.networks.actor.settings
        losses = np.zeros((episodes, len(actors)))
        for episode, row in enumerate(losses):
            rng = np.random.default_rng([self._entropy, _JUDGED, episode])
            source, known = self._sources[0].next(rng)
            requests = source.draw(rng)
            penalty = self._loss.penalty(self._loss.bound_s(source, requests))
            value = (MeanDelay() if penalty is None else make_penalty(**penalty)).value
            for index, weights in enumerate(actors):
                served = play_rule(settings.rule(known, weights), source.world, requests, rng)
                row[index] = value(served.delay_s).mean()
        means: list[float] = losses.mean(axis=0).tolist()
        return means

    def _randomness(self, index: int) -> np.random.Generator:
        self._num_episodes += 1
        return np.random.default_rng([self._entropy, index, self._num_episodes])

    def _begin(self, index: int) -> float:
        self._callback("on_episode_start", index, None)
        return time.perf_counter()

    def _end(self, index: int, world: RequestWorld, served: ServedRequests, began: float) -> PlayedEpisode:
        """Log an episode that was played, and show it to callbacks."""
        episode, delay_s = PlayedEpisode(world, served, time.perf_counter() - began), served.delay_s
        self.metrics.log_value(names.MEAN_DELAY, float(delay_s.mean()), reduce="mean")
        for percent, key in names.DELAY_PERCENTILES.items():
            self.metrics.log_value(key, float(np.percentile(delay_s, percent)), reduce="mean")
        self._callback("on_episode_end", index, episode)
        self._done_episodes_for_metrics.append(episode)
        self._increase_sampled_metrics(len(episode), 1)
        return episode

    def _callback(self, which: str, index: int, episode: PlayedEpisode | None) -> None:
        make_callback(
            which,
            callbacks_objects=self._callbacks,
            callbacks_functions=getattr(self.config, f"callbacks_{which}"),
            kwargs={
                "episode": episode,
                "env_runner": self,
                "metrics_logger": self.metrics,
                "env": self.env.unwrapped,
                "rl_module": self.module,
                "env_index": index,
            },
        )

    def _sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool,
        random_actions: bool = False,
        force_reset: bool = False,
    ) -> list[Any]:
        """RLlib's own way to sample: at least so many requests, or so many episodes; always whole ones."""
        episodes: list[PlayedEpisode] = []
        steps = 0
        while steps < num_timesteps if num_timesteps is not None else len(episodes) < (num_episodes or 0):
            episodes.append(self._played(len(episodes) % self.num_envs, explore, random_actions))
            steps += len(episodes[-1])
        return episodes

    # -- State ----------------------------------------------------------------------------------------------------

    def get_runner_state(self) -> dict[str, Any]:
        """What this runner alone knows and a checkpoint needs: which requests come next, and an adapted loss."""
        return {
            "entropy": self._entropy,
            "num_episodes": self._num_episodes,
            "evaluations": self._evaluations,
            "loss": self._loss.get_state(),
        }

    def set_runner_state(self, state: Mapping[str, Any]) -> None:
        """Continue where :meth:`get_runner_state` was called."""
        self._entropy, self._num_episodes = state["entropy"], state["num_episodes"]
        self._evaluations = state["evaluations"]
        self._loss.set_state(state["loss"])

    def start_like(self, state: Mapping[str, Any]) -> None:
        """Runners share nothing: each plays requests of its own."""

    def _begin_evaluation(self) -> None:
        """Requests of its own."""
        self._entropy = seed_word(self._entropy, 0, self._evaluations)


def _source(title: str, environment: Any) -> RequestSource:
    """What is played in an environment.

    Raises:
        ConfigurationError: if it does not say.
    """
    setting: Any = getattr(environment, "setting", None)
    if not hasattr(setting, "of_episode"):
        raise not_of_requests(title, type(environment).__name__)
    source: RequestSource = setting
    return source

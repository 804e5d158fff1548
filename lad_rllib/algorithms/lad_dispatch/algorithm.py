"""LAD-Dispatch: where to send each request as it comes, learned by policy mirror descent, as an RLlib algorithm."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.utils.metrics import SYNCH_WORKER_WEIGHTS_TIMER, TIMERS

from lad_rllib.algorithms.common.base_algorithm import SchedulingAlgorithm
from lad_rllib.algorithms.common.base_config import SchedulingConfig, check
from lad_rllib.algorithms.common.mirror_descent import ImprovementSchedule
from lad_rllib.algorithms.lad_dispatch.environment import check_environment
from lad_rllib.algorithms.lad_dispatch.familiar import SeenRange
from lad_rllib.algorithms.lad_dispatch.features import COLUMNS as DECISION_COLUMNS
from lad_rllib.algorithms.lad_dispatch.hyperparameters import LADDispatchHyperparameters
from lad_rllib.algorithms.lad_dispatch.learner import LADDispatchTorchLearner
from lad_rllib.algorithms.lad_dispatch.rl_module import LADDispatchTorchRLModule
from lad_rllib.simulator.sizes import FLOAT32

if TYPE_CHECKING:
    from lad_rllib.algorithms.common.policy_file import SavedPolicy
    from lad_rllib.algorithms.lad_dispatch.env_runner import Lesson
    from lad_rllib.algorithms.lad_dispatch.policy_file import SavedDispatchPolicy


JUDGED_EPISODES = 8
"""Episodes that each env runner plays to judge a run against what it started from."""
_EVALUATED = "networks.average.weights"


class LADDispatchConfig(SchedulingConfig):
    """Configures :class:`LADDispatch`.

    Example:
        >>> from lad_rllib.algorithms.lad_dispatch import LADDispatchConfig
        >>> config = (
        ...     LADDispatchConfig()
        ...     .environment("lad_rllib/RequestFleet-v0", env_config={"setting": "unequal-8", "order": "aged"})
        ...     .training(hidden_size=32)
        ... )
        >>> algo = config.build_algo()  # doctest: +SKIP
    """

    name = "lad-dispatch"
    title = "LAD-Dispatch"
    hyperparameters = LADDispatchHyperparameters
    module_base = LADDispatchTorchRLModule
    module_class = LADDispatchTorchRLModule
    vectorize_mode = "sync"
    own_unused = {
        "gamma": "set discount",
        "grad_clip_by": "grad_clip limits the norm of the whole gradient",
        "num_epochs": "set updates_per_iteration",
        "minibatch_size": "set train_batch_size_per_learner",
        "model": "set hidden_size and policy_denoising_steps",
        "exploration_config": "set temperature",
    }

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or LADDispatch)
        self.batch_mode = "complete_episodes"

    @classmethod
    def default_env_runner_class(cls) -> type:
        """Env runner of the algorithm; a user's own must inherit from it."""
        from lad_rllib.algorithms.lad_dispatch.env_runner import LADDispatchEnvRunner

        return LADDispatchEnvRunner

    @classmethod
    def saved_policy_class(cls) -> type[SavedPolicy]:
        """Form of its trained policies on disk."""
        from lad_rllib.algorithms.lad_dispatch.policy_file import SavedDispatchPolicy

        return SavedDispatchPolicy

    def get_default_learner_class(self) -> type:
        """Learner of the algorithm."""
        return LADDispatchTorchLearner

    def get_rollout_fragment_length(self, worker_index: int = 0) -> int | None:
        """Whole episodes (None): costs are known of those only."""
        return None

    def episode_bytes(self, requests: int, servers: int) -> tuple[int, int]:
        """Memory of an episode that is played with a record of its decisions, and of what is learned from it [bytes].

        Args:
            requests: Requests of the episode.
            servers: Edge servers.
        """
        of_a_request = servers * DECISION_COLUMNS * FLOAT32
        return requests * of_a_request, min(requests, self.sampled_requests) * of_a_request

    def check_environment(self) -> None:
        """See :meth:`SchedulingConfig.check_environment`."""
        check_environment(self.title, self.env)

    def validate(self) -> None:
        """See :meth:`SchedulingConfig.validate`."""
        super().validate()
        if not self.in_evaluation:  # where RLlib sets others
            fragment, mode = self.rollout_fragment_length, self.batch_mode
            check(fragment == "auto", "rollout_fragment_length", fragment, f"'auto' for {self.title}")
            check(mode == "complete_episodes", "batch_mode", mode, f"'complete_episodes' for {self.title}")


class LADDispatch(SchedulingAlgorithm):
    """Learns where to send each request for the delay of all, by policy mirror descent on exact marginal costs.

    After an episode in every environment, the actor takes gradient steps towards the probabilities that mirror descent
    gives from the costs of a sample of its requests.

    Attributes:
        trained_for: Setting and orders of service that it learns with, for its policy file.
        seen: What it has seen of each number of a token, for its policy file.
    """

    config: LADDispatchConfig

    @classmethod
    def get_default_config(cls) -> LADDispatchConfig:
        """The settings of the published results."""
        return LADDispatchConfig(algo_class=cls)

    def setup(self, config: LADDispatchConfig) -> None:
        """Build runners and learners."""
        super().setup(config)
        c = self.config
        self._schedule = ImprovementSchedule(
            c.step_size, c.last_step_size, c.step_size_iterations, c.averaging_exponent
        )
        self.seen = SeenRange()
        self._start = StartingPoint()
        self.learning_state |= {"schedule": self._schedule, "seen": self.seen, "start": self._start}
        runners, remote = self.env_runner_group, self.rollouts.are_remote
        self.trained_for: dict[str, Any] = runners.foreach_env_runner(_trained_for, local_env_runner=not remote)[0]

    def start_runners_from(self, saved: SavedDispatchPolicy) -> None:
        """Take over what that policy had seen, and keep it for :meth:`settle`."""
        self._start.weights = dict(saved.weights)
        if saved.seen is not None:
            self.seen.set_state(saved.seen.get_state())

    def settle(self) -> str | None:
        """See :class:`SchedulingAlgorithm`; judged by the loss of :data:`JUDGED_EPISODES` episodes of each runner."""
        start = self._start.weights
        if start is None:
            return None
        state = self.learner_group.get_state(components=f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}")
        now = state[COMPONENT_LEARNER][COMPONENT_RL_MODULE][DEFAULT_MODULE_ID]
        actors = [np.asarray(weights[_EVALUATED], np.float32) for weights in (start, now)]
        judged = self.env_runner_group.foreach_env_runner(
            partial(_judged, actors=actors), local_env_runner=not self.rollouts.are_remote
        )
        before, after = np.mean(judged, axis=0)
        is_kept = after <= before
        if not is_kept:
            self.learner_group.set_state({COMPONENT_LEARNER: {COMPONENT_RL_MODULE: {DEFAULT_MODULE_ID: start}}})
            self.weights.force()
        return (
            f"on {len(judged) * JUDGED_EPISODES} other episodes the policy has {after:.4g} of the loss, {before:.4g} "
            f"before training: the {'new' if is_kept else 'old'} one is kept"
        )

    def training_step(self) -> None:
        """Play one episode in every environment, and learn from all of them together."""
        lessons: list[Lesson] = []
        for number, played in enumerate(self.rollouts.rounds(), start=1):
            self.after_round(number)
            lessons += played
        self._learn(lessons)
        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            self.weights.share()
        self.end_iteration()

    def _learn(self, lessons: list[Lesson]) -> None:
        schedule, config = self._schedule, self.config
        for lesson in lessons:
            self.seen.include(lesson.seen)
        step_size, share = schedule.step_size, schedule.averaging_share
        rate = schedule.falling(config.actor_lr, config.last_actor_lr)
        self.on_learners(lambda learner: learner.begin_improvement(step_size, rate, share))
        self.learn_from(training_data(lessons, is_here=not (self.rollouts.are_remote or config.num_learners)))
        self.metrics.log_value("step_size", step_size, window=1)
        schedule.iteration += 1


def training_data(lessons: Sequence[Lesson], *, is_here: bool) -> TrainingData:
    """Lessons as learners take them.

    Args:
        lessons: Lessons of an iteration.
        is_here: Whether they hold their tables themselves, not references to each learner's part.
    """
    of_learners = [table for tables in zip(*(lesson.tables for lesson in lessons), strict=True) for table in tables]
    # RLlib cuts a list of references into equal pieces, the first one for the first learner.
    return TrainingData(episodes=of_learners) if is_here else TrainingData(episodes_refs=of_learners)


class StartingPoint:
    """What a run started from.

    Attributes:
        weights: Weights of the module by name; None: it began anew.
    """

    def __init__(self) -> None:
        self.weights: dict[str, NDArray[Any]] | None = None

    def get_state(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {"weights": self.weights}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.weights = state["weights"]


def _judged(runner: Any, actors: list[NDArray[np.float32]]) -> list[float]:
    losses: list[float] = runner.judged(actors, JUDGED_EPISODES)
    return losses


def _trained_for(runner: Any) -> dict[str, Any]:
    told: dict[str, Any] = runner.trained_for()
    return told

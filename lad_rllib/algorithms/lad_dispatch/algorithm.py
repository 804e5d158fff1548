"""LAD-Dispatch: where to send each request as it comes, learned by policy mirror descent, as an RLlib algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray.rllib.utils.metrics import SYNCH_WORKER_WEIGHTS_TIMER, TIMERS

from lad_rllib.algorithms.common.base_algorithm import SchedulingAlgorithm
from lad_rllib.algorithms.common.base_config import SchedulingConfig, check
from lad_rllib.algorithms.common.mirror_descent import ImprovementSchedule
from lad_rllib.algorithms.lad_dispatch.environment import check_environment
from lad_rllib.algorithms.lad_dispatch.familiar import SeenRange
from lad_rllib.algorithms.lad_dispatch.features import COLUMNS as DECISION_COLUMNS
from lad_rllib.algorithms.lad_dispatch.hyperparameters import LADDispatchHyperparameters
from lad_rllib.algorithms.lad_dispatch.improvement import stacked
from lad_rllib.algorithms.lad_dispatch.learner import LADDispatchTorchLearner
from lad_rllib.algorithms.lad_dispatch.rl_module import LADDispatchTorchRLModule
from lad_rllib.simulator.sizes import FLOAT32

if TYPE_CHECKING:
    from lad_rllib.algorithms.common.policy_file import SavedPolicy
    from lad_rllib.algorithms.lad_dispatch.env_runner import Lesson


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
        from lad_rllib.algorithms.lad_dispatch.policy import SavedDispatchPolicy

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
        self.learning_state |= {"schedule": self._schedule, "seen": self.seen}
        runners, remote = self.env_runner_group, self.rollouts.are_remote
        self.trained_for: dict[str, Any] = runners.foreach_env_runner(_trained_for, local_env_runner=not remote)[0]

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
        columns = stacked([lesson.table for lesson in lessons])
        self.seen.widen(columns["tokens"], columns["share"])
        step_size, share = schedule.step_size, schedule.averaging_share
        rate = schedule.falling(config.actor_lr, config.last_actor_lr)
        self.on_learners(lambda learner: learner.begin_improvement(step_size, rate, share))
        self.update_learners(columns, len(columns["share"]))
        self.metrics.log_value("step_size", step_size, window=1)
        schedule.iteration += 1


def _trained_for(runner: Any) -> dict[str, Any]:
    told: dict[str, Any] = runner.trained_for()
    return told

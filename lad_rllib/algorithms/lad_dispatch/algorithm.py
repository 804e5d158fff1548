"""LAD-Dispatch: where to send each request as it comes, learned by policy mirror descent, as an RLlib algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from pydantic import Field, model_validator
from ray.rllib.utils.metrics import SYNCH_WORKER_WEIGHTS_TIMER, TIMERS

from lad_rllib.algorithms.common.base_algorithm import SchedulingAlgorithm
from lad_rllib.algorithms.common.base_config import SchedulingConfig, check
from lad_rllib.algorithms.common.hyperparameters import MAX_RATE, WHOLE, Count, LearningHyperparameters, Positive
from lad_rllib.algorithms.common.mirror_descent import ImprovementSchedule
from lad_rllib.algorithms.common.task_loss import check_task_loss
from lad_rllib.algorithms.lad_dispatch.environment import check_environment
from lad_rllib.algorithms.lad_dispatch.features import COLUMNS as DECISION_COLUMNS
from lad_rllib.algorithms.lad_dispatch.learner import LADDispatchTorchLearner
from lad_rllib.algorithms.lad_dispatch.networks import ActorSettings
from lad_rllib.algorithms.lad_dispatch.rl_module import LADDispatchTorchRLModule
from lad_rllib.simulator.sizes import FLOAT32

if TYPE_CHECKING:
    from lad_rllib.algorithms.common.policy_file import SavedPolicy
    from lad_rllib.algorithms.lad_dispatch.env_runner import Lesson


class LADDispatchHyperparameters(ActorSettings, LearningHyperparameters):
    """What LAD-Dispatch has: an actor that scores servers, and policy mirror descent."""

    sampled_requests: Count = 4000
    """Requests of an episode whose costs are computed and learned from."""
    updates_per_iteration: Annotated[int, Field(ge=1, le=100_000), WHOLE] = 60
    """Gradient steps for each iteration."""
    train_batch_size_per_learner: Annotated[int, Field(ge=1, le=10**7), WHOLE] = 256
    """Requests in a gradient step, for each learner."""
    actor_lr: Annotated[float, Field(gt=0, le=MAX_RATE)] = 3e-3
    """First learning rate."""
    last_actor_lr: Annotated[float, Field(gt=0, le=MAX_RATE)] = 1e-3
    """Learning rate from step_size_iterations on; until then it falls geometrically."""
    step_size: Positive = 8.0
    """First step size of mirror descent, over the policy's mean cost."""
    last_step_size: Positive = 0.5
    """Step size from step_size_iterations on; until then it falls geometrically."""
    step_size_iterations: Count = 60
    """Iterations over which step size and learning rate fall."""
    grad_clip: Positive | None = 1.0
    """Limit of the gradient's norm; null: no limit."""
    discount: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Weight of another request's delay for each second that it comes later; 1 counts an episode to its end."""
    temperature: Positive = 1.0
    """What logits are divided by before a server is drawn, while it learns."""
    penalty: dict[str, Any] | None = None
    """Loss of a request by its delay, as name and fields of lad_rllib.simulator.make_penalty, such as {name: tail,
    threshold_s: 14, strength: 4} or {name: deadline-miss, deadline_s: 5}; null: the delay itself."""
    bounded_percentile: Annotated[float, Field(gt=0, lt=100)] | None = None
    """Percentile of the delays to keep below percentile_bound_s, for example 99; null: no bound."""
    percentile_bound_s: Positive | None = None
    """Its bound [s]. Each env runner weighs it by the delays of its own episodes (metric loss_strength)."""
    averaging_exponent: Annotated[float, Field(ge=0)] | None = 8.0
    """The actor that is evaluated and deployed is the mean of the actors of all iterations, the k-th weighted with
    about k ** averaging_exponent (8: the last ninth, roughly); null: the last one."""

    @model_validator(mode="after")
    def _one_loss(self) -> Self:
        check_task_loss(self.penalty, self.bounded_percentile, self.percentile_bound_s)
        return self


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
        trained_for: Setting, order of service and knowledge of work that it learns with, for its policy file.
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
        self.learning_state["schedule"] = self._schedule
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
        columns = {
            name: np.concatenate([getattr(lesson.table, name) for lesson in lessons])
            for name in ("tokens", "share", "start", "logits", "advantage")
        }
        step_size, share = schedule.step_size, schedule.averaging_share
        rate = schedule.falling(config.actor_lr, config.last_actor_lr)
        self.on_learners(lambda learner: learner.begin_improvement(step_size, rate, share))
        self.update_learners(columns, len(columns["share"]))
        self.metrics.log_value("step_size", step_size, window=1)
        schedule.iteration += 1


def _trained_for(runner: Any) -> dict[str, Any]:
    told: dict[str, Any] = runner.trained_for()
    return told

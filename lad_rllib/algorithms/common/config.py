"""Configuration that all algorithms of a fleet in slots share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from lad_rllib.algorithms.common.base_config import SchedulingConfig, check
from lad_rllib.algorithms.common.environment import check_environment
from lad_rllib.algorithms.common.hyperparameters import Hyperparameters, LearningHyperparameters
from lad_rllib.algorithms.common.meaning import QUEUE_UNIT
from lad_rllib.algorithms.common.rl_module import FleetTorchRLModule
from lad_rllib.simulator.sizes import Learner

if TYPE_CHECKING:
    from lad_rllib.algorithms.common.policy_file import SavedPolicy


class FleetConfig(SchedulingConfig):
    """Configures a :class:`~lad_rllib.algorithms.common.algorithm.FleetAlgorithm`.

    A sibling names itself, declares its hyperparameters, and gives its module, its learner and, if they differ, its env
    runner.
    """

    hyperparameters: ClassVar[type[LearningHyperparameters]] = Hyperparameters
    module_base = FleetTorchRLModule
    vectorize_mode = "vector_entry_point"
    latent_index: Literal["station_task", "station_slot_task"] = "station_task"
    """What a latent action belongs to; a hyperparameter of the algorithms that remember any."""

    hidden_sizes: tuple[int, ...]

    @classmethod
    def default_env_runner_class(cls) -> type:
        """Env runner of the algorithm; a user's own must inherit from it."""
        from lad_rllib.algorithms.common.env_runner import FleetEnvRunner

        return FleetEnvRunner

    @classmethod
    def saved_policy_class(cls) -> type[SavedPolicy]:
        """Form of its trained policies on disk."""
        from lad_rllib.algorithms.common.fleet_policy import SavedFleetPolicy

        return SavedFleetPolicy

    @property
    def stores_latent_after_acting(self) -> bool:
        """Whether the replay buffer holds the actor's own output as latent action, not what it started from."""
        return False

    def meaning(self) -> dict[str, Any]:
        """See :meth:`SchedulingConfig.meaning`; with the unit of the queues."""
        return super().meaning() | {QUEUE_UNIT: self.env_config.get(QUEUE_UNIT, "gcycles")}

    def latent_size(self, num_servers: int) -> int:
        """Length of the latent actions that are remembered and replayed; 0 if the actor starts from none."""
        return 0

    def memory_use(self, num_stations: int, num_servers: int) -> Learner:
        """What the memory of training depends on, for a number of stations and servers."""
        return Learner(
            hidden_sizes=self.hidden_sizes,
            agents=num_stations,
            latent_size=self.latent_size(num_servers),
            latent_by_slot=self.latent_index == "station_slot_task",
            replay_capacity=0,
            batch=0,
        )

    def get_rollout_fragment_length(self, worker_index: int = 0) -> int | None:
        """Slots between weight updates: one for a local runner; a whole episode (None) for remote ones."""
        if self.rollout_fragment_length == "auto":
            return 1 if self.num_env_runners == 0 else None
        return int(self.rollout_fragment_length)

    def check_environment(self) -> None:
        """See :meth:`SchedulingConfig.check_environment`."""
        check_environment(self.title, self.env)

    def validate(self) -> None:
        """See :meth:`SchedulingConfig.validate`."""
        super().validate()
        if self.max_staleness and not self.in_evaluation:  # where RLlib sets another
            fragment = self.rollout_fragment_length
            check(
                fragment == "auto",
                "rollout_fragment_length",
                fragment,
                f"'auto' with max_staleness {self.max_staleness}",
            )
        if self.queue_unit is not None:
            self.env_config: dict[str, Any] = {"queue_unit": self.queue_unit, **self.env_config}
            unit = self.env_config["queue_unit"]
            check(unit == self.queue_unit, "env_config['queue_unit']", unit, f"{self.queue_unit!r} for {self.title}")

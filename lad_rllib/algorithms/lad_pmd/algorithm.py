"""LAD-PMD: latent action diffusion, learned by policy mirror descent on exact marginal costs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES

from lad_rllib import names
from lad_rllib.algorithms.common.algorithm import FleetAlgorithm
from lad_rllib.algorithms.common.base_config import check
from lad_rllib.algorithms.common.config import FleetConfig
from lad_rllib.algorithms.common.latent_memory import for_tasks
from lad_rllib.algorithms.common.mirror_descent import ImprovementSchedule
from lad_rllib.algorithms.common.rl_module import FleetTorchRLModule
from lad_rllib.algorithms.lad_pmd.hyperparameters import LADPMDHyperparameters
from lad_rllib.algorithms.lad_pmd.improvement import improvement_table, task_scale
from lad_rllib.algorithms.lad_pmd.learner import LADPMDTorchLearner
from lad_rllib.algorithms.lad_pmd.networks import LADPMDNetworks, latent_size
from lad_rllib.simulator.sizes import Learner


class LADPMDTorchRLModule(FleetTorchRLModule):
    """RLModule around :class:`LADPMDNetworks`; capacities come from the observation space."""

    networks_class = LADPMDNetworks
    networks: LADPMDNetworks

    def setup(self) -> None:
        """Build the networks."""
        super().setup()
        capacities = torch.tensor(self.observation_space[names.CAPACITIES].low)  # Ray's arrays are read-only
        for actor in self.networks.actors():
            actor.set_capacities(capacities)


class LADPMDConfig(FleetConfig):
    """Configures :class:`LADPMD`.

    It needs queues in slots of waiting time (``env_config`` ``queue_unit="slots"``, filled in if not given), and an
    environment that tells marginal costs.
    """

    name = "lad-pmd"
    title = "LAD-PMD"
    hyperparameters = LADPMDHyperparameters
    module_class = LADPMDTorchRLModule
    queue_unit = "slots"

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or LADPMD)

    @classmethod
    def default_env_runner_class(cls) -> type:
        """Env runner of the algorithm; a user's own must inherit from it."""
        from lad_rllib.algorithms.lad_pmd.env_runner import LADPMDEnvRunner

        return LADPMDEnvRunner

    def get_default_learner_class(self) -> type:
        """Learner of the algorithm."""
        return LADPMDTorchLearner

    def latent_size(self, num_servers: int) -> int:
        """See :func:`~lad_rllib.algorithms.lad_pmd.networks.latent_size`."""
        return latent_size(self.latent_start, num_servers)

    def memory_use(self, num_stations: int, num_servers: int) -> Learner:
        """See :meth:`FleetConfig.memory_use`; one network may serve all stations."""
        learner = super().memory_use(num_stations, num_servers)
        return dataclasses.replace(learner, agents=1) if self.shared_actor else learner

    def get_rollout_fragment_length(self, worker_index: int = 0) -> int | None:
        """Whole episodes (None): costs are known of those only."""
        return None

    def validate(self) -> None:
        """See :meth:`FleetConfig.validate`."""
        super().validate()
        if not self.in_evaluation:  # where RLlib sets another
            fragment = self.rollout_fragment_length
            check(fragment == "auto", "rollout_fragment_length", fragment, f"'auto' for {self.title}")


class LADPMD(FleetAlgorithm):
    """Learns where to send each task for the delay of all tasks, by policy mirror descent.

    After whole episodes, all actors take a step towards the probabilities that mirror descent gives from the exact
    marginal costs of the played tasks.
    """

    config: LADPMDConfig

    @classmethod
    def get_default_config(cls) -> LADPMDConfig:
        """The settings of the published results."""
        return LADPMDConfig(algo_class=cls)

    def setup(self, config: LADPMDConfig) -> None:
        """Build runners and learners."""
        super().setup(config)
        self._schedule = ImprovementSchedule(
            self.config.step_size,
            self.config.last_step_size,
            self.config.step_size_iterations,
            self.config.averaging_exponent,
        )
        self.learning_state["schedule"] = self._schedule

    def learn(self, samples: list[Any]) -> None:
        """One step of mirror descent from the costs of whole episodes, learned in minibatches."""
        if not samples:
            return
        self._table = improvement_table(samples, self._schedule.step_size)
        if not self._table.counts.any():
            return
        scale, share = task_scale(self._table), self._schedule.averaging_share
        self.on_learners(lambda learner: learner.begin_improvement(scale))
        self._schedule.iteration += 1
        super().learn(samples)
        self.on_learners(lambda learner: learner.end_improvement(share))

    def draw_batch(self) -> tuple[dict[str, Any], NDArray[np.bool_]]:
        """Tasks of the played episodes."""
        batch = self._table.sample(self.config.total_train_batch_size, self.sampling_rng)
        return batch, self._table.counts > 0

    def adapt_weights(self, weights: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Capacities stay the environment's own; the mean actor learns on; starts are those of the tasks here."""
        weights = {key: value for key, value in weights.items() if not key.endswith(".log_capacity")}
        for key in [key for key in weights if key.startswith("networks.average.")]:
            for actor in ("networks.actor.", "networks.previous."):
                weights[key.replace("networks.average.", actor)] = weights[key]
        num_tasks = self.spaces[INPUT_ENV_SINGLE_SPACES][0][names.TASKS].shape[1]
        for key in [key for key in weights if key.endswith(".starts")]:
            weights[key] = for_tasks(weights[key], num_tasks, axis=1)
        return weights

"""Discrete soft actor-critic with twin critics for every base station: settings, learner and algorithm."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ray.rllib.env import INPUT_ENV_SINGLE_SPACES
from torch import Tensor

from lad_rllib import names
from lad_rllib.algorithms.common.hyperparameters import Hyperparameters
from lad_rllib.algorithms.common.learner import FleetTorchLearner
from lad_rllib.algorithms.common.off_policy import OffPolicyAlgorithm, OffPolicyConfig
from lad_rllib.algorithms.soft_actor_critic.hyperparameters import PRESETS, SoftActorCriticHyperparameters
from lad_rllib.algorithms.soft_actor_critic.networks import update_stations
from lad_rllib.errors import ConfigurationError


class SoftActorCriticConfig(OffPolicyConfig):
    """Configures a :class:`SoftActorCritic`."""

    hyperparameters: ClassVar[type[Hyperparameters]] = SoftActorCriticHyperparameters
    presets = PRESETS

    def get_default_learner_class(self) -> type:
        """Learner of the algorithm."""
        return SoftActorCriticTorchLearner

    def resolved_target_entropy(self, num_servers: int) -> float:
        """Target entropy [nat] for a number of servers."""
        return 0.5 * math.log(num_servers) if self.target_entropy == "auto" else float(self.target_entropy)

    def check_target_entropy(self, num_servers: int) -> None:
        """Refuse a target that no policy over so many servers can have: the temperature would grow without bound.

        Raises:
            ConfigurationError: names the greatest entropy.
        """
        target, greatest = self.resolved_target_entropy(num_servers), math.log(num_servers)
        if target > greatest:
            raise ConfigurationError(
                f"target_entropy must be at most log({num_servers}) = {greatest:.3f}, the entropy of a uniform choice "
                f"among {num_servers} edge servers, got {target:g}"
            )


class SoftActorCriticTorchLearner(FleetTorchLearner):
    """Critic, actor, temperature and target step of every station."""

    def update_networks(self, networks: Any, batch: dict[str, Tensor], ready: Tensor | None) -> dict[str, Tensor]:
        """One update of all stations, see :func:`update_stations`."""
        samples = batch["reward"].shape[-1]
        return update_stations(
            networks,
            batch,
            networks.draw_noise(samples, self.noise_generator),
            networks.draw_noise(samples, self.noise_generator),
            lambda name, gradients: self.take_step(gradients, {name: ready}),
            gamma=self.config.gamma,
            tau=self.config.tau,
            target_entropy=self.config.resolved_target_entropy(networks.num_servers),
        )


class SoftActorCritic(OffPolicyAlgorithm):
    """Each base station learns by soft actor-critic from its own delays."""

    config: SoftActorCriticConfig

    def setup(self, config: SoftActorCriticConfig) -> None:
        """Build runners, learners and replay buffers."""
        super().setup(config)
        space, _ = self.spaces[INPUT_ENV_SINGLE_SPACES]
        self.config.check_target_entropy(space[names.QUEUES].shape[0])

"""What algorithms that learn from replayed transitions share: their settings, and the buffer that feeds updates."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES

from lad_rllib import names
from lad_rllib.algorithms.common.algorithm import FleetAlgorithm
from lad_rllib.algorithms.common.config import FleetConfig
from lad_rllib.algorithms.common.hyperparameters import REPLAY_PRESETS, Hyperparameters, ReplayHyperparameters
from lad_rllib.algorithms.common.replay_buffer import FleetReplayBuffer, SlotSample
from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator.sizes import Learner


class OffPolicyConfig(FleetConfig):
    """Configures an :class:`OffPolicyAlgorithm`."""

    hyperparameters: ClassVar[type[Hyperparameters]] = ReplayHyperparameters
    presets = REPLAY_PRESETS

    def memory_use(self, num_stations: int, num_servers: int) -> Learner:
        """See :meth:`FleetConfig.memory_use`."""
        learner = super().memory_use(num_stations, num_servers)
        batch = self.train_batch_size_per_learner
        return dataclasses.replace(learner, replay_capacity=self.replay_capacity, batch=batch)

    def validate(self) -> None:
        """See :meth:`FleetConfig.validate`."""
        super().validate()
        total_batch = self.total_train_batch_size
        if total_batch > self.replay_capacity:
            raise ConfigurationError(
                f"a batch of {total_batch} transitions does not fit into replay_capacity {self.replay_capacity}; "
                "lower train_batch_size_per_learner or raise replay_capacity"
            )
        if not total_batch - 1 <= self.learning_starts < self.replay_capacity:
            raise ConfigurationError(
                f"learning_starts {self.learning_starts} must be at least {total_batch - 1}, the batch of all learners "
                f"less one, and below replay_capacity {self.replay_capacity}"
            )


class OffPolicyAlgorithm(FleetAlgorithm):
    """Learns from transitions that each station replays.

    With a local environment runner, weights move on after every slot, as in the published code; with remote ones after
    every ``rollout_fragment_length`` slots ("auto": an episode). The algorithm owns the replay buffers.
    """

    config: OffPolicyConfig

    def setup(self, config: OffPolicyConfig) -> None:
        """Build runners, learners and replay buffers."""
        super().setup(config)
        space, _ = self.spaces[INPUT_ENV_SINGLE_SPACES]
        servers = space[names.QUEUES].shape[0]
        self.replay_buffer = FleetReplayBuffer(
            num_stations=space[names.TASKS].shape[0],
            num_servers=servers,
            capacity=self.config.replay_capacity,
            latent_size=self.config.latent_size(servers),
            latent_after_acting=self.config.stores_latent_after_acting,
            zero_next_queues=self.config.replay_next_queues == "zeros",
            kernels=self.config.kernels,
        )
        self.learning_state["replay_buffer"] = self.replay_buffer

    def store(self, sample: SlotSample) -> None:
        """Turn the slot into transitions."""
        self.replay_buffer.add(sample)

    def draw_batch(self) -> tuple[dict[str, Any], NDArray[np.bool_]] | None:
        """Transitions of every station; those that hold too few are not ready."""
        ready = self.replay_buffer.size > self.config.learning_starts
        if not ready.any():
            return None
        return self.replay_buffer.sample(self.config.total_train_batch_size, self.sampling_rng), ready

    def log_iteration(self) -> None:
        """Log how many transitions a station holds."""
        self.metrics.log_value("replay_buffer_size", float(self.replay_buffer.size.mean()), window=1)

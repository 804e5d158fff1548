"""Learner of LAD-Dispatch: gradient steps towards the policy that mirror descent steps to."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import Tensor

from lad_rllib.algorithms.common.base_learner import SchedulingTorchLearner
from lad_rllib.algorithms.lad_dispatch.improvement import (
    LOGGED,
    apply_gradients,
    improvement_step,
    present_logits,
    stacked,
)


class LADDispatchTorchLearner(SchedulingTorchLearner):
    """Learns an iteration's decisions in minibatches; several learners share each of them.

    It takes tables of decisions, or references to them, which it fetches from the runners that played; those of runners
    that have died meanwhile are left out. Where runners may have played with older weights (``max_staleness``), mirror
    descent steps from what the present actor decides on the same tokens, not from what the older one decided.
    """

    def build(self) -> None:
        """Build module and optimiser."""
        super().build()
        self._step_size = self._share = 0.0

    def begin_improvement(self, step_size: float, rate: float, share: float) -> None:
        """What the next update is to do.

        Args:
            step_size: Step size of mirror descent.
            rate: Learning rate.
            share: Share of the new actor in the mean actor, in (0, 1].
        """
        self._step_size, self._share = step_size, share
        self._optimizer_lr_schedules[self.get_optimizer(DEFAULT_MODULE_ID, "actor")] = Scheduler(rate)

    def _make_batch_if_necessary(self, training_data: TrainingData) -> MultiAgentBatch:
        columns = {
            name: torch.from_numpy(np.require(values, requirements="W")).to(self.device)
            for name, values in stacked(training_data.episodes).items()
        }
        batch = SampleBatch(columns)
        return MultiAgentBatch({DEFAULT_MODULE_ID: batch}, env_steps=len(columns["share"]))

    def take_update(self, networks: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """All gradient steps of an iteration, on this learner's rows of its decisions."""
        config, optimizer = self.config, self.get_optimizer(DEFAULT_MODULE_ID, "actor")
        if not len(batch["share"]):
            self._follow(networks)
            return {}
        if config.num_env_runners and config.max_staleness:
            batch = {**batch, "logits": present_logits(networks.actor, batch)}
        steps = [
            improvement_step(
                networks.actor,
                optimizer,
                [self._minibatch(batch)],
                self._step_size,
                config.grad_clip,
                self.averaged,
            )
            for _ in range(config.updates_per_iteration)
        ]
        self._average(networks)
        return {name: torch.tensor([step[name] for step in steps]) for name in LOGGED}

    def _follow(self, networks: Any) -> None:
        """Take the steps of the other learners: nothing is left of this one's part, as the runners have died."""
        if self.config.num_learners > 1:
            optimizer = self.get_optimizer(DEFAULT_MODULE_ID, "actor")
            for _ in range(self.config.updates_per_iteration):
                nothing = [torch.zeros_like(parameter) for parameter in networks.actor.parameters()]
                apply_gradients(networks.actor, optimizer, self.averaged(nothing), self.config.grad_clip)
            self._average(networks)

    @torch.no_grad()
    def _average(self, networks: Any) -> None:
        networks.average.weights.lerp_(networks.actor.weights, self._share)

    def _minibatch(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rows drawn with replacement."""
        rows, device = len(batch["share"]), batch["share"].device
        size = (self.config.train_batch_size_per_learner,)
        index = torch.randint(rows, size, generator=self.noise_generator).to(device)
        return {name: column[index] for name, column in batch.items()}

"""Learner of LAD-Dispatch: gradient steps towards the policy that mirror descent steps to."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import Tensor

from lad_rllib.algorithms.common.base_learner import SchedulingTorchLearner
from lad_rllib.algorithms.lad_dispatch.improvement import LOGGED, improvement_step


class LADDispatchTorchLearner(SchedulingTorchLearner):
    """Learns an iteration's decisions in minibatches; several learners share each of them."""

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

    def take_update(self, networks: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """All gradient steps of an iteration, on this learner's rows of its decisions."""
        optimizer = self.get_optimizer(DEFAULT_MODULE_ID, "actor")
        steps = [
            improvement_step(
                networks.actor,
                optimizer,
                [self._minibatch(batch)],
                self._step_size,
                self.config.grad_clip,
                self.averaged,
            )
            for _ in range(self.config.updates_per_iteration)
        ]
        with torch.no_grad():
            networks.average.weights.lerp_(networks.actor.weights, self._share)
        return {name: torch.tensor([step[name] for step in steps]) for name in LOGGED}

    def _minibatch(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        rows, device = len(batch["share"]), batch["share"].device
        size = (self.config.train_batch_size_per_learner,)
        index = torch.randint(rows, size, generator=self.noise_generator).to(device)
        return {name: column[index] for name, column in batch.items()}

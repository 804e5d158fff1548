"""Learner that all algorithms share: its optimisers, its noise, what it reports, and what it saves."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from torch import Tensor

DIVERGED = 1e15
"""Greatest magnitude of a loss or weight; delays are seconds, so that larger values are of no use."""
NUM_UPDATES = "num_updates"
ENTROPY = "entropy"


class SchedulingTorchLearner(TorchLearner):
    """Takes an algorithm's gradient steps; a sibling says which, in :meth:`take_update`.

    RLlib shards axis 0 of a batch over learners. Several learners start from the first one's weights, and average the
    gradients of each of an update's steps, so that they stay equal. The noise of update ``k`` depends on the seed, the
    learner's index and ``k`` alone.
    """

    def build(self) -> None:
        """Build module and optimisers, and start the count of updates."""
        torch.set_num_threads(self.config.torch_threads)
        self._num_updates = 0
        self._diagnostics: dict[str, Tensor] = {}
        self.noise_generator = torch.Generator()
        self._entropy = int(np.random.SeedSequence(self.config.seed).generate_state(1)[0])
        super().build()

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Register the optimisers of the networks' groups of parameters."""
        config = config or self.config
        networks = self._module[module_id].networks
        for name, optimizer in networks.optimizers().items():
            self.register_optimizer(
                module_id=module_id,
                optimizer_name=name,
                optimizer=optimizer,
                params=optimizer.param_groups[0]["params"],
                lr_or_lr_schedule=getattr(config, f"{name}_lr"),
            )

    def _make_modules_ddp_if_necessary(self) -> None:
        """No wrapper: gradients are averaged by hand, between steps that depend on each other."""
        if self.config.num_learners > 1:
            # Without a seed each learner has drawn one of its own, and other initial weights.
            entropy = torch.tensor(self._entropy)
            for tensor in (entropy, *self._module[DEFAULT_MODULE_ID].state_dict().values()):
                first = tensor.contiguous()
                torch.distributed.broadcast(first, 0)
                tensor.copy_(first)
            self._entropy = int(entropy)

    def compute_loss_for_module(self, *, module_id: str, config: Any, batch: Any, fwd_out: Any) -> Tensor:
        """There is no single loss: steps follow one another. Override ``take_update`` instead."""
        raise TypeError(f"{type(self).__name__} takes its gradient steps one after the other; it has no single loss")

    def _uncompiled_update(self, batch: dict[str, Any], **kwargs: Any) -> tuple[dict, dict[str, Tensor], dict]:
        index = getattr(self, "_learner_index", None) or 0
        seed = np.random.SeedSequence([self._entropy, index, self._num_updates]).generate_state(1, np.uint64)[0]
        self.noise_generator.manual_seed(int(seed))
        self._num_updates += 1
        self._diagnostics = self.take_update(self._module[DEFAULT_MODULE_ID].networks, batch[DEFAULT_MODULE_ID])
        return {}, {}, {}

    def take_update(self, networks: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Take the gradient steps of one update.

        Args:
            networks: The module's networks.
            batch: This learner's rows of each column.

        Returns:
            Diagnostics without gradient, by name.
        """
        raise NotImplementedError

    def averaged(self, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        """Mean gradients of all learners."""
        learners = self.config.num_learners
        return _average_over_learners(gradients, learners) if learners > 1 else gradients

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Set the learning rates for this update; a restored optimiser brings those of the run it was saved in."""
        super().before_gradient_based_update(timesteps=timesteps)
        for optimizer, schedule in self._optimizer_lr_schedules.items():
            rate = schedule.update(timestep=timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0))
            self._set_optimizer_lr(optimizer, lr=rate)

    def not_finite(self) -> str | None:
        """Name of a loss or weight that has diverged, see :data:`DIVERGED`; None if none has."""
        for key, value in self._diagnostics.items():
            if not _is_bounded(self.of_updated(value)):
                return key
        for name, weights in self._module[DEFAULT_MODULE_ID].state_dict().items():
            if weights.is_floating_point() and not _is_bounded(weights):
                return name
        return None

    def reduce_metrics(self) -> dict[str, Any]:
        """Metrics since the last call, with the last update's diagnostics averaged over what it updated."""
        self._log_trainable_parameters()
        means = {key: float(self.of_updated(value).mean()) for key, value in self._diagnostics.items()}
        if means:
            means[self.TOTAL_LOSS_KEY] = sum(mean for key, mean in means.items() if key.endswith("_loss"))
        for key, mean in means.items():
            self.metrics.log_value((DEFAULT_MODULE_ID, key), mean, window=1)
        return self.metrics.reduce()

    def of_updated(self, value: Tensor) -> Tensor:
        """The part of a diagnostic that belongs to what was updated."""
        return value

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """State of the base class, and seed and count of updates, on which the noise depends."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        state[NUM_UPDATES], state[ENTROPY] = self._num_updates, self._entropy
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over a state, also an older one than the present."""
        self._weights_seq_no = 0  # or else the base class keeps weights that are newer than the state's
        super().set_state(state)
        self._num_updates = state.get(NUM_UPDATES, self._num_updates)
        self._entropy = state.get(ENTROPY, self._entropy)


def _is_bounded(values: Tensor) -> bool:
    return bool((values.abs() <= DIVERGED).all())  # false for not-a-number, too


def _average_over_learners(gradients: Sequence[Tensor], num_learners: int) -> list[Tensor]:
    """Mean gradients of all learners, in one message."""
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    torch.distributed.all_reduce(flat)
    parts = (flat / num_learners).split([gradient.numel() for gradient in gradients])
    return [part.view(gradient.shape) for part, gradient in zip(parts, gradients, strict=True)]

"""Learner of a fleet: one update of all base stations at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from torch import Tensor

from lad_rllib.algorithms.common.agentwise_adam import AgentwiseAdam
from lad_rllib.algorithms.common.base_learner import SchedulingTorchLearner

READY = "ready"
"""Batch column: stations that take part in the update, bool, shape (M, B), the same in every row."""


class FleetTorchLearner(SchedulingTorchLearner):
    """Takes an algorithm's gradient steps; a sibling says which, in :meth:`update_networks`.

    A batch has the leading axes (sample, station), since RLlib shards axis 0 over learners.
    """

    def build(self) -> None:
        """Build module and optimisers."""
        self._active: Tensor | None = None
        super().build()

    def take_update(self, networks: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of the stations that are ready."""
        # (sample, station, ...) as RLlib shards it -> (station, ..., sample) as the networks compute.
        columns = {key: value.movedim(0, -1).contiguous() for key, value in batch.items()}
        ready = columns[READY][:, 0]
        self._active = None if bool(ready.all()) else ready
        return self.update_networks(networks, columns, self._active)

    def update_networks(self, networks: Any, batch: dict[str, Tensor], ready: Tensor | None) -> dict[str, Tensor]:
        """One update of all stations.

        Args:
            networks: The module's networks.
            batch: Columns of :meth:`FleetAlgorithm.draw_batch`, shapes (B, features, M) or (B, M).
            ready: Stations that take part, bool (B,); None for all.

        Returns:
            Diagnostics without gradient: losses (B,), and means by name, shapes (B,), (B, M) or (2, B, A, M).
        """
        raise NotImplementedError

    def take_step(self, gradients: Sequence[Tensor], active: Mapping[str, Tensor | None]) -> None:
        """One step of some optimisers, each of the networks that are active; None for all of them.

        Args:
            gradients: Gradients of the parameters of all these optimisers, one after the other.
            active: Names of the optimisers.
        """
        optimizers: list[AgentwiseAdam] = [self.get_optimizer(DEFAULT_MODULE_ID, name) for name in active]
        groups = [optimizer.param_groups[0]["params"] for optimizer in optimizers]
        remaining = iter(self.averaged(gradients))
        for optimizer, group, networks in zip(optimizers, groups, active.values(), strict=True):
            own = list(islice(remaining, len(group)))
            if self.config.grad_clip is not None:
                own = clip_by_station(own, self.config.grad_clip, self.config.grad_clip_by)
            optimizer.set_active(networks)
            optimizer.apply_gradients(own)

    def of_updated(self, value: Tensor) -> Tensor:
        """The part of a diagnostic, shape (B,), (B, M) or (2, B, A, M), that belongs to the updated stations."""
        if self._active is None:
            return value
        return value[:, self._active] if value.ndim == 4 else value[self._active]


def clip_by_station(gradients: Sequence[Tensor], limit: float, by: str) -> list[Tensor]:
    """Clip gradients of stacked networks, shapes (networks, ...), each network's by itself.

    Args:
        gradients: Gradients of the parameters of one optimiser.
        limit: Greatest absolute value or norm.
        by: RLlib's ``grad_clip_by``: ``"value"``, ``"norm"`` of each parameter, or ``"global_norm"`` of all of them.
    """
    if by == "value":
        return [gradient.clamp(-limit, limit) for gradient in gradients]
    squares = [gradient.reshape(len(gradient), -1).square().sum(1) for gradient in gradients]
    if by == "global_norm":
        squares = [torch.stack(squares).sum(0)] * len(gradients)
    factors = [limit / square.sqrt().clamp(min=limit) for square in squares]
    return [g * factor.view(-1, *[1] * (g.ndim - 1)) for g, factor in zip(gradients, factors, strict=True)]

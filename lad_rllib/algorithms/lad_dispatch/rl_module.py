"""RLModule of LAD-Dispatch: the actor that plays while it learns, and the mean actor that is evaluated and deployed."""

from __future__ import annotations

import copy
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchCategorical
from torch import nn

from lad_rllib.algorithms.common.base_module import SchedulingTorchRLModule
from lad_rllib.algorithms.lad_dispatch.actor_settings import ActorSettings
from lad_rllib.algorithms.lad_dispatch.improvement import DOWN
from lad_rllib.algorithms.lad_dispatch.networks import ScoringActor
from lad_rllib.kernels import Kernels


class DispatchNetworks(nn.Module):
    """Networks that score the servers of any fleet.

    Args:
        seed: Seed of the initial weights; None draws one.
        kernels: What computes, see :func:`~lad_rllib.kernels.make_backend`.
        inference_only: Leave out what only training needs, which is nothing.
        settings: Fields of :class:`ActorSettings`.

    Attributes:
        actor: The actor that plays while it learns.
        average: Mean of the last iterations' actors.
    """

    not_for_inference: tuple[str, ...] = ()

    def __init__(
        self, seed: int | None = None, kernels: Kernels = "auto", inference_only: bool = False, **settings: Any
    ) -> None:
        super().__init__()
        self.actor = ScoringActor(ActorSettings(**settings), seed, kernels)
        self.average = copy.deepcopy(self.actor).requires_grad_(False)

    @property
    def evaluated_actor(self) -> ScoringActor:
        """The mean actor."""
        return self.average

    def inference_actors(self) -> list[nn.Module]:
        """Actors that environment runners need."""
        return [self.actor, self.average]

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimiser of the actor; ``actor_lr`` is its first learning rate."""
        return {"actor": torch.optim.Adam(self.actor.parameters(), lr=0.0, betas=(0.9, 0.99))}


class LADDispatchTorchRLModule(SchedulingTorchRLModule):
    """RLModule around :class:`DispatchNetworks`.

    Its batches are what decisions were made on: columns ``tokens``, ``share`` and ``start`` of a
    :class:`~lad_rllib.algorithms.lad_dispatch.improvement.DecisionTable`. Env runners do not call it: they hand its
    weights to a compiled rule, which also computes these columns.
    """

    networks_class = DispatchNetworks
    networks: DispatchNetworks

    def setup(self) -> None:
        """Build the networks; they fit any number of servers."""
        self.networks = self.networks_class(inference_only=self.inference_only, **self.model_config)

    def get_non_inference_attributes(self) -> list[str]:
        """What environment runners do not need: nothing."""
        return list(self.networks.not_for_inference)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._scored(self.networks.actor, batch)

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._scored(self.networks.evaluated_actor, batch)

    def _scored(self, actor: ScoringActor, batch: dict[str, Any]) -> dict[str, Any]:
        """Logits of the servers, the least possible where one is not up."""
        logits = actor(batch["tokens"], batch["share"], batch["start"])
        return {Columns.ACTION_DIST_INPUTS: logits.masked_fill(batch["share"] <= 0, DOWN)}

    def get_inference_action_dist_cls(self) -> type[TorchCategorical]:
        """Distribution of the server."""
        return TorchCategorical

    get_exploration_action_dist_cls = get_inference_action_dist_cls
    get_train_action_dist_cls = get_inference_action_dist_cls

"""RLModule of a fleet: the networks of all base stations, stacked."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchDistribution
from torch import Tensor

from lad_rllib import names
from lad_rllib.algorithms.common.base_module import SchedulingTorchRLModule
from lad_rllib.algorithms.common.networks import ActingNetworks

LATENT = "latent"
"""Batch key of the latent actions (E, B, N, A) to start from; if it is missing, what a memory begins with."""
NOISE = "noise"
"""Batch key of the chain's fresh noise (I - 1, B, A, E * N); drawn if it is missing."""


class TorchServerChoice(TorchDistribution):
    """Independent categorical choices of a server for each task; parameters are logits (..., B, N, A)."""

    def __init__(self, logits: Tensor) -> None:
        self._logits = logits
        super().__init__()

    def _get_torch_distribution(self) -> torch.distributions.Distribution:
        return torch.distributions.Categorical(logits=self._logits)

    def logp(self, value: Tensor, **kwargs: Any) -> Tensor:
        """Log-probability of all choices of a slot together, shape (...)."""
        return super().logp(value, **kwargs).sum((-1, -2))

    def to_deterministic(self) -> TorchServerChoice:
        """The most probable servers, as a distribution that always yields them."""
        best = torch.zeros_like(self._logits).scatter_(-1, self._logits.argmax(-1, keepdim=True), 1.0)
        return TorchServerChoice(best.log())

    @staticmethod
    def required_input_dim(space: gym.Space, **kwargs: Any) -> int:
        """Number of logits of a slot."""
        return int(space.nvec.sum())  # type: ignore[attr-defined]

    @classmethod
    def from_logits(cls, logits: Tensor, **kwargs: Any) -> TorchServerChoice:
        """Build from logits (..., B, N, A)."""
        return cls(logits)


class FleetTorchRLModule(SchedulingTorchRLModule):
    """RLModule around an algorithm's networks; their sizes come from the spaces, the rest from ``model_config``.

    ``model_config`` holds the networks' keyword arguments, as the algorithm's configuration fills them in.
    """

    networks_class: type[ActingNetworks]

    def setup(self) -> None:
        """Build the networks; the initial weights depend on ``model_config["seed"]`` alone."""
        space = self.observation_space
        self.num_tasks = space[names.TASKS].shape[1]
        self.networks = self.networks_class.of_spaces(space, inference_only=self.inference_only, **self.model_config)

    def get_non_inference_attributes(self) -> list[str]:
        """What environment runners do not need."""
        return [f"networks.{name}" for name in self.networks.not_for_inference]

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._forward(batch, evaluated=True)

    def _forward(self, batch: dict[str, Any], evaluated: bool = False, **kwargs: Any) -> dict[str, Any]:
        """Action logits; servers as well where each task's logits depend on where earlier tasks were sent.

        Those are the most probable ones in inference, as RLlib takes them, else drawn.
        """
        networks, observation = self.networks, batch[Columns.OBS]
        tasks, counts, queues = (observation[key] for key in (names.TASKS, names.TASK_COUNTS, names.QUEUES))
        latent, noise = batch.get(LATENT), batch.get(NOISE)
        if latent is None:
            latent = networks.some_latent(*tasks.shape[:3])
        if noise is None:
            noise = networks.draw_noise(tasks.shape[0] * tasks.shape[2])
        uniform = torch.rand(tasks.shape[:3]) if networks.decides_in_order and not evaluated else None
        decision = networks.decide(tasks, counts, queues, latent, noise, uniform, evaluated)
        outputs = {Columns.ACTION_DIST_INPUTS: decision.logits}
        if networks.decides_in_order:
            outputs[Columns.ACTIONS] = decision.servers
        return {key: value.to(tasks.device) for key, value in outputs.items()}

    def get_inference_action_dist_cls(self) -> type[TorchServerChoice]:
        """Distribution of the actions."""
        return TorchServerChoice

    get_exploration_action_dist_cls = get_inference_action_dist_cls
    get_train_action_dist_cls = get_inference_action_dist_cls

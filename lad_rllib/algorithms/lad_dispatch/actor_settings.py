"""What an actor of LAD-Dispatch is apart from its weights, and the rule that both make; needs no torch."""

from __future__ import annotations

import math
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lad_rllib.algorithms.lad_dispatch.features import NUM_FEATURES
from lad_rllib.algorithms.lad_dispatch.hyperparameters import ActorHyperparameters
from lad_rllib.algorithms.lad_dispatch.knowledge import Known
from lad_rllib.algorithms.lad_dispatch.rule import compiled_rule
from lad_rllib.diffusion.noise_schedule import reverse_steps
from lad_rllib.kernels.scoring_chain import ScoringShape
from lad_rllib.simulator.requests.play import CompiledRule


class ActorSettings(ActorHyperparameters):
    """What an actor is, apart from its weights, and what follows from it."""

    @classmethod
    def of(cls, hyperparameters: ActorHyperparameters) -> Self:
        """Those among an algorithm's hyperparameters."""
        if isinstance(hyperparameters, cls):
            return hyperparameters
        return cls(**{name: getattr(hyperparameters, name) for name in cls.model_fields})

    @property
    def shape(self) -> ScoringShape:
        """Sizes of the network; a plain one is a chain of one step that keeps nothing of its start."""
        start = self.hidden_size // 2 if self.latent_start == "learned" and self.policy_denoising_steps else 0
        return ScoringShape(NUM_FEATURES, self.hidden_size, max(self.policy_denoising_steps, 1), start)

    @property
    def scales(self) -> NDArray[np.float32]:
        """Factors of ``x_i`` and of the predicted noise in each denoising step, shape (I, 2)."""
        if not self.policy_denoising_steps:
            return np.array([[0.0, -1.0]], np.float32)
        steps = reverse_steps(self.policy_denoising_steps, self.beta_min, self.beta_max)
        return np.array([(step.x_scale, step.noise_prediction_scale) for step in steps], np.float32)

    @property
    def start_gain(self) -> float:
        """What the forward diffusion leaves of ``x_0``; the chain multiplies what it starts from by its inverse."""
        return math.exp(-(self.beta_min + self.beta_max) / 4)

    def rule(
        self,
        known: Known,
        weights: NDArray[np.float32],
        temperature: float = 0.0,
        recorded: bool = False,
        bounds: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    ) -> CompiledRule:
        """The compiled rule of weights, see :func:`~lad_rllib.algorithms.lad_dispatch.rule.compiled_rule`."""
        return compiled_rule(
            known,
            weights,
            prior_weight=self.prior_weight,
            temperature=temperature,
            kept=self.latent_decay if self.latent_start == "memory" else 0.0,
            gain=self.start_gain,
            hidden=self.hidden_size,
            start_hidden=self.shape.start,
            scales=self.scales,
            wait_cap=None if recorded else self.wait_cap,
            recorded=recorded,
            bounds=bounds,
        )

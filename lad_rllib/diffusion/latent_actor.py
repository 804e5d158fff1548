"""LADN, the latent action diffusion network: from a latent action and a state to action probabilities."""

from __future__ import annotations

import math
from dataclasses import astuple
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from lad_rllib.diffusion.noise_schedule import reverse_steps
from lad_rllib.diffusion.reference import TORCH, Chain, TorchBackend
from lad_rllib.diffusion.stacked import StackedMLP

EMBEDDING_SIZE = 16


def step_embedding(step_index: int, size: int = EMBEDDING_SIZE) -> Tensor:
    """Sinusoidal embedding of a denoising step: sines, then cosines, of geometrically spaced frequencies.

    Args:
        step_index: Step number, counted from 0.
        size: Number of values, even and at least 4.

    >>> step_embedding(0).tolist() == [0.0] * 8 + [1.0] * 8
    True
    """
    half = size // 2
    frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float32) / (half - 1))
    angles = step_index * frequencies
    return torch.cat([angles.sin(), angles.cos()])


class LatentActionActor(nn.Module):
    """Reverse diffusion that starts from a latent action instead of Gaussian noise, for G agents at once.

    For i = I ... 1 a denoiser predicts the noise in ``x_i`` from ``[x_i, embedding of i, state]``, and one reverse
    step removes it; action logits are ``x_0``. Source: section on LADN in arXiv 2412.18212.

    Args:
        num_agents: Number of agents G, each with own parameters.
        state_size: Length of an agent's state.
        num_actions: Number of actions A; also the length of a latent action.
        hidden_sizes: Widths of the denoiser's hidden layers.
        num_steps: Denoising steps I of the policy.
        denoiser_output: What the denoiser's last layer is: ``"softmax"`` (published code) or ``"linear"`` (paper).
        beta_min: Least noise rate of the schedule.
        beta_max: Greatest noise rate of the schedule.
        clip_denoised: Limit L to which each step clamps its estimate of ``x_0``, so that logits are in [-L, L], as
            implementations of DDPM do; None for no limit.
        generator: Randomness of the initial weights.
        backend: See :class:`StackedMLP`.
    """

    def __init__(
        self,
        num_agents: int,
        state_size: int,
        num_actions: int,
        hidden_sizes: tuple[int, ...] = (20, 20),
        num_steps: int = 5,
        denoiser_output: Literal["softmax", "linear"] = "softmax",
        beta_min: float = 0.1,
        beta_max: float = 10.0,
        clip_denoised: float | None = None,
        generator: torch.Generator | None = None,
        backend: TorchBackend = TORCH,
    ) -> None:
        super().__init__()
        self.steps = reverse_steps(num_steps, beta_min, beta_max)
        self.clip_denoised = clip_denoised
        self.softmax_output = denoiser_output == "softmax"
        sizes = (num_actions + EMBEDDING_SIZE + state_size, *hidden_sizes, num_actions)
        self.denoiser = StackedMLP(num_agents, sizes, generator, backend)
        embeddings = torch.stack([step_embedding(step.index - 1) for step in self.steps], dim=1)
        self.embeddings: Tensor
        self.register_buffer("embeddings", embeddings, persistent=False)
        self._factors = np.array([astuple(step)[3:] for step in self.steps])

    @property
    def chain(self) -> Chain:
        """What backends need to know of the chain besides the denoiser's weights."""
        limit = math.inf if self.clip_denoised is None else self.clip_denoised
        return Chain(self.denoiser.sizes, self.embeddings, self._factors, self.softmax_output, limit)

    @property
    def num_noise_draws(self) -> int:
        """Fresh-noise tensors that one pass uses: one for each step but the last."""
        return len(self.steps) - 1

    def forward(self, state: Tensor, latent: Tensor, noise: Tensor) -> Tensor:
        """Denoise latent actions into action logits ``x_0``, for M samples of each agent.

        Args:
            state: States, shape (G, state_size, M).
            latent: Latent actions ``x_I`` to start from, shape (G, A, M).
            noise: Standard normal noise in the order of the steps i = I ... 2, shape (I - 1, G, A, M); more
                entries (the published code draws one for i = 1, too, and multiplies it by 0) are ignored. Without any,
                shape (0, G, A, M), chains are deterministic.

        Returns:
            Logits, shape (G, A, M); the probabilities are their softmax over A.
        """
        denoiser, (latent, noise) = self.denoiser, self.start_and_noise(latent, noise)
        return denoiser.backend.chain(denoiser.weights, self.chain, (state, latent, noise))

    def value_gradient(
        self, state: Tensor, latent: Tensor, noise: Tensor, q_values: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """:func:`~lad_rllib.diffusion.reference.value_gradient` of what :meth:`forward` gives."""
        denoiser, (latent, noise) = self.denoiser, self.start_and_noise(latent, noise)
        samples = (state, latent, noise)
        return denoiser.backend.value_gradient_of_chain(denoiser.weights, self.chain, samples, q_values, temperature)

    def start_and_noise(self, latent: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """What chains start from, and the steps' noise, given what :meth:`forward` is."""
        return latent, noise

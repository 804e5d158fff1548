"""LADN, the latent action diffusion network: from a latent action and a state to action probabilities."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from lad_rllib.diffusion.noise_schedule import ReverseStep, reverse_steps
from lad_rllib.diffusion.stacked import StackedMLP
from lad_rllib.kernels import compiled

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


def clipped_mean(x: Tensor, eps: Tensor, step: ReverseStep, limit: float) -> Tensor:
    """Mean of a reverse step whose estimate of ``x_0`` is clamped to [-limit, limit], elementwise.

    Args:
        x: ``x_i``.
        eps: Predicted noise, same shape.
        step: Coefficients of step i.
        limit: Greatest magnitude of the estimate; also that of ``x_0`` itself, after the last step.
    """
    clean = (x * step.clean_x_scale).sub_(eps, alpha=step.clean_noise_scale).clamp(-limit, limit)
    return (x * step.mean_x_scale).add_(clean, alpha=step.mean_clean_scale)


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
        kernels: ``"torch"`` computes with torch's operations; ``"compiled"`` and ``"auto"`` with compiled kernels where
            they can (CPU, float32, layers up to 256 wide, no gradient by state or noise) and with torch elsewhere.
            ``"auto"`` does without them where numba is missing; ``"compiled"`` refuses.

    Raises:
        ConfigurationError: if ``kernels`` is ``"compiled"`` and numba is missing or does not work.
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
        kernels: compiled.Kernels = "auto",
    ) -> None:
        super().__init__()
        self.num_actions = num_actions
        self.steps = reverse_steps(num_steps, beta_min, beta_max)
        self.clip_denoised = clip_denoised
        self.softmax_output = denoiser_output == "softmax"
        sizes = (num_actions + EMBEDDING_SIZE + state_size, *hidden_sizes, num_actions)
        self.denoiser = StackedMLP(num_agents, sizes, generator, kernels)
        embeddings = torch.stack([step_embedding(step.index - 1) for step in self.steps], dim=1)
        self.embeddings: Tensor
        self.coefficients = np.array([step.coefficients for step in self.steps], dtype=np.float32)
        self.register_buffer("embeddings", embeddings, persistent=False)

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
                entries (the published code draws one for i = 1, too, and multiplies it by 0) are ignored.

        Returns:
            Logits, shape (G, A, M); the probabilities are their softmax over A.
        """
        latent, noise = self.start_and_noise(latent, noise)
        inputs = [state, latent, noise]
        tensors = [*inputs, self.denoiser.weights]
        if self.denoiser.is_narrow and compiled.takes(self.denoiser.kernels, tensors, without_gradient=[state, noise]):
            run = compiled.chain_run(self.kernel_settings)
            return compiled.evaluate(run, inputs, self.denoiser.weights, latent.shape, differentiable=1)
        (first_weight, first_bias), *others = self.denoiser.layers
        split = (self.num_actions, EMBEDDING_SIZE, state.shape[1])
        latent_weight, embedding_weight, state_weight = first_weight.split(split, dim=2)
        # What does not change between steps is computed once: the state's part, and each step's constant.
        from_state = torch.baddbmm(first_bias, state_weight, state)
        from_step = torch.matmul(embedding_weight, self.embeddings)  # (G, hidden, I)
        x = latent
        for k, step in enumerate(self.steps):
            first = (from_state + from_step[:, :, k : k + 1]).baddbmm_(latent_weight, x)
            eps = self.denoiser.after_first_layer(first, others)
            if self.softmax_output:
                eps = torch.softmax(eps, dim=1)
            if self.clip_denoised is None:
                x = (x * step.x_scale).add_(eps, alpha=-step.noise_prediction_scale)
            else:
                x = clipped_mean(x, eps, step, self.clip_denoised)
            if step.fresh_noise_scale > 0:
                x.add_(noise[k], alpha=step.fresh_noise_scale)
        return x

    def start_and_noise(self, latent: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """What chains start from, and the steps' noise, given what :meth:`forward` is."""
        return latent, noise

    @property
    def kernel_settings(self) -> tuple[Any, ...]:
        """What compiled kernels need to know of the chain: sizes, embeddings, coefficients, softmax or not, limit."""
        limit = np.float32(np.inf if self.clip_denoised is None else self.clip_denoised)
        return self.denoiser.sizes, self.embeddings.numpy(), self.coefficients, self.softmax_output, limit

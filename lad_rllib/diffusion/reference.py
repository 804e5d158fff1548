"""The plain reference of all that backends compute: torch's operations, on any device and in any precision."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Layers = list[tuple[Tensor, Tensor]]
Samples = tuple[Tensor, Tensor, Tensor]
"""States (G, state size, M), what chains start from (G, A, M), and their noise in the order of the steps: standard
normal (I - 1 or more, G, A, M), or none (0, G, A, M)."""


class Chain(NamedTuple):
    """The chain of an actor, without its weights.

    Attributes:
        sizes: Widths of the denoiser's layers, input (A + embedding + state) and output (A) included.
        embeddings: Embedding of each step i = I ... 1, shape (embedding size, I).
        steps: Factors of each step, shape (I, 7), in the order of :class:`~lad_rllib.diffusion.ReverseStep`.
        softmax_output: Whether a softmax ends the denoiser.
        limit: Greatest magnitude of each step's estimate of ``x_0``, infinite for none.
    """

    sizes: Ints
    embeddings: Tensor
    steps: NDArray[np.float64]
    softmax_output: bool
    limit: float


def split_layers(rows: Tensor, sizes: Ints) -> Layers:
    """Weight (G, out, in) and bias (G, out, 1) of each layer, as views of rows (G, P) that hold them in turn."""
    shapes = [(fan_out, columns) for fan_in, fan_out in pairwise(sizes.tolist()) for columns in (fan_in, 1)]
    parts = rows.split([fan_out * columns for fan_out, columns in shapes], dim=1)
    views = [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]
    return list(zip(views[::2], views[1::2], strict=True))


def soft_value_and_entropy(logits: Tensor, q_values: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor]:
    """Soft value ``sum_a pi(a) min(Q1, Q2)(a) + xi H(pi)``, and the entropy ``H(pi)`` [nat]; shapes (G, M).

    Args:
        logits: Logits of the action probabilities ``pi``, shape (G, A, M).
        q_values: Values of both critics, shape (2, G, A, M).
        temperature: Temperature ``xi`` of each agent, shape (G,).
    """
    log_probabilities = functional.log_softmax(logits, dim=1)
    probabilities = log_probabilities.exp()
    entropy = -(probabilities * log_probabilities).sum(1)
    return (probabilities * torch.minimum(q_values[0], q_values[1])).sum(1) + temperature[:, None] * entropy, entropy


def value_gradient(
    weights: Tensor, logits: Tensor, q_values: Tensor, temperature: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`soft_value_and_entropy` without gradient, and the gradient of minus the mean value by the weights."""
    value, entropy = soft_value_and_entropy(logits, q_values, temperature)
    (gradient,) = torch.autograd.grad(-value.mean(-1).sum(), weights)
    return value.detach(), entropy.detach(), gradient


def critic_loss(q_values: Tensor, action: Tensor, target: Tensor) -> Tensor:
    """Mean squared error at the actions taken, summed over both critics, shape (G,).

    Args:
        q_values: Values of both critics, shape (2, G, A, M).
        action: Actions taken, shape (G, M), integers.
        target: Target ``y``, shape (G, M), without gradient.
    """
    taken = q_values.gather(2, action.expand(2, *action.shape)[:, :, None])[:, :, 0]
    return (taken - target).square().mean(-1).sum(0)


class TorchBackend:
    """What networks, optimisers and buffers compute with; the face of all backends.

    Axes: G agents (or networks), A actions, M samples of one agent. ``weights`` (G, P) hold a row for each network, and
    ``sizes`` the widths of its layers, see :func:`split_layers`.

    Attributes:
        decides_in_order: Whether it has :meth:`decide_in_order`.
    """

    decides_in_order: ClassVar[bool] = False

    def suiting(self, weights: Tensor, width: int = 1) -> TorchBackend:
        """This backend, if it computes with such weights and layers up to so wide; else torch's operations."""
        return self

    def normal(self, shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
        """Standard normal numbers, drawn where the generator is, so that a seed means the same everywhere."""
        return torch.randn(shape, generator=generator, device=generator.device if generator else device).to(device)

    def networks(self, weights: Tensor, sizes: Ints, x: Tensor) -> Tensor:
        """Outputs (G, out, M) of inputs (G, in, M); where there are fewer inputs, networks take them in turns."""
        if len(x) < len(weights):
            x = x.repeat(len(weights) // len(x), 1, 1)
        (weight, bias), *others = split_layers(weights, sizes)
        return _after_first_layer(torch.baddbmm(bias, weight, x), others)

    def chain(self, weights: Tensor, chain: Chain, samples: Samples) -> Tensor:
        """``x_0`` (G, A, M) after all steps of reverse diffusion."""
        state, x, noise = samples
        (first_weight, first_bias), *others = split_layers(weights, chain.sizes)
        split = (x.shape[1], len(chain.embeddings), state.shape[1])
        latent_weight, embedding_weight, state_weight = first_weight.split(split, dim=2)
        # What does not change between steps is computed once: the state's part, and each step's constant.
        from_state = torch.baddbmm(first_bias, state_weight, state)
        from_step = torch.matmul(embedding_weight, chain.embeddings)  # (G, hidden, I)
        for k, factors in enumerate(chain.steps.tolist()):
            first = (from_state + from_step[:, :, k : k + 1]).baddbmm_(latent_weight, x)
            eps = _after_first_layer(first, others)
            if chain.softmax_output:
                eps = torch.softmax(eps, dim=1)
            x = _reverse_mean(x, eps, factors, chain.limit)
            if factors[2] > 0 and k < len(noise):
                x.add_(noise[k], alpha=factors[2])
        return x

    @torch.no_grad()
    def soft_targets(
        self,
        weights: Tensor,
        sizes: Ints,
        state: Tensor,
        logits: Tensor,
        temperature: Tensor,
        reward: Tensor,
        gamma: float,
    ) -> Tensor:
        """Targets of critics: ``reward + gamma * soft value`` of what actors choose in the next states, shape (G, M).

        Args:
            weights: Both target critics of all agents (2 G, P).
            sizes: Widths of their layers.
            state: Next states (G, state size, M).
            logits: The actors' logits in them (G, A, M).
            temperature: Temperature of each agent (G,).
            reward: Rewards (G, M).
            gamma: Discount factor.
        """
        q_values = self.networks(weights, sizes, state).unflatten(0, (2, len(state)))
        return reward + gamma * soft_value_and_entropy(logits, q_values, temperature)[0]

    def critic_gradient(
        self, weights: Tensor, sizes: Ints, state: Tensor, action: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """:func:`critic_loss` (G,) of both critics in states (G, state size, M), and its gradient by their weights."""
        loss = critic_loss(self.networks(weights, sizes, state).unflatten(0, (2, len(state))), action, target)
        return loss.detach(), torch.autograd.grad(loss.sum(), weights)[0]

    def value_gradient_of_chain(
        self, weights: Tensor, chain: Chain, samples: Samples, q_values: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """:func:`value_gradient` of what :meth:`chain` gives."""
        return value_gradient(weights, self.chain(weights, chain, samples), q_values, temperature)

    def decide_in_order(
        self, weights: Tensor, chain: Chain, prior: Sequence[Any], only_own: bool, slots: Sequence[Tensor]
    ) -> Sequence[Tensor]:
        """Decisions on all tasks of some slots, one after the other, where :attr:`decides_in_order`."""
        raise TypeError("torch's operations decide one task a call; see lad_pmd.in_slot")

    def adam_step(
        self, rows: Sequence[Tensor], active: Tensor | None, lr: float, betas: tuple[float, float], eps: float
    ) -> None:
        """One step of Adam (arXiv 1412.6980), in which each row counts its own steps.

        Args:
            rows: Parameters (G, P), their gradient, running means of it and of its square, and step counts (G, 1).
            active: Agents that take part, bool (G / k,) for k networks of each; None for all.
            lr: Learning rate.
            betas: Decay rates of the means.
            eps: Added to the denominator.
        """
        device, columns = rows[0].device, [tensor.unbind() for tensor in rows]
        if active is not None:
            keep = active.repeat(len(rows[0]) // len(active)).tolist()
            columns = [tuple(compress(column, keep)) for column in columns]
        parameters, gradients, means, squares, counts = columns
        if counts:
            torch._foreach_add_(counts, 1.0)
            on_device = [count[0].to(device) for count in counts]
            options: Any = {"lr": lr, "beta1": betas[0], "beta2": betas[1], "eps": eps, "weight_decay": 0.0}
            options |= {"amsgrad": False, "maximize": False}
            torch._fused_adam_(parameters, gradients, means, squares, [], on_device, **options)

    def make_distinct(self, drawn: Ints, sizes: Ints) -> None:
        """Robert Floyd's algorithm for samples without repetition, of each row by itself, in place.

        Args:
            drawn: Row ``b`` has at ``k`` a random number in ``0 ... sizes[b] - M + k``, shape (B, M).
            sizes: Numbers to choose from, 0 ... size - 1, shape (B,).
        """
        row, is_taken = np.arange(len(sizes)), np.zeros((len(sizes), sizes.max()), dtype=bool)
        for k, column in enumerate(drawn.T):
            column[:] = np.where(is_taken[row, column], sizes - drawn.shape[1] + k, column)
            is_taken[row, column] = True

    def gather(self, rows: Floats, positions: Ints, columns: slice) -> Floats:
        """Some columns of rows (B, capacity, F) at positions (B, M), samples last: shape (B, columns, M)."""
        taken = np.take_along_axis(rows[..., columns], positions[..., None], axis=1)
        return np.ascontiguousarray(taken.transpose(0, 2, 1))


TORCH = TorchBackend()


def _after_first_layer(x: Tensor, others: Layers) -> Tensor:
    """Outputs from the first layer's output before its ReLU, which is overwritten."""
    for weight, bias in others:
        x = torch.baddbmm(bias, weight, x.relu_())
    return x


def _reverse_mean(x: Tensor, eps: Tensor, factors: Sequence[float], limit: float) -> Tensor:
    """Mean of ``x_{i-1}``, with the estimate of ``x_0`` clamped to [-limit, limit], elementwise."""
    x_scale, noise_prediction_scale, _, clean_x_scale, clean_noise_scale, mean_clean_scale, mean_x_scale = factors
    if limit == np.inf:
        return (x * x_scale).add_(eps, alpha=-noise_prediction_scale)
    clean = (x * clean_x_scale).sub_(eps, alpha=clean_noise_scale).clamp(-limit, limit)
    return (x * mean_x_scale).add_(clean, alpha=mean_clean_scale)

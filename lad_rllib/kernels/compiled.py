"""Compiled kernels behind the face of :class:`~lad_rllib.diffusion.reference.TorchBackend`.

A kernel evaluates all agents' networks in one call, or finds the gradient of a loss by their parameters, for which it
evaluates them again: what it would have to keep is more than the cache holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lad_rllib.diffusion.reference import TORCH, Chain, Floats, Ints, Samples, TorchBackend
from lad_rllib.kernels.adam import adam_step
from lad_rllib.kernels.autograd import as_array, evaluated
from lad_rllib.kernels.chain import Loss, Passes, Settings, chain_gradients, run_chains
from lad_rllib.kernels.in_order import Decisions, Prior, Slots, run_in_order
from lad_rllib.kernels.networks import network_gradients, run_networks, soft_targets
from lad_rllib.kernels.noise import GENERATORS, fill_normal
from lad_rllib.kernels.replay import gather, make_distinct

MAX_WIDTH = 256
"""Greatest width of a layer that kernels take; torch is faster with wider ones."""
_ALL = torch.ones(1, dtype=torch.bool)
_NO_VECTOR, _NO_MATRIX, _NO_BATCH, _NO_BATCHES = (np.empty((0,) * ndim, np.float32) for ndim in range(1, 5))
_NO_ACTION = np.empty((0, 0), np.int64)


class CompiledBackend(TorchBackend):
    """Kernels for float32 on the CPU; torch computes what they do not have: a gradient by states or noise."""

    decides_in_order = True

    def suiting(self, weights: Tensor, width: int = 1) -> TorchBackend:
        """Kernels on the CPU, in float32, with layers up to :data:`MAX_WIDTH` wide; else torch's operations."""
        fits = weights.dtype is torch.float32 and weights.device.type == "cpu" and width <= MAX_WIDTH
        return self if fits else TORCH

    def normal(self, shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
        """Numbers of another generator (xoshiro128++), to which the given one gives the key."""
        if generator is not None and generator.device.type != "cpu":
            return super().normal(shape, generator, device)
        key = int(torch.randint(2**63 - 1, (), generator=generator))
        size = math.prod(shape)
        numbers = torch.empty(-(-size // (2 * GENERATORS)) * 2 * GENERATORS)
        fill_normal(numbers.numpy(), np.uint64(key))
        return numbers[:size].view(*shape).to(device)

    def networks(self, weights: Tensor, sizes: Ints, x: Tensor) -> Tensor:
        """See :meth:`TorchBackend.networks`."""
        if torch.is_grad_enabled() and x.requires_grad:
            return super().networks(weights, sizes, x)

        def run(weights: Tensor, x: Tensor) -> Tensor:
            out = torch.empty(len(weights), int(sizes[-1]), x.shape[2])
            run_networks(as_array(weights), sizes, as_array(x), out.numpy())
            return out

        def run_back(by_out: Tensor, by_x: bool, weights: Tensor, x: Tensor) -> tuple[Tensor | None, ...]:
            gradient, no_loss = torch.empty_like(weights), (_NO_ACTION, _NO_MATRIX, np.empty(len(x), np.float32))
            network_gradients(as_array(weights), sizes, as_array(x), as_array(by_out), *no_loss, gradient.numpy())
            return gradient, None

        return evaluated(run, run_back, weights, x)

    def chain(self, weights: Tensor, chain: Chain, samples: Samples) -> Tensor:
        """See :meth:`TorchBackend.chain`."""
        state, latent, noise = samples
        if torch.is_grad_enabled() and (state.requires_grad or noise.requires_grad):
            return super().chain(weights, chain, samples)
        settings = _settings(chain)

        def run(weights: Tensor, latent: Tensor, state: Tensor, noise: Tensor) -> Tensor:
            logits = torch.empty(latent.shape)
            run_chains(as_array(weights), settings, _passes(state, latent, noise), logits.numpy())
            return logits

        def run_back(
            by_logits: Tensor, by_latent: bool, weights: Tensor, latent: Tensor, state: Tensor, noise: Tensor
        ) -> tuple[Tensor | None, ...]:
            gradient, of_latent = torch.empty_like(weights), torch.empty(latent.shape if by_latent else (0, 0, 0))
            loss = Loss(as_array(by_logits), _NO_BATCHES, _NO_VECTOR, _NO_MATRIX, _NO_MATRIX)
            passes = _passes(state, latent, noise)
            chain_gradients(as_array(weights), settings, passes, loss, gradient.numpy(), of_latent.numpy())
            return gradient, of_latent if by_latent else None, None, None

        return evaluated(run, run_back, weights, latent, state, noise)

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
        """See :meth:`TorchBackend.soft_targets`."""
        target = torch.empty(reward.shape)
        given = (as_array(tensor) for tensor in (state, logits, temperature, reward))
        soft_targets(as_array(weights), sizes, *given, np.float32(gamma), target.numpy())
        return target

    def critic_gradient(
        self, weights: Tensor, sizes: Ints, state: Tensor, action: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`TorchBackend.critic_gradient`."""
        loss, gradient = torch.empty(len(target)), torch.empty(weights.shape)
        given = (as_array(tensor) for tensor in (action.long(), target, loss, gradient))
        network_gradients(as_array(weights), sizes, as_array(state), _NO_BATCH, *given)
        return loss, gradient

    def value_gradient_of_chain(
        self, weights: Tensor, chain: Chain, samples: Samples, q_values: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See :meth:`TorchBackend.value_gradient_of_chain`."""
        state, gradient = samples[0], torch.empty(weights.shape)
        value, entropy = torch.empty(2, len(state), state.shape[2])
        loss = Loss(_NO_BATCH, as_array(q_values), as_array(temperature), value.numpy(), entropy.numpy())
        chain_gradients(as_array(weights), _settings(chain), _passes(*samples), loss, gradient.numpy(), _NO_BATCH)
        return value, entropy, gradient

    def decide_in_order(
        self, weights: Tensor, chain: Chain, prior: Sequence[Any], only_own: bool, slots: Sequence[Tensor]
    ) -> Sequence[Tensor]:
        """Servers (E, B, N), logits, probabilities and seen queues (E, B, N, A), zeros where there is no task.

        Args:
            weights: The denoisers' parameters.
            chain: The chain.
            prior: Fields of :class:`~lad_rllib.kernels.in_order.Prior`.
            only_own: See :func:`~lad_rllib.kernels.in_order.run_in_order`.
            slots: Fields of :class:`~lad_rllib.kernels.in_order.Slots`.
        """
        shape = slots[0].shape[:3]
        decisions = (torch.zeros(shape, dtype=torch.int64), *torch.zeros(3, *shape, slots[2].shape[-1]))
        log_capacity, task_scale, waiting_per_work, queue_weight = prior
        vectors = (as_array(log_capacity), as_array(task_scale), as_array(waiting_per_work))
        known = Prior(*vectors, np.float32(queue_weight))
        to_decide, decided = Slots(*map(as_array, slots)), Decisions(*(tensor.numpy() for tensor in decisions))
        run_in_order(as_array(weights), _settings(chain), known, only_own, to_decide, decided)
        return decisions

    def adam_step(
        self, rows: Sequence[Tensor], active: Tensor | None, lr: float, betas: tuple[float, float], eps: float
    ) -> None:
        """See :meth:`TorchBackend.adam_step`."""
        adam_step(*map(as_array, (*rows, _ALL if active is None else active)), lr, *betas, eps)

    def make_distinct(self, drawn: Ints, sizes: Ints) -> None:
        """See :meth:`TorchBackend.make_distinct`."""
        make_distinct(drawn, sizes)

    def gather(self, rows: Floats, positions: Ints, columns: slice) -> Floats:
        """See :meth:`TorchBackend.gather`."""
        out = np.empty((len(positions), columns.stop - columns.start, positions.shape[1]), np.float32)
        gather(rows, positions, columns.start, out)
        return out


COMPILED = CompiledBackend()


def _passes(*samples: Tensor) -> Passes:
    return Passes(*map(as_array, samples))


def _settings(chain: Chain) -> Settings:
    steps, limit = chain.steps.astype(np.float32), np.float32(chain.limit)
    return Settings(chain.sizes, chain.embeddings.numpy(), steps, chain.softmax_output, limit)

"""Multilayer perceptrons of many independent agents, evaluated as one batch of matrix products."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from lad_rllib.diffusion.reference import TORCH, Layers, TorchBackend, split_layers


class StackedMLP(nn.Module):
    """One ReLU network per agent, with own parameters, computed together.

    The result equals a loop over the agents: nothing is shared but the call. Samples are the *last* axis: with layers
    this narrow, products and softmax over features are up to twice as fast that way round.

    Args:
        num_agents: Number of networks G.
        sizes: Widths of all layers, input and output included.
        generator: Randomness of the initial weights.
        backend: What computes, see :func:`~lad_rllib.kernels.make_backend`, where it can; torch elsewhere.

    Attributes:
        weights: All parameters, a row for each network, shape (G, P): weight (out, in) and bias (out) of each layer,
            one after the other.
        backend: What computes now; chosen anew when the module moves to another device or precision.
    """

    def __init__(
        self,
        num_agents: int,
        sizes: Sequence[int],
        generator: torch.Generator | None = None,
        backend: TorchBackend = TORCH,
    ) -> None:
        super().__init__()
        self.sizes = np.array(sizes, dtype=np.int64)
        parts = []
        for fan_in, fan_out in pairwise(sizes):
            # The distribution of torch.nn.Linear's own initialisation, for each agent by itself.
            bound = 1 / math.sqrt(fan_in)
            for size in (fan_in * fan_out, fan_out):
                parts.append(torch.empty(num_agents, size).uniform_(-bound, bound, generator=generator))
        self.weights = nn.Parameter(torch.cat(parts, dim=1))
        self.use(backend)

    def use(self, backend: TorchBackend) -> None:
        """Compute with a backend from now on, where it can."""
        self._wanted = backend
        self.backend = backend.suiting(self.weights, int(self.sizes.max()))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        module: Any = super()._apply(fn, recurse)
        self.use(self._wanted)
        return module

    @property
    def layers(self) -> Layers:
        """Weight (G, out, in) and bias (G, out, 1) of each layer, as views of :attr:`weights`."""
        return split_layers(self.weights, self.sizes)

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate all networks on M samples each: (G, in, M) -> (G, out, M).

        Where there are G / k inputs, network g takes input g modulo G / k.
        """
        return self.backend.networks(self.weights, self.sizes, x)

"""Multilayer perceptrons of many independent agents, evaluated as one batch of matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from lad_rllib.kernels import compiled


class StackedMLP(nn.Module):
    """One ReLU network per agent, with own parameters, computed together.

    The result equals a loop over the agents: nothing is shared but the call. Samples are the *last* axis: with layers
    this narrow, products and softmax over features are up to twice as fast that way round.

    Args:
        num_agents: Number of networks G.
        sizes: Widths of all layers, input and output included.
        generator: Randomness of the initial weights.
        kernels: ``"compiled"``, ``"torch"``, or ``"auto"``; see :class:`LatentActionActor`.

    Attributes:
        weights: All parameters, a row for each network, shape (G, P): weight (out, in) and bias (out) of each layer,
            one after the other.
    """

    def __init__(
        self,
        num_agents: int,
        sizes: Sequence[int],
        generator: torch.Generator | None = None,
        kernels: compiled.Kernels = "auto",
    ) -> None:
        super().__init__()
        self.sizes = np.array(sizes, dtype=np.int64)
        self.kernels = compiled.check_kernels(kernels)
        self.is_narrow = max(sizes) <= compiled.WIDEST
        parts = []
        for fan_in, fan_out in pairwise(sizes):
            # The distribution of torch.nn.Linear's own initialisation, for each agent by itself.
            bound = 1 / math.sqrt(fan_in)
            for size in (fan_in * fan_out, fan_out):
                parts.append(torch.empty(num_agents, size).uniform_(-bound, bound, generator=generator))
        self.weights = nn.Parameter(torch.cat(parts, dim=1))

    @property
    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """Weight (G, out, in) and bias (G, out, 1) of each layer, as views of :attr:`weights`."""
        return self.split(self.weights)

    def split(self, rows: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Views of rows like those of :attr:`weights`, for example their gradient, as weight and bias of each layer."""
        shapes = [(fan_out, size) for fan_in, fan_out in pairwise(self.sizes.tolist()) for size in (fan_in, 1)]
        parts = rows.split([rows_out * columns for rows_out, columns in shapes], dim=1)
        views = [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]
        return list(zip(views[::2], views[1::2], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate all networks on M samples each: (G, in, M) -> (G, out, M).

        Where there are G / k inputs, network g takes input g modulo G / k.
        """
        num_agents = len(self.weights)
        if self.is_narrow and compiled.takes(self.kernels, [x, self.weights], without_gradient=[x]):
            run, shape = compiled.network_run(self.sizes), (num_agents, self.sizes[-1], x.shape[2])
            return compiled.evaluate(run, [x], self.weights, shape)
        if len(x) < num_agents:
            x = x.repeat(num_agents // len(x), 1, 1)
        (weight, bias), *others = self.layers
        return self.after_first_layer(torch.baddbmm(bias, weight, x), others)

    def after_first_layer(self, pre_activation: Tensor, others: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Go on from the first layer's output before its ReLU, which is overwritten.

        Args:
            pre_activation: Shape (G, hidden, M).
            others: The other :attr:`layers`.

        Returns:
            Output of the networks, shape (G, out, M).
        """
        x = pre_activation
        for weight, bias in others:
            x = torch.baddbmm(bias, weight, x.relu_())
        return x

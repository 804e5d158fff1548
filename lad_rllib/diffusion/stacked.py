"""Multilayer perceptrons of many independent agents, evaluated as one batch of matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class StackedMLP(nn.Module):
    """One ReLU network per agent, with own parameters, computed together.

    The result equals a loop over the agents: nothing is shared but the call.

    Args:
        num_agents: Number of networks G.
        sizes: Widths of all layers, input and output included.
        generator: Randomness of the initial weights.

    Attributes:
        weights: Layer weights, shapes (G, in, out).
        biases: Layer biases, shapes (G, 1, out).
    """

    def __init__(self, num_agents: int, sizes: Sequence[int], generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in, fan_out in zip(sizes, sizes[1:], strict=False):
            # The distribution of torch.nn.Linear's own initialisation, for each agent by itself.
            bound = 1 / math.sqrt(fan_in)
            for parameters, shape in (
                (self.weights, (num_agents, fan_in, fan_out)),
                (self.biases, (num_agents, 1, fan_out)),
            ):
                parameters.append(nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=generator)))

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate all networks: (G, M, in) -> (G, M, out)."""
        return self.after_first_layer(torch.baddbmm(self.biases[0], x, self.weights[0]))

    def after_first_layer(self, pre_activation: Tensor) -> Tensor:
        """Go on from the first layer's output before its ReLU: (G, M, hidden) -> (G, M, out)."""
        x = pre_activation
        for weight, bias in zip(list(self.weights)[1:], list(self.biases)[1:], strict=True):
            x = torch.baddbmm(bias, torch.relu(x), weight)
        return x

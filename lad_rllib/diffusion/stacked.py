"""Multilayer perceptrons of many independent agents, evaluated as one batch of matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lad_rllib.kernels import compiled
from lad_rllib.kernels.packing import GradientBuffer, PackedView, pack


class StackedMLP(nn.Module):
    """One ReLU network per agent, with own parameters, computed together.

    The result equals a loop over the agents: nothing is shared but the call. Samples are the *last* axis: with layers
    this narrow, products and softmax over features are up to twice as fast that way round.

    Args:
        num_agents: Number of networks G.
        sizes: Widths of all layers, input and output included.
        generator: Randomness of the initial weights.
        kernels: ``"compiled"``, ``"torch"``, or ``"auto"``; see :class:`LatentActionActor`.
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
        self._layers: list[tuple[nn.Parameter, nn.Parameter]] = []
        for layer, (fan_in, fan_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
            # The distribution of torch.nn.Linear's own initialisation, for each agent by itself.
            bound = 1 / math.sqrt(fan_in)
            weight, bias = (
                nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=generator))
                for shape in ((num_agents, fan_out, fan_in), (num_agents, fan_out, 1))
            )
            self.register_parameter(f"weight_{layer}", weight)
            self.register_parameter(f"bias_{layer}", bias)
            self._layers.append((weight, bias))
        pack(list(self.parameters()))
        self._packed, self._gradients = PackedView(), GradientBuffer()

    @property
    def layers(self) -> list[tuple[nn.Parameter, nn.Parameter]]:
        """Weight (G, out, in) and bias (G, out, 1) of each layer."""
        return self._layers

    @property
    def flat_parameters(self) -> list[nn.Parameter]:
        """Weights and biases, layer by layer."""
        return [parameter for layer in self._layers for parameter in layer]

    @property
    def packed_parameters(self) -> Tensor:
        """:attr:`flat_parameters`, a row for each network, shape (G, P): where they lie, or a copy like it."""
        return self._packed.of(self.flat_parameters)

    @property
    def gradient_buffer(self) -> GradientBuffer:
        """Room for gradients by :attr:`flat_parameters`; who writes to it overwrites those that were there."""
        return self._gradients.of(self.flat_parameters)

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate all networks on M samples each: (G, in, M) -> (G, out, M).

        Where there are G / k inputs, network g takes input g modulo G / k.
        """
        parameters = self.flat_parameters
        num_agents = len(parameters[0])
        if self.is_narrow and compiled.takes(self.kernels, [x, parameters[0]], without_gradient=[x]):
            run, shape = compiled.network_run(self.sizes), (num_agents, self.sizes[-1], x.shape[2])
            return compiled.evaluate(run, [x], self, shape)
        if len(x) < num_agents:
            x = x.repeat(num_agents // len(x), 1, 1)
        weight, bias = self._layers[0]
        return self.after_first_layer(torch.baddbmm(bias, weight, x))

    def after_first_layer(self, pre_activation: Tensor) -> Tensor:
        """Go on from the first layer's output before its ReLU, which is overwritten.

        Args:
            pre_activation: Shape (G, hidden, M).

        Returns:
            Output of the networks, shape (G, out, M).
        """
        x = pre_activation
        for weight, bias in self._layers[1:]:
            x = torch.baddbmm(bias, weight, x.relu_())
        return x

"""Compiled kernels of stacked multilayer perceptrons: one network and one block of samples at a time."""

from __future__ import annotations

import numpy as np

from lad_rllib.arrays import Batch, IntegerMatrix, Integers, Matrix, Vector
from lad_rllib.compiling import kernel
from lad_rllib.kernels.layers import (
    BLOCK,
    load_block,
    network_work,
    pack,
    run_layers,
    run_layers_back,
    store_block,
    unpack,
    workspace,
)
from lad_rllib.kernels.losses import soft_value, squared_error
from lad_rllib.kernels.softmax import flush


@kernel
def run_networks(parameters: Matrix, sizes: Integers, x: Batch, out: Batch) -> None:
    """Evaluate all networks.

    Args:
        parameters: Parameters (G, P), see :func:`~lad_rllib.kernels.layers.unpack`.
        sizes: Widths of the layers.
        x: Inputs (G, in, M); or fewer, which networks take in turns.
        out: Filled with the outputs (G, out, M).
    """
    weights, _, activations, _ = network_work(sizes)
    for network in range(len(parameters)):
        unpack(parameters[network], sizes, weights)
        for first in range(0, x.shape[2], BLOCK):
            load_block(activations[0, 1:], x[network % len(x)], first)
            run_layers(activations, weights, sizes, 0)
            store_block(out[network], activations[len(weights), 1:], first)


@kernel
def network_gradients(
    parameters: Matrix,
    sizes: Integers,
    x: Batch,
    out_gradient: Batch,
    action: IntegerMatrix,
    target: Matrix,
    loss: Vector,
    gradient: Matrix,
) -> None:
    """Gradient of a loss by the networks' parameters: of any, given its gradient by the outputs, or of critics.

    Args:
        parameters: See :func:`run_networks`, as those up to ``x``.
        sizes: See there.
        x: See there.
        out_gradient: Gradient of the loss by the outputs (G, out, M); empty for that of critics.
        action: Actions taken, for critics, as those up to ``loss`` (len(x), M).
        target: Targets (len(x), M).
        loss: Filled with the squared error of all critics of an agent (len(x),).
        gradient: Filled with the gradient (G, P).
    """
    weights, gradients, activations, deltas = network_work(sizes)
    last = len(weights)
    loss[:] = 0.0
    for network in range(len(parameters)):
        agent = network % len(x)
        unpack(parameters[network], sizes, weights)
        gradients[:] = 0.0
        for first in range(0, x.shape[2], BLOCK):
            load_block(activations[0, 1:], x[agent], first)
            run_layers(activations, weights, sizes, 0)
            if len(out_gradient):
                load_block(deltas[last], out_gradient[network], first)
                flush(deltas[last], sizes[last])
            else:
                q_values = activations[last, 1:]
                loss[agent] += squared_error(deltas[last], q_values, action[agent], target[agent], first)
            run_layers_back(deltas, activations, weights, sizes, gradients, 0)
        pack(gradients, sizes, gradient[network])


@kernel
def soft_targets(
    parameters: Matrix,
    sizes: Integers,
    state: Batch,
    logits: Batch,
    temperature: Vector,
    reward: Matrix,
    gamma: np.float32,
    target: Matrix,
) -> None:
    """Fill in targets (G, M); see :meth:`~lad_rllib.diffusion.reference.TorchBackend.soft_targets`."""
    agents, actions, samples = logits.shape
    weights, _, activations, _ = network_work(sizes)
    of_block, scratch = workspace(4, actions, BLOCK), workspace(1, 5, BLOCK)[0]
    for agent in range(agents):
        for first in range(0, samples, BLOCK):
            load_block(of_block[0], logits[agent], first)
            load_block(activations[0, 1:], state[agent], first)
            for critic in range(2):
                unpack(parameters[critic * agents + agent], sizes, weights)
                run_layers(activations, weights, sizes, 0)
                load_block(of_block[1 + critic], activations[len(weights), 1 : 1 + actions], 0)
            value, _ = soft_value(of_block[0], of_block[1], of_block[2], temperature[agent], of_block[3], scratch)
            for sample in range(min(BLOCK, samples - first)):
                target[agent, first + sample] = reward[agent, first + sample] + gamma * value[sample]

"""Compiled kernels of stacked multilayer perceptrons: one network and one block of samples at a time, within the cache.

- ``sizes`` (L + 1,): widths of all layers, input and output included.
- Packed parameters of a network: weight (out, in) and bias (out) of each layer, one after the other in one row.
- Activations of a block (L + 1, rows, BLOCK): the input, then each layer's output. Row 0 is ones: a bias is one more
  column of a layer's weights, its first.
- Deltas (L + 1, rows, BLOCK): gradient of the loss by each layer's output before its ReLU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib.kernels.compiler import kernel, part
from lad_rllib.kernels.vector_products import ROWS, SAMPLES, product_tile, relu_product_tile, sum_over_samples_tile

Array = NDArray[Any]

BLOCK = 2 * SAMPLES
PACKED, BATCH = "float32[:, ::1]", "float32[:, :, ::1]"
_CACHE_LINE = 64  # [bytes]


@part
def padded(rows: int) -> int:
    """Number of rows, rounded up to whole tiles."""
    return (rows + ROWS - 1) // ROWS * ROWS


@part
def workspace(depth: int, rows: int, columns: int) -> Array:
    """Zeros, shape (depth, rows, columns), in which no vector lies across cache lines."""
    size = depth * rows * columns
    flat = np.zeros(size + _CACHE_LINE // 4, np.float32)
    skipped = (-flat.ctypes.data) % _CACHE_LINE // 4
    return flat[skipped : skipped + size].reshape((depth, rows, columns))


@part
def product(out: Array, weight: Array, x: Array) -> None:
    """``out = weight @ x`` for a block of samples."""
    for column in range(0, BLOCK, SAMPLES):
        for row in range(0, weight.shape[0], ROWS):
            product_tile(out, out, weight, x, row, column)


@part
def relu_product(out: Array, weight: Array, x: Array) -> None:
    """``out = relu(weight @ x)``."""
    for column in range(0, BLOCK, SAMPLES):
        for row in range(0, weight.shape[0], ROWS):
            relu_product_tile(out, out, weight, x, row, column)


@part
def add_sum_over_samples(out: Array, left: Array, right: Array) -> None:
    """``out += left @ right.T``."""
    for row in range(0, left.shape[0], ROWS):
        for column in range(0, right.shape[0], ROWS):
            sum_over_samples_tile(out, left, right, row, column)


@part
def load_block(rows: Array, values: Array, first: int) -> None:
    """Copy samples ``first ...`` of ``values`` (features, M) into the rows of a block; zeros fill it up."""
    count = min(BLOCK, values.shape[1] - first)
    for row in range(values.shape[0]):
        for sample in range(count):
            rows[row, sample] = values[row, first + sample]
        rows[row, count:] = 0.0


@part
def store_block(values: Array, rows: Array, first: int) -> None:
    """The reverse of :func:`load_block`."""
    for row in range(values.shape[0]):
        for sample in range(min(BLOCK, values.shape[1] - first)):
            values[row, first + sample] = rows[row, sample]


@part
def unpack(parameters: Array, sizes: Array, weights: Array) -> None:
    """Spread the packed parameters of a network: biases, then weights of each layer (L, out, 1 + in)."""
    start = 0
    for layer in range(len(sizes) - 1):
        fan_in, fan_out = sizes[layer], sizes[layer + 1]
        bias = start + fan_in * fan_out
        for row in range(fan_out):
            weights[layer, row, 0] = parameters[bias + row]
            for column in range(fan_in):
                weights[layer, row, 1 + column] = parameters[start + row * fan_in + column]
        start = bias + fan_out


@part
def transposed(weight: Array, rows: int, fan_out: int) -> Array:
    """View (rows, out) of a layer's weights (out, 1 + in); rows beyond the layer's inputs mean nothing."""
    return weight[:fan_out, 1 : 1 + padded(rows)].T


@part
def pack_gradients(gradients: Array, sizes: Array, packed: Array) -> None:
    """The reverse of :func:`unpack`, from gradients (L, out, 1 + in)."""
    start = 0
    for layer in range(len(sizes) - 1):
        fan_in, fan_out = sizes[layer], sizes[layer + 1]
        bias = start + fan_in * fan_out
        for row in range(fan_out):
            packed[bias + row] = gradients[layer, row, 0]
            for column in range(fan_in):
                packed[start + row * fan_in + column] = gradients[layer, row, 1 + column]
        start = bias + fan_out


@part
def run_layers(activations: Array, weights: Array, sizes: Array, first: int) -> None:
    """Fill in the activations behind layer ``first``; all but the last layer end with a ReLU."""
    last = len(sizes) - 2
    for layer in range(first, last + 1):
        weight = weights[layer, : padded(sizes[layer + 1]), : 1 + sizes[layer]]
        if layer < last:
            relu_product(activations[layer + 1, 1:], weight, activations[layer])
        else:
            product(activations[layer + 1, 1:], weight, activations[layer])


@part
def add_layer_gradient(gradient: Array, delta: Array, activation: Array, fan_out: int, fan_in: int) -> None:
    """Add a block's gradient by biases and weights (out, 1 + in) of one layer."""
    add_sum_over_samples(gradient, delta[: padded(fan_out)], activation[: padded(1 + fan_in)])


@part
def back_through_relu(delta: Array, activation: Array, rows: int) -> None:
    """Set the gradient to 0 where the ReLU cut."""
    for row in range(rows):
        for sample in range(BLOCK):
            delta[row, sample] = delta[row, sample] if activation[1 + row, sample] > 0 else np.float32(0.0)


@part
def run_layers_back(
    deltas: Array, activations: Array, weights: Array, sizes: Array, gradients: Array, first: int
) -> None:
    """From the last layer's deltas to those of layer ``first - 1``; adds the gradients of the layers on the way."""
    for layer in range(len(sizes) - 2, first - 1, -1):
        fan_in, fan_out = sizes[layer], sizes[layer + 1]
        add_layer_gradient(gradients[layer], deltas[layer + 1], activations[layer], fan_out, fan_in)
        if layer > 0:
            product(deltas[layer], transposed(weights[layer], fan_in, fan_out), deltas[layer + 1])
            back_through_relu(deltas[layer], activations[layer], fan_in)


@kernel(f"void({PACKED}, int64[::1], {BATCH}, {BATCH}, {BATCH}, {PACKED})")
def run_networks(parameters: Array, sizes: Array, x: Array, out: Array, out_gradient: Array, gradient: Array) -> None:
    """Evaluate all networks, or find the gradient of a loss by their parameters.

    Args:
        parameters: Packed parameters (G, P).
        sizes: Widths of the layers.
        x: Inputs (G, in, M); or fewer, which networks take in turns.
        out: Filled with the outputs (G, out, M), unless a gradient is asked for.
        out_gradient: Gradient of the loss by the outputs (G, out, M).
        gradient: Filled with that by the parameters (G, P); empty (0, 0) if none is asked for.
    """
    layers, rows = len(sizes) - 1, padded(sizes.max()) + ROWS
    weights, gradients = workspace(layers, rows, rows), workspace(layers, rows, rows)
    activations, deltas = workspace(layers + 1, rows, BLOCK), workspace(layers + 1, rows, BLOCK)
    activations[:, 0] = 1.0
    for network in range(len(parameters)):
        unpack(parameters[network], sizes, weights)
        if len(gradient):
            gradients[:] = 0.0
        for first in range(0, x.shape[2], BLOCK):
            load_block(activations[0, 1:], x[network % len(x)], first)
            run_layers(activations, weights, sizes, 0)
            if len(gradient):
                load_block(deltas[layers], out_gradient[network], first)
                run_layers_back(deltas, activations, weights, sizes, gradients, 0)
            else:
                store_block(out[network], activations[layers, 1:], first)
        if len(gradient):
            pack_gradients(gradients, sizes, gradient[network])

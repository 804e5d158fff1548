"""Layers of one network, for a block of samples within the processor's cache: what compiled kernels are made of.

- ``sizes`` (L + 1,): widths of all layers, input and output included.
- ``weights`` (L, out, 1 + in): bias and weight of each layer.
- ``activations`` (L + 1, 1 + features, samples): the input, then each layer's output. Row 0 is ones: a bias is one
  more column of a layer's weights, its first.
- ``deltas`` (L + 1, features, samples): gradient of the loss by each layer's output before its ReLU.

All have more rows than that, see :mod:`~lad_rllib.kernels.vector_products`.
"""

from __future__ import annotations

import numpy as np

from lad_rllib.arrays import Array
from lad_rllib.compiling import part
from lad_rllib.kernels.vector_products import ROWS, SAMPLES, add_sum_over_samples, product, relu_product

BLOCK = 2 * SAMPLES
"""Samples of a block."""
_CACHE_LINE = 64  # [bytes]


@part
def padded(rows: int) -> int:
    """Rows to provide for so many: whole tiles, and one more."""
    return (rows + ROWS - 1) // ROWS * ROWS + ROWS


@part
def workspace(depth: int, rows: int, columns: int) -> Array:
    """Zeros, shape (depth, rows, columns), in which no vector lies across cache lines."""
    size = depth * rows * columns
    flat = np.zeros(size + _CACHE_LINE // 4, np.float32)
    skipped = (-flat.ctypes.data) % _CACHE_LINE // 4
    return flat[skipped : skipped + size].reshape((depth, rows, columns))


@part
def network_work(sizes: Array) -> tuple[Array, Array, Array, Array]:
    """Weights, their gradients, activations and deltas of a network, for a block of samples."""
    layers, rows = len(sizes) - 1, padded(sizes.max())
    activations = workspace(layers + 1, rows, BLOCK)
    activations[:, 0] = 1.0
    return workspace(layers, rows, rows), workspace(layers, rows, rows), activations, workspace(layers + 1, rows, BLOCK)


@part
def load_block(rows: Array, values: Array, first: int) -> None:
    """Copy samples ``first ...`` of ``values`` (features, M) into the rows of a block; zeros fill it up."""
    count = min(rows.shape[1], values.shape[1] - first)
    for row in range(values.shape[0]):
        for sample in range(count):
            rows[row, sample] = values[row, first + sample]
        rows[row, count:] = 0.0


@part
def store_block(values: Array, rows: Array, first: int) -> None:
    """The reverse of :func:`load_block`."""
    for row in range(values.shape[0]):
        for sample in range(min(rows.shape[1], values.shape[1] - first)):
            values[row, first + sample] = rows[row, sample]


@part
def unpack(parameters: Array, sizes: Array, weights: Array) -> None:
    """Spread a network's parameters (P,): weight (out, in) and bias (out) of each layer, one after the other."""
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
def pack(gradients: Array, sizes: Array, packed: Array) -> None:
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
        x, out = activations[layer], activations[layer + 1, 1:]
        weight = weights[layer, : sizes[layer + 1], : 1 + sizes[layer]]
        if layer < last:
            relu_product(out, out, weight, x)
        else:
            product(out, out, weight, x)


@part
def run_layers_back(
    deltas: Array, activations: Array, weights: Array, sizes: Array, gradients: Array, first: int
) -> None:
    """From the last layer's deltas to those of layer ``first - 1``; adds the gradients of the layers on the way."""
    for layer in range(len(sizes) - 2, first - 1, -1):
        fan_in, fan_out = sizes[layer], sizes[layer + 1]
        add_sum_over_samples(gradients[layer], deltas[layer + 1, :fan_out], activations[layer, : 1 + fan_in])
        if layer > 0:
            delta, weight = deltas[layer], weights[layer, :fan_out, 1 : 1 + fan_in].T
            product(delta, delta, weight, deltas[layer + 1])
            for row in range(fan_in):
                for sample in range(delta.shape[1]):
                    passes = activations[layer, 1 + row, sample] > 0
                    delta[row, sample] = delta[row, sample] if passes else np.float32(0.0)

"""Compiled kernels of an actor that scores servers: its network, its chain of denoising steps, the chain's gradient.

A token is what is known of one server for one request, F numbers. One network serves all tokens:

    h_a     = relu(encode' token_a + encode_bias)
    e_a     = mix' h_a + pool' sum_a share_a h_a + mix_bias
    eps_i,a = readout . relu(e_a + latent x_i,a + step_bias_i)
    x_i-1,a = scale_i x_i,a - noise_scale_i eps_i,a

so that a chain of I steps costs little more than one. Tokens of a block lie along the vectors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lad_rllib.arrays import Array, Matrix, Vector
from lad_rllib.compiling import kernel, part

BLOCK = 32
"""Tokens that a chain's gradient takes at a time."""


class ScoringShape(NamedTuple):
    """Sizes of a scoring network: numbers of a token F, hidden width H, denoising steps I, width of a learned start."""

    token: int
    hidden: int
    steps: int
    start: int

    def blocks(self) -> dict[str, tuple[int, ...]]:
        """Shape of each block of the weights, in their order within one vector."""
        token, hidden, steps, start = self
        return {
            "encode": (token, hidden),
            "encode_bias": (hidden,),
            "mix": (hidden, hidden),
            "mix_bias": (hidden,),
            "pool": (hidden, hidden),
            "readout": (hidden,),
            "latent": (hidden,),
            "step_bias": (steps, hidden),
            "start_encode": (token, start),
            "start_bias": (start,),
            "start_readout": (start,),
        }


class ScoringWeights(NamedTuple):
    """The blocks of :meth:`ScoringShape.blocks`."""

    encode: Array
    encode_bias: Array
    mix: Array
    mix_bias: Array
    pool: Array
    readout: Array
    latent: Array
    step_bias: Array
    start_encode: Array
    start_bias: Array
    start_readout: Array


@part
def split_weights(weights: Vector, token: int, hidden: int, steps: int, start: int) -> ScoringWeights:
    """Views of the blocks of one vector, see :meth:`ScoringShape.blocks`."""
    a = token * hidden
    b = a + hidden
    c = b + hidden * hidden
    d = c + hidden
    e = d + hidden * hidden
    f = e + hidden
    g = f + hidden
    h = g + steps * hidden
    i = h + token * start
    j = i + start
    return ScoringWeights(
        weights[:a].reshape((token, hidden)),
        weights[a:b],
        weights[b:c].reshape((hidden, hidden)),
        weights[c:d],
        weights[d:e].reshape((hidden, hidden)),
        weights[e:f],
        weights[f:g],
        weights[g:h].reshape((steps, hidden)),
        weights[h:i].reshape((token, start)),
        weights[i:j],
        weights[j : j + start],
    )


@part
def encode(net: ScoringWeights, tokens: Array, share: Array) -> Array:
    """Encodings of the servers of one request, features along rows: (A, F) and (A,) to (H, A)."""
    servers, hidden = len(tokens), len(net.encode_bias)
    first, mixed = np.empty((servers, hidden), np.float32), np.empty(hidden, np.float32)
    pooled = np.zeros(hidden, np.float32)
    for server in range(servers):
        row = first[server]
        row[:] = net.encode_bias
        add_product(row, tokens[server], net.encode)
        for j in range(hidden):
            row[j] = max(row[j], np.float32(0.0))
            pooled[j] += share[server] * row[j]
    common = net.mix_bias.copy()
    add_product(common, pooled, net.pool)
    encoded = np.empty((hidden, servers), np.float32)
    for server in range(servers):
        mixed[:] = common
        add_product(mixed, first[server], net.mix)
        for j in range(hidden):
            encoded[j, server] = mixed[j]
    return encoded


@part
def add_product(out: Array, x: Array, matrix: Array) -> None:
    """``out += x @ matrix``."""
    for i in range(len(x)):
        factor, row = x[i], matrix[i]
        if factor != 0.0:
            for j in range(len(out)):
                out[j] += factor * row[j]


@part
def learned_starts(net: ScoringWeights, tokens: Array, start: Array) -> None:
    """Add the latent action that a small network gives each server, before the chain's gain."""
    hidden = np.empty(len(net.start_bias), np.float32)
    for server in range(len(tokens)):
        hidden[:] = net.start_bias
        add_product(hidden, tokens[server], net.start_encode)
        for j in range(len(hidden)):
            start[server] += net.start_readout[j] * max(hidden[j], np.float32(0.0))


@part
def denoise(encoded: Array, x: Array, readout: Array, latent: Array, biases: Array, scales: Array, eps: Array) -> None:
    """All denoising steps of a block of tokens: ``x`` (n,) becomes x_0; ``eps`` (n,) is scratch."""
    for step in range(len(scales)):
        predict_noise(encoded, x, readout, latent, biases[step], eps)
        for t in range(len(x)):
            x[t] = scales[step, 0] * x[t] - scales[step, 1] * eps[t]


@part
def predict_noise(encoded: Array, x: Array, readout: Array, latent: Array, bias: Array, eps: Array) -> None:
    """Noise that the denoiser sees in ``x`` (n,)."""
    eps[:] = 0.0
    for h in range(len(readout)):
        row, by_x, constant, factor = encoded[h], latent[h], bias[h], readout[h]
        for t in range(len(x)):
            eps[t] += factor * max(row[t] + by_x * x[t] + constant, np.float32(0.0))


@part
def load_tokens(block: Array, encoded: Array, first: int) -> int:
    """Copy tokens ``first ...`` of ``encoded`` (T, H) to the columns of a block; returns their number."""
    count = min(block.shape[1], len(encoded) - first)
    for t in range(count):
        for h in range(len(block)):
            block[h, t] = encoded[first + t, h]
    block[:, count:] = 0.0
    return count


@kernel
def run_scoring_chain(
    encoded: Matrix, start: Vector, readout: Vector, latent: Vector, biases: Matrix, scales: Matrix, out: Vector
) -> None:
    """Fill ``out`` with ``x_0`` (T,) of T tokens; arguments as of :func:`~lad_rllib.kernels.scoring.scoring_chain`."""
    block = np.empty((encoded.shape[1], BLOCK), np.float32)
    x, eps = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    for first in range(0, len(encoded), BLOCK):
        count = load_tokens(block, encoded, first)
        x[:count], x[count:] = start[first : first + count], 0.0
        denoise(block, x, readout, latent, biases, scales, eps)
        out[first : first + count] = x[:count]


@kernel
def scoring_chain_gradients(
    encoded: Matrix,
    start: Vector,
    readout: Vector,
    latent: Vector,
    biases: Matrix,
    scales: Matrix,
    by_out: Vector,
    by_encoded: Matrix,
    by_start: Vector,
    by_readout: Vector,
    by_latent: Vector,
    by_biases: Matrix,
) -> None:
    """Gradients of a loss by everything that :func:`run_scoring_chain` takes, from that by its result; filled in."""
    hidden, steps = encoded.shape[1], len(scales)
    block, delta = np.empty((hidden, BLOCK), np.float32), np.empty((hidden, BLOCK), np.float32)
    x = np.empty((steps + 1, BLOCK), np.float32)
    eps, back, by_eps = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    sums = np.zeros((2 + steps, hidden, BLOCK), np.float32)  # by readout, latent and biases, for each column
    for first in range(0, len(encoded), BLOCK):
        count = load_tokens(block, encoded, first)
        x[0, :count], x[0, count:] = start[first : first + count], 0.0
        for step in range(steps):
            predict_noise(block, x[step], readout, latent, biases[step], eps)
            for t in range(BLOCK):
                x[step + 1, t] = scales[step, 0] * x[step, t] - scales[step, 1] * eps[t]
        by_x = eps  # the last step's noise is not needed again
        by_x[:count], by_x[count:] = by_out[first : first + count], 0.0
        delta[:] = 0.0
        for step in range(steps - 1, -1, -1):
            now, bias = x[step], biases[step]
            back[:] = 0.0
            for t in range(BLOCK):
                by_eps[t] = -scales[step, 1] * by_x[t]
            for h in range(hidden):
                row, by_row, factor, by_latent_x, constant = block[h], delta[h], readout[h], latent[h], bias[h]
                of_readout, of_latent, of_bias = sums[0, h], sums[1, h], sums[2 + step, h]
                for t in range(BLOCK):
                    before = row[t] + by_latent_x * now[t] + constant
                    passed = by_eps[t] if before > 0 else np.float32(0.0)
                    of_readout[t] += passed * before
                    passed *= factor
                    of_latent[t] += passed * now[t]
                    of_bias[t] += passed
                    by_row[t] += passed
                    back[t] += passed * by_latent_x
            for t in range(BLOCK):
                by_x[t] = scales[step, 0] * by_x[t] + back[t]
        by_start[first : first + count] = by_x[:count]
        for t in range(count):
            for h in range(hidden):
                by_encoded[first + t, h] = delta[h, t]
    for h in range(hidden):
        by_readout[h], by_latent[h] = sums[0, h].sum(), sums[1, h].sum()
        for step in range(steps):
            by_biases[step, h] = sums[2 + step, h].sum()

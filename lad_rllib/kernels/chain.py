"""Compiled kernel of the latent action diffusion actor: a whole chain for one agent and one block of samples at a time.

Layout and words: see :mod:`lad_rllib.kernels.mlp`. The denoiser's first layer sees ``x_i``, the embedding of i
and the state; ``sizes`` counts ``x_i`` only. Its other columns are handled apart: the state's part is computed once for
the chain, and the embedding makes each step's bias.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lad_rllib.kernels.compiler import kernel, part
from lad_rllib.kernels.mlp import (
    BATCH,
    BLOCK,
    PACKED,
    Array,
    add_layer_gradient,
    add_sum_over_samples,
    load_block,
    pack_gradients,
    padded,
    product,
    run_layers,
    run_layers_back,
    store_block,
    transposed,
    unpack,
    workspace,
)
from lad_rllib.kernels.softmax import back_through_softmax, flush, softmax
from lad_rllib.kernels.vector_products import ROWS, SAMPLES, product_onto_tile, relu_product_onto_tile


@part
def relu_product_onto(out: Array, start: Array, weight: Array, x: Array) -> None:
    """``out = relu(start + weight @ x)`` for a block of samples."""
    for column in range(0, BLOCK, SAMPLES):
        for row in range(0, weight.shape[0], ROWS):
            relu_product_onto_tile(out, start, weight, x, row, column)


@part
def add_product(out: Array, weight: Array, x: Array) -> None:
    """``out += weight @ x``."""
    for column in range(0, BLOCK, SAMPLES):
        for row in range(0, weight.shape[0], ROWS):
            product_onto_tile(out, out, weight, x, row, column)


@part
def biases_of_steps(first_layer: Array, embeddings: Array, num_actions: int, biases: Array) -> None:
    """First layer's bias and the embedding's part for each step, shape (I, hidden)."""
    for step in range(len(biases)):
        for row in range(biases.shape[1]):
            total = first_layer[row, 0]
            for k in range(len(embeddings)):
                total += first_layer[row, 1 + num_actions + k] * embeddings[k, step]
            biases[step, row] = total


@part
def reverse_step(after: Array, x: Array, eps: Array, step: Array, limit: np.float32, rows: int) -> None:
    """Mean of ``x_{i-1}`` from ``x_i`` and the predicted noise; see :class:`~lad_rllib.diffusion.ReverseStep`."""
    for row in range(rows):
        if limit < np.inf:
            for sample in range(BLOCK):
                clean = step[3] * x[row, sample] - step[4] * eps[row, sample]
                clean = limit if clean > limit else clean
                clean = -limit if clean < -limit else clean
                after[row, sample] = step[6] * x[row, sample] + step[5] * clean
        else:
            for sample in range(BLOCK):
                after[row, sample] = step[0] * x[row, sample] - step[1] * eps[row, sample]


@part
def back_through_reverse_step(
    delta_eps: Array, delta_x: Array, x: Array, eps: Array, step: Array, limit: np.float32, rows: int
) -> None:
    """From the gradient by ``x_{i-1}`` to that by the predicted noise, and, in place, to its direct part by ``x_i``."""
    for row in range(rows):
        if limit < np.inf:
            for sample in range(BLOCK):
                clean = step[3] * x[row, sample] - step[4] * eps[row, sample]
                delta = delta_x[row, sample]
                delta_clean = step[5] * delta if -limit <= clean <= limit else np.float32(0.0)
                delta_eps[row, sample] = -step[4] * delta_clean
                delta_x[row, sample] = step[6] * delta + step[3] * delta_clean
        else:
            for sample in range(BLOCK):
                delta = delta_x[row, sample]
                delta_eps[row, sample] = -step[1] * delta
                delta_x[row, sample] = step[0] * delta


@part
def add_noise(x: Array, noise: Array, scale: np.float32, first: int) -> None:
    """Add fresh noise (A, M) to a block of samples."""
    for row in range(len(noise)):
        for sample in range(min(BLOCK, noise.shape[1] - first)):
            x[row, sample] += scale * noise[row, first + sample]


class ChainWork(NamedTuple):
    """Scratch of a kernel of chains.

    Attributes:
        weights: The agent's weights, see :func:`~lad_rllib.kernels.mlp.unpack`.
        biases: First layer's bias and embedding of each step, shape (I, hidden).
        gradients: Gradients by the weights.
        activations: I + 1 activations of a block, one for each step and one that begins with ``x_0``; or two, which
            take turns, if no gradient is asked for.
        deltas: See :mod:`~lad_rllib.kernels.mlp`.
        state: The block's states.
        from_state: The state's part of the first layer.
        delta_x: Gradient by ``x_i`` of a block.
        all_steps: Sum of the first layer's deltas over steps.
        scratch: Rows for what a softmax leaves.
        sums: For sums over samples.
    """

    weights: Array
    biases: Array
    gradients: Array
    activations: Array
    deltas: Array
    state: Array
    from_state: Array
    delta_x: Array
    all_steps: Array
    scratch: Array
    sums: Array


@part
def chain_work(sizes: Array, num_steps: int, with_gradient: bool) -> ChainWork:
    """Scratch for chains of networks with these sizes."""
    layers = len(sizes) - 1
    columns, rows = padded(sizes.max()) + 2 * ROWS, padded(sizes[1:].max()) + ROWS
    num_activations = num_steps + 1 if with_gradient else 2
    flat_activations = workspace(num_activations * (layers + 1), rows, BLOCK)
    activations = flat_activations.reshape((num_activations, layers + 1, rows, BLOCK))
    activations[:, :, 0] = 1.0
    single = workspace(4, rows, BLOCK)
    return ChainWork(
        workspace(layers, rows, columns),
        np.empty((num_steps, sizes[1]), np.float32),
        workspace(layers, rows, columns),
        activations,
        workspace(layers + 1, rows, BLOCK),
        workspace(1, columns, BLOCK)[0],
        single[0],
        single[1],
        single[2],
        single[3],
        workspace(1, rows, ROWS)[0],
    )


@part
def begin_agent(work: ChainWork, parameters: Array, sizes: Array, embeddings: Array) -> None:
    """Unpack an agent's parameters (P,)."""
    unpack(parameters, sizes, work.weights)
    biases_of_steps(work.weights[0], embeddings, sizes[-1], work.biases)
    work.gradients[:] = 0.0


@part
def denoised_block(
    work: ChainWork,
    state: Array,
    latent: Array,
    noise: Array,
    first: int,
    steps: Array,
    sizes: Array,
    softmax_output: bool,
    limit: np.float32,
) -> Array:
    """``x_0`` (rows, BLOCK) of the agent's samples from ``first`` on; it lies among the activations.

    Args:
        work: Scratch, after :func:`begin_agent`.
        state: The agent's states (state size, M).
        latent: What chains start from (A, M).
        noise: Fresh noise (I - 1 or more, A, M).
        first: Number of the first sample.
        steps: See :func:`run_chains`.
        sizes: Widths of the layers.
        softmax_output: Whether a softmax ends the denoiser.
        limit: See :func:`run_chains`.
    """
    weights, activations = work.weights, work.activations
    last, actions, hidden = len(sizes) - 1, sizes[-1], sizes[1]
    load_block(work.state, state, first)
    product(work.from_state, weights[0, : padded(hidden), 1 + sizes[0] - len(state) : 1 + sizes[0]], work.state)
    load_block(activations[0, 0, 1:], latent, first)
    for k in range(len(steps)):
        present, following = activations[k % len(activations)], activations[(k + 1) % len(activations)]
        weights[0, :hidden, 0] = work.biases[k]
        first_layer = weights[0, : padded(hidden), : 1 + actions]
        relu_product_onto(present[1, 1:], work.from_state, first_layer, present[0])
        run_layers(present, weights, sizes, 1)
        x, eps, after = present[0, 1:], present[last, 1:], following[0, 1:]
        if softmax_output:
            softmax(eps, actions, work.scratch[0], work.scratch[1])
        reverse_step(after, x, eps, steps[k], limit, actions)
        if steps[k, 2] > 0:
            add_noise(after, noise[k], steps[k, 2], first)
    return activations[len(steps) % len(activations), 0, 1:]


@part
def back_through_block(
    work: ChainWork,
    embeddings: Array,
    steps: Array,
    sizes: Array,
    softmax_output: bool,
    limit: np.float32,
    by_latent: bool,
) -> None:
    """From the gradient by ``x_0`` in ``delta_x``, add a block's gradients by the parameters.

    What is left in ``delta_x`` is the gradient by the latent action, if it is asked for.
    """
    delta_x, deltas, weights, gradients, all_steps, sums = (
        work.delta_x,
        work.deltas,
        work.weights,
        work.gradients,
        work.all_steps,
        work.sums,
    )
    last, actions, hidden = len(sizes) - 1, sizes[-1], sizes[1]
    embedding, before_state = len(embeddings), 1 + actions + len(embeddings)
    all_steps[:] = 0.0
    for k in range(len(steps) - 1, -1, -1):
        present = work.activations[k]
        x, eps = present[0, 1:], present[last, 1:]
        back_through_reverse_step(deltas[last], delta_x, x, eps, steps[k], limit, actions)
        if softmax_output:
            back_through_softmax(deltas[last], eps, actions, work.scratch[0])
        run_layers_back(deltas, present, weights, sizes, gradients, 1)
        add_layer_gradient(gradients[0], deltas[1], present[0], hidden, actions)
        sums[:] = 0.0
        add_sum_over_samples(sums, deltas[1, : padded(hidden)], present[0, :ROWS])  # by the bias: row 0 is ones
        for row in range(hidden):
            for j in range(embedding):
                gradients[0, row, 1 + actions + j] += sums[row, 0] * embeddings[j, k]
            for sample in range(BLOCK):
                all_steps[row, sample] += deltas[1, row, sample]
        if k > 0 or by_latent:
            add_product(delta_x, transposed(weights[0], actions, hidden), deltas[1])
    features = padded(sizes[0] - actions - embedding)
    add_sum_over_samples(gradients[0, :, before_state:], all_steps[: padded(hidden)], work.state[:features])


CHAIN = f"{PACKED}, int64[::1], {PACKED}, {PACKED}, boolean, float32"
INPUTS = f"{BATCH}, {BATCH}, float32[:, :, :, ::1]"


@kernel(f"void({CHAIN}, {INPUTS}, {BATCH}, {BATCH}, {PACKED}, {BATCH})")
def run_chains(
    parameters: Array,
    sizes: Array,
    embeddings: Array,
    steps: Array,
    softmax_output: bool,
    limit: np.float32,
    state: Array,
    latent: Array,
    noise: Array,
    logits: Array,
    logits_gradient: Array,
    gradient: Array,
    latent_gradient: Array,
) -> None:
    """Denoise latent actions of all agents, or find the gradient of a loss by their parameters.

    Args:
        parameters: The denoisers' packed parameters (G, P).
        sizes: Widths of their layers.
        embeddings: Embedding of each step (embedding size, I).
        steps: Coefficients of the steps i = I ... 1, shape (I, 7): ``x_scale``, ``noise_prediction_scale``,
            ``fresh_noise_scale``, ``clean_x_scale``, ``clean_noise_scale``, ``mean_clean_scale``, ``mean_x_scale``.
        softmax_output: Whether a softmax ends the denoiser.
        limit: Greatest magnitude of the estimates of ``x_0``, infinite for none.
        state: States (G, state size, M).
        latent: Latent actions ``x_I`` (G, A, M).
        noise: Fresh noise (I - 1 or more, G, A, M).
        logits: Filled with ``x_0`` (G, A, M), unless a gradient is asked for.
        logits_gradient: Gradient of the loss by ``x_0`` (G, A, M).
        gradient: Filled with that by the parameters (G, P); empty (0, 0) if none is asked for.
        latent_gradient: Filled with that by the latent actions (G, A, M); empty (0, 0, 0) if it is not asked for.
    """
    work = chain_work(sizes, len(steps), len(gradient) > 0)
    for agent in range(len(parameters)):
        begin_agent(work, parameters[agent], sizes, embeddings)
        for first in range(0, latent.shape[2], BLOCK):
            x = denoised_block(
                work, state[agent], latent[agent], noise[:, agent], first, steps, sizes, softmax_output, limit
            )
            if not len(gradient):
                store_block(logits[agent], x, first)
                continue
            load_block(work.delta_x, logits_gradient[agent], first)
            flush(work.delta_x, sizes[-1])
            back_through_block(work, embeddings, steps, sizes, softmax_output, limit, len(latent_gradient) > 0)
            if len(latent_gradient):
                store_block(latent_gradient[agent], work.delta_x, first)
        if len(gradient):
            pack_gradients(work.gradients, sizes, gradient[agent])

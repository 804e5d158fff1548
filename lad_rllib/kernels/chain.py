"""Compiled kernels of the latent action diffusion actor: a whole chain for one agent and a block of samples at a time.

Layout and words: see :mod:`lad_rllib.kernels.layers`. The denoiser's first layer sees ``x_i``, the embedding of i and
the state, of which only ``x_i`` changes within a chain of samples: the state's part is computed once for the chain, and
the embedding makes each step's bias.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lad_rllib.arrays import Array, Batch, Batches, Integers, Matrix, Vector
from lad_rllib.compiling import kernel, part
from lad_rllib.kernels.layers import (
    BLOCK,
    load_block,
    pack,
    padded,
    run_layers,
    run_layers_back,
    store_block,
    unpack,
    workspace,
)
from lad_rllib.kernels.losses import soft_value
from lad_rllib.kernels.softmax import back_through_softmax, flush, softmax
from lad_rllib.kernels.vector_products import (
    FEATURES,
    ROWS,
    add_sum_over_samples,
    product,
    product_onto,
    relu_product_onto,
)


class Settings(NamedTuple):
    """What kernels take of a :class:`~lad_rllib.diffusion.reference.Chain`."""

    sizes: Integers
    embeddings: Matrix
    steps: Matrix
    softmax_output: bool
    limit: np.float32


class Passes(NamedTuple):
    """Inputs of all agents' chains, see :data:`~lad_rllib.diffusion.reference.Samples`."""

    state: Batch
    latent: Batch
    noise: Batches


class Loss(NamedTuple):
    """What gradients are taken of: any loss, or, without a gradient by logits, minus the mean soft value.

    Attributes:
        logits_gradient: Gradient of any loss by ``x_0`` (G, A, M), or empty.
        q_values: Values of both critics (2, G, A, M).
        temperature: Temperature of each agent (G,).
        value: Filled with the soft value (G, M).
        entropy: Filled with the entropy [nat] (G, M).
    """

    logits_gradient: Batch
    q_values: Batches
    temperature: Vector
    value: Matrix
    entropy: Matrix


class ChainWork(NamedTuple):
    """Scratch of a kernel of chains, for a block of samples; see :mod:`~lad_rllib.kernels.layers`."""

    weights: Array
    gradients: Array
    biases: Array  # of the first layer, with the embedding of each step (I, hidden)
    activations: Array  # I + 1, one for each step and one that begins with x_0; or two, which take turns
    deltas: Array
    state: Array
    from_state: Array  # the state's part of the first layer
    delta_x: Array  # gradient by x_i
    all_steps: Array  # sum of the first layer's deltas over steps
    scratch: Array  # what a softmax or a soft value leaves (5, samples)
    sums: Array  # sums over samples


@part
def chain_work(chain: Settings, with_gradient: bool) -> ChainWork:
    """Scratch for blocks of samples."""
    sizes, layers, num_steps = chain.sizes, len(chain.sizes) - 1, len(chain.steps)
    columns, rows = padded(sizes.max()) + ROWS, padded(sizes[1:].max())
    num_activations = num_steps + 1 if with_gradient else 2
    flat_activations = workspace(num_activations * (layers + 1), rows, BLOCK)
    activations = flat_activations.reshape((num_activations, layers + 1, rows, BLOCK))
    activations[:, :, 0] = 1.0
    single = workspace(3, rows, BLOCK)
    return ChainWork(
        workspace(layers, rows, columns),
        workspace(layers, rows, columns),
        np.empty((num_steps, sizes[1]), np.float32),
        activations,
        workspace(layers + 1, rows, BLOCK),
        workspace(1, columns, BLOCK)[0],
        single[0],
        single[1],
        single[2],
        workspace(1, 5, BLOCK)[0],
        workspace(1, rows, ROWS)[0],
    )


@part
def chain_work_of_one(chain: Settings) -> ChainWork:
    """Scratch for a single sample at a time: vectors lie along the features; there is no gradient."""
    sizes, layers, num_steps = chain.sizes, len(chain.sizes) - 1, len(chain.steps)
    features = (sizes[1:].max() + FEATURES - 1) // FEATURES * FEATURES + FEATURES
    activations = workspace(2 * (layers + 1), 1, features).reshape((2, layers + 1, 1, features)).transpose((0, 1, 3, 2))
    activations[:, :, 0] = 1.0
    weights = workspace(layers, sizes.max() + 1, features).transpose((0, 2, 1))
    none = workspace(1, 1, 1).transpose((0, 2, 1))
    return ChainWork(
        weights,
        none,
        np.empty((num_steps, sizes[1]), np.float32),
        activations,
        none,
        workspace(1, 1, sizes.max()).transpose((0, 2, 1))[0],
        workspace(1, 1, features).transpose((0, 2, 1))[0],
        none[0],
        none[0],
        workspace(1, 5, 1)[0],
        none[0],
    )


@part
def begin_agent(work: ChainWork, chain: Settings, parameters: Array) -> None:
    """Unpack an agent's parameters (P,)."""
    unpack(parameters, chain.sizes, work.weights)
    for step in range(len(chain.steps)):
        for row in range(chain.sizes[1]):
            total = work.weights[0, row, 0]
            for k in range(len(chain.embeddings)):
                total += work.weights[0, row, 1 + chain.sizes[-1] + k] * chain.embeddings[k, step]
            work.biases[step, row] = total
    work.gradients[:] = 0.0


@part
def reverse_step(after: Array, x: Array, eps: Array, step: Array, limit: np.float32, rows: int) -> None:
    """Mean of ``x_{i-1}`` from ``x_i`` and the predicted noise; see :class:`~lad_rllib.diffusion.ReverseStep`."""
    for row in range(rows):
        if limit < np.inf:
            for sample in range(x.shape[1]):
                clean = step[3] * x[row, sample] - step[4] * eps[row, sample]
                clean = limit if clean > limit else clean
                clean = -limit if clean < -limit else clean
                after[row, sample] = step[6] * x[row, sample] + step[5] * clean
        else:
            for sample in range(x.shape[1]):
                after[row, sample] = step[0] * x[row, sample] - step[1] * eps[row, sample]


@part
def back_through_reverse_step(
    delta_eps: Array, delta_x: Array, x: Array, eps: Array, step: Array, limit: np.float32, rows: int
) -> None:
    """From the gradient by ``x_{i-1}`` to that by the predicted noise, and, in place, to its direct part by ``x_i``."""
    for row in range(rows):
        if limit < np.inf:
            for sample in range(x.shape[1]):
                clean = step[3] * x[row, sample] - step[4] * eps[row, sample]
                delta = delta_x[row, sample]
                delta_clean = step[5] * delta if -limit <= clean <= limit else np.float32(0.0)
                delta_eps[row, sample] = -step[4] * delta_clean
                delta_x[row, sample] = step[6] * delta + step[3] * delta_clean
        else:
            for sample in range(x.shape[1]):
                delta = delta_x[row, sample]
                delta_eps[row, sample] = -step[1] * delta
                delta_x[row, sample] = step[0] * delta


@part
def denoised_block(work: ChainWork, chain: Settings, passes: Passes, agent: int, first: int) -> Array:
    """``x_0`` (rows, samples) of an agent's samples from ``first`` on; it lies among the activations."""
    state, latent, noise = passes.state[agent], passes.latent[agent], passes.noise
    weights, activations, sizes = work.weights, work.activations, chain.sizes
    last, actions, hidden = len(sizes) - 1, sizes[-1], sizes[1]
    load_block(work.state, state, first)
    from_state = work.from_state
    product(from_state, from_state, weights[0, :hidden, 1 + sizes[0] - len(state) : 1 + sizes[0]], work.state)
    load_block(activations[0, 0, 1:], latent, first)
    for k in range(len(chain.steps)):
        present, following = activations[k % len(activations)], activations[(k + 1) % len(activations)]
        for row in range(hidden):
            weights[0, row, 0] = work.biases[k, row]
        relu_product_onto(present[1, 1:], from_state, weights[0, :hidden, : 1 + actions], present[0])
        run_layers(present, weights, sizes, 1)
        x, eps, after = present[0, 1:], present[last, 1:], following[0, 1:]
        if chain.softmax_output:
            softmax(eps, actions, work.scratch[0], work.scratch[1])
        reverse_step(after, x, eps, chain.steps[k], chain.limit, actions)
        if k < len(noise) and chain.steps[k, 2] > 0:
            for row in range(actions):
                for sample in range(min(x.shape[1], noise.shape[3] - first)):
                    after[row, sample] += chain.steps[k, 2] * noise[k, agent, row, first + sample]
    return activations[len(chain.steps) % len(activations), 0, 1:]


@part
def back_through_block(work: ChainWork, chain: Settings, by_latent: bool) -> None:
    """From the gradient by ``x_0`` in ``delta_x``, add a block's gradients by the parameters.

    What is left in ``delta_x`` is the gradient by the latent action, if it is asked for.
    """
    delta_x, deltas, gradients, sizes = work.delta_x, work.deltas, work.gradients, chain.sizes
    all_steps, sums = work.all_steps, work.sums
    last, actions, hidden = len(sizes) - 1, sizes[-1], sizes[1]
    embedding, before_state = len(chain.embeddings), 1 + actions + len(chain.embeddings)
    all_steps[:] = 0.0
    for k in range(len(chain.steps) - 1, -1, -1):
        present = work.activations[k]
        x, eps, delta = present[0, 1:], present[last, 1:], deltas[1]
        back_through_reverse_step(deltas[last], delta_x, x, eps, chain.steps[k], chain.limit, actions)
        if chain.softmax_output:
            back_through_softmax(deltas[last], eps, actions, work.scratch[0])
        run_layers_back(deltas, present, work.weights, sizes, gradients, 1)
        add_sum_over_samples(gradients[0], delta[:hidden], present[0, : 1 + actions])
        sums[:] = 0.0
        add_sum_over_samples(sums, delta[:hidden], present[0, :1])  # by the bias: row 0 is ones
        for row in range(hidden):
            for j in range(embedding):
                gradients[0, row, 1 + actions + j] += sums[row, 0] * chain.embeddings[j, k]
            for sample in range(BLOCK):
                all_steps[row, sample] += delta[row, sample]
        if k > 0 or by_latent:
            product_onto(delta_x, delta_x, work.weights[0, :hidden, 1 : 1 + actions].T, delta)
    features = sizes[0] - actions - embedding
    add_sum_over_samples(gradients[0, :, before_state:], all_steps[:hidden], work.state[:features])


@kernel
def run_chains(parameters: Matrix, chain: Settings, passes: Passes, logits: Batch) -> None:
    """Fill ``logits`` with ``x_0`` (G, A, M) of all agents, whose denoisers have ``parameters`` (G, P)."""
    work = chain_work(chain, False)
    for agent in range(len(parameters)):
        begin_agent(work, chain, parameters[agent])
        for first in range(0, logits.shape[2], BLOCK):
            x = denoised_block(work, chain, passes, agent, first)
            store_block(logits[agent], x, first)


@kernel
def chain_gradients(
    parameters: Matrix, chain: Settings, passes: Passes, loss: Loss, gradient: Matrix, latent_gradient: Batch
) -> None:
    """Gradient of a loss by the parameters, and by the latent actions.

    Args:
        parameters: The denoisers' parameters (G, P).
        chain: Settings.
        passes: Inputs.
        loss: The loss.
        gradient: Filled with the gradient by the parameters (G, P).
        latent_gradient: Filled with that by the latent actions (G, A, M); empty if it is not asked for.
    """
    _, actions, samples = passes.latent.shape
    work, both_q, share = chain_work(chain, True), workspace(2, actions, BLOCK), np.float32(-1.0) / np.float32(samples)
    delta, by_latent = work.delta_x[:actions], len(latent_gradient) > 0
    for agent in range(len(parameters)):
        begin_agent(work, chain, parameters[agent])
        for first in range(0, samples, BLOCK):
            x, count = denoised_block(work, chain, passes, agent, first), min(BLOCK, samples - first)
            if len(loss.logits_gradient):
                load_block(delta, loss.logits_gradient[agent], first)
            else:
                for critic in range(2):
                    load_block(both_q[critic], loss.q_values[critic, agent], first)
                temperature = loss.temperature[agent]
                value, entropy = soft_value(x[:actions], both_q[0], both_q[1], temperature, delta, work.scratch)
                for k in range(count):
                    loss.value[agent, first + k], loss.entropy[agent, first + k] = value[k], entropy[k]
                for row in range(actions):
                    for sample in range(BLOCK):
                        delta[row, sample] = delta[row, sample] * share if sample < count else np.float32(0.0)
            flush(delta, actions)
            back_through_block(work, chain, by_latent)
            if by_latent:
                store_block(latent_gradient[agent], delta, first)
        pack(work.gradients, chain.sizes, gradient[agent])

"""Compiled kernels of an update's gradients: networks, loss and the way back for one block of samples at a time."""

from __future__ import annotations

import numpy as np

from lad_rllib.kernels.chain import (
    CHAIN,
    INPUTS,
    back_through_block,
    begin_agent,
    chain_work,
    denoised_block,
)
from lad_rllib.kernels.compiler import kernel
from lad_rllib.kernels.losses import VALUES, soft_value_of_agent, squared_error
from lad_rllib.kernels.mlp import (
    BATCH,
    BLOCK,
    PACKED,
    ROWS,
    Array,
    load_block,
    pack_gradients,
    padded,
    run_layers,
    run_layers_back,
    unpack,
    workspace,
)
from lad_rllib.kernels.softmax import flush


@kernel(f"void({PACKED}, int64[::1], {BATCH}, int64[:, ::1], {PACKED}, float32[::1], {PACKED})")
def critic_gradients(
    parameters: Array, sizes: Array, state: Array, action: Array, target: Array, loss: Array, gradient: Array
) -> None:
    """Loss of both critics of all agents, and its gradient by their parameters.

    Args:
        parameters: Packed parameters of all first, then all second critics (2 G, P).
        sizes: Widths of the layers.
        state: States (G, state size, M).
        action: Actions taken (G, M).
        target: Target (G, M).
        loss: Filled in (G,).
        gradient: Filled in (2 G, P).
    """
    layers, rows = len(sizes) - 1, padded(sizes.max()) + ROWS
    weights, gradients = workspace(layers, rows, rows), workspace(layers, rows, rows)
    activations, deltas = workspace(layers + 1, rows, BLOCK), workspace(layers + 1, rows, BLOCK)
    activations[:, 0] = 1.0
    loss[:] = 0.0
    for network in range(len(parameters)):
        agent = network % len(state)
        unpack(parameters[network], sizes, weights)
        gradients[:] = 0.0
        for first in range(0, state.shape[2], BLOCK):
            load_block(activations[0, 1:], state[agent], first)
            run_layers(activations, weights, sizes, 0)
            loss[agent] += squared_error(deltas[layers], activations[layers, 1:], action[agent], target[agent], first)
            run_layers_back(deltas, activations, weights, sizes, gradients, 0)
        pack_gradients(gradients, sizes, gradient[network])


@kernel(f"void({CHAIN}, {INPUTS}, {PACKED}, int64[::1], float32[::1], {PACKED}, float32, {PACKED})")
def soft_targets(
    parameters: Array,
    sizes: Array,
    embeddings: Array,
    steps: Array,
    softmax_output: bool,
    limit: np.float32,
    state: Array,
    latent: Array,
    noise: Array,
    critics: Array,
    critic_sizes: Array,
    temperature: Array,
    reward: Array,
    gamma: np.float32,
    target: Array,
) -> None:
    """Targets of all critics: ``reward + gamma * soft value`` of what all actors choose in the next states.

    Args:
        parameters: See :func:`~lad_rllib.kernels.chain.run_chains`, as those up to ``noise``.
        sizes: See there.
        embeddings: See there.
        steps: See there.
        softmax_output: See there.
        limit: See there.
        state: See there.
        latent: See there.
        noise: See there.
        critics: Packed parameters of all first, then all second target critics (2 G, P).
        critic_sizes: Widths of their layers.
        temperature: Temperature of each agent (G,).
        reward: Rewards (G, M).
        gamma: Discount factor.
        target: Filled with the targets (G, M).
    """
    actions, samples = latent.shape[1:]
    agents, layers, rows = len(parameters), len(critic_sizes) - 1, padded(critic_sizes.max()) + ROWS
    work = chain_work(sizes, len(steps), False)
    weights, activations = workspace(2 * layers, rows, rows), workspace(2 * (layers + 1), rows, BLOCK)
    activations[:, 0] = 1.0
    of_samples, scratch = workspace(1, 5, BLOCK)[0], workspace(1, actions, BLOCK)[0]
    for agent in range(agents):
        begin_agent(work, parameters[agent], sizes, embeddings)
        for critic in range(2):
            unpack(critics[critic * agents + agent], critic_sizes, weights[critic * layers : (critic + 1) * layers])
        for first in range(0, samples, BLOCK):
            x = denoised_block(
                work, state[agent], latent[agent], noise[:, agent], first, steps, sizes, softmax_output, limit
            )
            for critic in range(2):
                own = activations[critic * (layers + 1) : (critic + 1) * (layers + 1)]
                load_block(own[0, 1:], state[agent], first)
                run_layers(own, weights[critic * layers : (critic + 1) * layers], critic_sizes, 0)
            soft_value_of_agent(
                x[:actions],
                activations[layers, 1:],
                activations[2 * layers + 1, 1:],
                temperature[agent],
                of_samples[3],
                of_samples[4],
                scratch,
                of_samples[:3],
            )
            for sample in range(min(BLOCK, samples - first)):
                target[agent, first + sample] = reward[agent, first + sample] + gamma * of_samples[3, sample]


@kernel(f"void({CHAIN}, {INPUTS}, {VALUES}, float32[::1], {PACKED}, {PACKED}, {PACKED})")
def actor_gradients(
    parameters: Array,
    sizes: Array,
    embeddings: Array,
    steps: Array,
    softmax_output: bool,
    limit: np.float32,
    state: Array,
    latent: Array,
    noise: Array,
    q_values: Array,
    temperature: Array,
    value: Array,
    entropy: Array,
    gradient: Array,
) -> None:
    """Soft values of what all actors choose, and the gradient of their mean's negative by the parameters.

    Args:
        parameters: See :func:`~lad_rllib.kernels.chain.run_chains`, as those up to ``noise``.
        sizes: See there.
        embeddings: See there.
        steps: See there.
        softmax_output: See there.
        limit: See there.
        state: See there.
        latent: See there.
        noise: See there.
        q_values: Values of both critics (2, G, A, M).
        temperature: Temperature of each agent (G,).
        value: Filled with the soft value (G, M).
        entropy: Filled with the entropy [nat] (G, M).
        gradient: Filled with the gradient (G, P).
    """
    actions, samples = latent.shape[1:]
    work = chain_work(sizes, len(steps), True)
    both, of_samples = workspace(2, actions, BLOCK), workspace(1, 5, BLOCK)[0]
    share = np.float32(-1.0) / np.float32(samples)
    for agent in range(len(parameters)):
        begin_agent(work, parameters[agent], sizes, embeddings)
        for first in range(0, samples, BLOCK):
            count = min(BLOCK, samples - first)
            x = denoised_block(
                work, state[agent], latent[agent], noise[:, agent], first, steps, sizes, softmax_output, limit
            )
            for critic in range(2):
                load_block(both[critic], q_values[critic, agent], first)
            delta = work.delta_x[:actions]
            soft_value_of_agent(
                x[:actions],
                both[0],
                both[1],
                temperature[agent],
                of_samples[3],
                of_samples[4],
                delta,
                of_samples[:3],
            )
            value[agent, first : first + count] = of_samples[3, :count]
            entropy[agent, first : first + count] = of_samples[4, :count]
            for action in range(actions):
                for sample in range(count):
                    delta[action, sample] *= share
                delta[action, count:] = 0.0
            flush(work.delta_x, actions)
            back_through_block(work, embeddings, steps, sizes, softmax_output, limit, False)
        pack_gradients(work.gradients, sizes, gradient[agent])

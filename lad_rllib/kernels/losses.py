"""Compiled kernels of two losses and their gradients: see :mod:`~lad_rllib.algorithms.soft_actor_critic.losses`."""

from __future__ import annotations

import math

import numpy as np

from lad_rllib.kernels.compiler import kernel, part
from lad_rllib.kernels.mlp import BATCH, PACKED, Array
from lad_rllib.kernels.softmax import flush, softmax

VALUES = "float32[:, :, :, ::1]"


@part
def soft_value_of_agent(
    logits: Array,
    first_q: Array,
    second_q: Array,
    temperature: np.float32,
    value: Array,
    entropy: Array,
    probabilities: Array,
    scratch: Array,
) -> None:
    """One agent's part of :func:`soft_values`; turns ``probabilities`` into the gradient."""
    actions, samples = logits.shape
    greatest, logs, expected = scratch[0], scratch[1], scratch[2]
    probabilities[:] = logits
    softmax(probabilities, actions, greatest, logs)
    for sample in range(samples):
        logs[sample] = np.float32(math.log(logs[sample]))
    expected[:], entropy[:] = np.float32(0.0), np.float32(0.0)
    for action in range(actions):
        for sample in range(samples):
            probability = probabilities[action, sample]
            expected[sample] += probability * min(first_q[action, sample], second_q[action, sample])
            entropy[sample] -= probability * ((logits[action, sample] - greatest[sample]) + logs[sample])
    for sample in range(samples):
        value[sample] = expected[sample] + temperature * entropy[sample]
    for action in range(actions):
        for sample in range(samples):
            by_value = min(first_q[action, sample], second_q[action, sample]) - expected[sample]
            by_entropy = ((logits[action, sample] - greatest[sample]) + logs[sample]) + entropy[sample]
            probabilities[action, sample] *= by_value - temperature * by_entropy


@kernel(f"void({BATCH}, {VALUES}, float32[::1], {PACKED}, {PACKED}, {BATCH})")
def soft_values(
    logits: Array, q_values: Array, temperature: Array, value: Array, entropy: Array, gradient: Array
) -> None:
    """Soft value, entropy, and the soft value's gradient by the logits.

    Args:
        logits: Action logits (G, A, M).
        q_values: Values of both critics (2, G, A, M).
        temperature: Temperature of each agent (G,).
        value: Filled with the soft value (G, M).
        entropy: Filled with the entropy [nat] (G, M).
        gradient: Filled with the gradient (G, A, M).
    """
    scratch = np.empty((3, logits.shape[2]), np.float32)
    for agent in range(len(logits)):
        soft_value_of_agent(
            logits[agent],
            q_values[0, agent],
            q_values[1, agent],
            temperature[agent],
            value[agent],
            entropy[agent],
            gradient[agent],
            scratch,
        )
        flush(gradient[agent], logits.shape[1])


@part
def squared_error(delta: Array, values: Array, action: Array, target: Array, first: int) -> np.float32:
    """Part of one critic's mean squared error that samples ``first ...`` have; ``delta`` becomes its gradient.

    Args:
        delta: Filled with the gradient by the values, zeros elsewhere.
        values: Values of the samples from ``first`` on, at least (A, as many).
        action: Actions taken of all samples (M,).
        target: Targets of all samples (M,).
        first: The first of these samples.
    """
    samples, loss = len(target), np.float32(0.0)
    delta[:] = 0.0
    for sample in range(min(values.shape[1], samples - first)):
        taken = action[first + sample]
        error = values[taken, sample] - target[first + sample]
        loss += error * error / np.float32(samples)
        delta[taken, sample] = np.float32(2.0) * error / np.float32(samples)
    return loss


@kernel(f"void({VALUES}, int64[:, ::1], {PACKED}, float32[::1], {VALUES})")
def critic_losses(q_values: Array, action: Array, target: Array, loss: Array, gradient: Array) -> None:
    """Loss of both critics, and its gradient by their values.

    Args:
        q_values: Values of both critics (2, G, A, M).
        action: Actions taken (G, M).
        target: Target (G, M).
        loss: Filled in (G,).
        gradient: Filled in (2, G, A, M).
    """
    loss[:] = 0.0
    for critic in range(2):
        for agent in range(len(target)):
            loss[agent] += squared_error(
                gradient[critic, agent], q_values[critic, agent], action[agent], target[agent], 0
            )

"""Losses of soft actor-critic for a block of samples of one agent; formulas in :mod:`lad_rllib.diffusion.reference`."""

from __future__ import annotations

import math

import numpy as np

from lad_rllib.arrays import Array
from lad_rllib.compiling import part
from lad_rllib.kernels.softmax import softmax


@part
def soft_value(
    logits: Array, first_q: Array, second_q: Array, temperature: np.float32, gradient: Array, scratch: Array
) -> tuple[Array, Array]:
    """Soft value and entropy [nat] of each sample, which lie in ``scratch``.

    Args:
        logits: Action logits (A, samples).
        first_q: Values of the first critic (A, samples).
        second_q: Values of the second critic (A, samples).
        temperature: The agent's temperature.
        gradient: Filled with the soft value's gradient by the logits (A, samples).
        scratch: Five rows (5, samples).
    """
    actions, samples = logits.shape
    greatest, logs, expected, value, entropy = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    for action in range(actions):
        for sample in range(samples):
            gradient[action, sample] = logits[action, sample]
    softmax(gradient, actions, greatest, logs)
    for sample in range(samples):
        logs[sample] = np.float32(math.log(logs[sample]))
    expected[:], entropy[:] = np.float32(0.0), np.float32(0.0)
    for action in range(actions):
        for sample in range(samples):
            probability = gradient[action, sample]
            expected[sample] += probability * min(first_q[action, sample], second_q[action, sample])
            entropy[sample] -= probability * ((logits[action, sample] - greatest[sample]) + logs[sample])
    for sample in range(samples):
        value[sample] = expected[sample] + temperature * entropy[sample]
    for action in range(actions):
        for sample in range(samples):
            by_value = min(first_q[action, sample], second_q[action, sample]) - expected[sample]
            by_entropy = ((logits[action, sample] - greatest[sample]) + logs[sample]) + entropy[sample]
            gradient[action, sample] *= by_value - temperature * by_entropy
    return value, entropy


@part
def squared_error(delta: Array, q_values: Array, action: Array, target: Array, first: int) -> np.float32:
    """Part of one critic's mean squared error that samples ``first ...`` have; ``delta`` becomes its gradient.

    Args:
        delta: Filled with the gradient by the values, zeros elsewhere.
        q_values: Values of the samples from ``first`` on, at least (A, as many).
        action: Actions taken of all samples (M,).
        target: Targets of all samples (M,).
        first: The first of these samples.
    """
    samples, loss = len(target), np.float32(0.0)
    delta[:] = 0.0
    for sample in range(min(q_values.shape[1], samples - first)):
        taken = action[first + sample]
        error = q_values[taken, sample] - target[first + sample]
        loss += error * error / np.float32(samples)
        delta[taken, sample] = np.float32(2.0) * error / np.float32(samples)
    return loss

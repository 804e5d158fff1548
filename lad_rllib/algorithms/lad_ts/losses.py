"""Losses of discrete soft actor-critic with a latent action diffusion actor, as pure functions.

Axes: G agents (base stations), A actions (edge servers), M samples of one agent. Every loss is a vector over agents:
each agent's own mean over its samples. Agents share nothing, so the gradient of its sum is each agent's own gradient.

Source: section 4 of the algorithm's README; arXiv 2412.18212, and arXiv 1910.07207 for discrete SAC.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def probabilities_and_entropy(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Action probabilities and their entropy [nat] of logits (G, A, M): shapes (G, A, M) and (G, M)."""
    log_probabilities = functional.log_softmax(logits, dim=1)
    probabilities = log_probabilities.exp()
    return probabilities, -(probabilities * log_probabilities).sum(1)


def soft_value_of(probabilities: Tensor, entropy: Tensor, q_values: Tensor, temperature: Tensor) -> Tensor:
    """Expected least Q-value plus the entropy's worth: ``sum_a pi(a) min(Q1, Q2)(a) + xi H(pi)``, shape (G, M).

    Args:
        probabilities: Action probabilities ``pi``, shape (G, A, M).
        entropy: Their entropy ``H`` [nat], shape (G, M).
        q_values: Values of both critics, shape (2, G, A, M).
        temperature: Temperature ``xi`` of each agent, shape (G,).
    """
    return (probabilities * torch.minimum(q_values[0], q_values[1])).sum(1) + temperature[:, None] * entropy


def soft_value(logits: Tensor, q_values: Tensor, temperature: Tensor) -> Tensor:
    """:func:`soft_value_of` the actions that logits (G, A, M) make probable."""
    return soft_value_of(*probabilities_and_entropy(logits), q_values, temperature)


def critic_loss(q_values: Tensor, action: Tensor, target: Tensor) -> Tensor:
    """Mean squared error at the actions taken, summed over both critics, shape (G,).

    Args:
        q_values: Values of both critics, shape (2, G, A, M).
        action: Actions taken, shape (G, M), integers.
        target: Target ``y``, shape (G, M), without gradient.
    """
    taken = q_values.gather(2, action.expand(2, *action.shape)[:, :, None])[:, :, 0]
    return (taken - target).square().mean(-1).sum(0)


def temperature_loss(log_temperature: Tensor, entropy: Tensor, target_entropy: float) -> Tensor:
    """``mean[H(pi) - H_target] * xi`` on ``log xi``, shape (G,); ``entropy`` (G, M) comes without gradient."""
    return (entropy - target_entropy).mean(-1) * log_temperature.exp()

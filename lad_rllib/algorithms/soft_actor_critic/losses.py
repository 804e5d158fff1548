"""Losses of discrete soft actor-critic with a latent action diffusion actor, as pure functions.

Axes: G agents (base stations), A actions (edge servers), M samples of one agent. Every loss is a vector over agents:
each agent's own mean over its samples. Agents share nothing, so the gradient of its sum is each agent's own gradient.

Source: section 4 of the algorithm's README; arXiv 2412.18212, and arXiv 1910.07207 for discrete SAC.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lad_rllib.algorithms.soft_actor_critic import compiled_losses
from lad_rllib.kernels.compiled import Kernels, takes


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


def soft_value_and_entropy(
    logits: Tensor, q_values: Tensor, temperature: Tensor, kernels: Kernels = "torch"
) -> tuple[Tensor, Tensor]:
    """:func:`soft_value_of` the actions that logits (G, A, M) make probable, and their entropy without gradient.

    Args:
        logits: Action logits, shape (G, A, M); the gradient is by them alone where a compiled kernel does it.
        q_values: See :func:`soft_value_of`.
        temperature: See :func:`soft_value_of`.
        kernels: See :class:`~lad_rllib.diffusion.LatentActionActor`.
    """
    if takes(kernels, [logits, q_values, temperature], without_gradient=[q_values, temperature]):
        return compiled_losses.soft_value_and_entropy(logits, q_values, temperature)
    probabilities, entropy = probabilities_and_entropy(logits)
    return soft_value_of(probabilities, entropy, q_values, temperature), entropy.detach()


def soft_value(logits: Tensor, q_values: Tensor, temperature: Tensor, kernels: Kernels = "torch") -> Tensor:
    """The soft value of :func:`soft_value_and_entropy`."""
    return soft_value_and_entropy(logits, q_values, temperature, kernels)[0]


def critic_loss(q_values: Tensor, action: Tensor, target: Tensor, kernels: Kernels = "torch") -> Tensor:
    """Mean squared error at the actions taken, summed over both critics, shape (G,).

    Args:
        q_values: Values of both critics, shape (2, G, A, M).
        action: Actions taken, shape (G, M), integers.
        target: Target ``y``, shape (G, M), without gradient.
        kernels: See :class:`~lad_rllib.diffusion.LatentActionActor`.
    """
    if takes(kernels, [q_values, target], without_gradient=[target]):
        return compiled_losses.critic_loss(q_values, action, target)
    taken = q_values.gather(2, action.expand(2, *action.shape)[:, :, None])[:, :, 0]
    return (taken - target).square().mean(-1).sum(0)


def temperature_loss(temperature: Tensor, entropy: Tensor, target_entropy: float) -> Tensor:
    """``mean[H(pi) - H_target] * xi``, shape (G,), and also its derivative by ``log xi``; ``entropy`` is (G, M)."""
    return (entropy - target_entropy).mean(-1) * temperature

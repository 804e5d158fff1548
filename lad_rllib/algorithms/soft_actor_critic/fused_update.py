"""Values and gradients of an update of all stations in few calls of compiled kernels, without autograd.

Called one by one, and with autograd between them, the kernels of networks this small take half of an update's time.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lad_rllib.diffusion import LatentActionActor, StackedMLP
from lad_rllib.kernels import compiled


def fits(actor: object, critics: StackedMLP, kernels: compiled.Kernels, batch: dict[str, Tensor]) -> bool:
    """Whether these networks are updated here: a diffusion actor, and kernels that take them and the batch."""
    if not isinstance(actor, LatentActionActor) or not (actor.denoiser.is_narrow and critics.is_narrow):
        return False
    tensors = [batch[key] for key in ("state", "latent", "next_state", "next_latent", "reward")]
    return compiled.takes(kernels, [*tensors, actor.denoiser.weights, critics.weights])


@torch.no_grad()
def soft_targets(
    actor: LatentActionActor,
    target_critics: StackedMLP,
    batch: dict[str, Tensor],
    noise: Tensor,
    temperature: Tensor,
    gamma: float,
) -> Tensor:
    """Targets of all critics, shape (G, M): ``reward + gamma * soft value`` of the next states.

    Args:
        actor: Actor of all agents.
        target_critics: Both target critics of all agents.
        batch: ``next_state``, ``next_latent`` and ``reward``.
        noise: Fresh noise, as the actor takes it.
        temperature: Temperature of each agent, shape (G,).
        gamma: Discount factor.
    """
    from lad_rllib.kernels.updates import soft_targets

    start, fresh = actor.start_and_noise(batch["next_latent"], noise)
    target = torch.empty(batch["reward"].shape)
    soft_targets(
        actor.denoiser.weights.detach().numpy(),
        *actor.kernel_settings,
        *(tensor.contiguous().numpy() for tensor in (batch["next_state"], start, fresh)),
        target_critics.weights.detach().numpy(),
        target_critics.sizes,
        temperature.numpy(),
        batch["reward"].contiguous().numpy(),
        np.float32(gamma),
        target.numpy(),
    )
    return target


@torch.no_grad()
def critic_loss_and_gradient(
    critics: StackedMLP, state: Tensor, action: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """Loss (G,) of both critics, see :func:`~.losses.critic_loss`, and its gradient by their parameters (2 G, P).

    Args:
        critics: Both critics of all agents.
        state: States, shape (G, state size, M).
        action: Actions taken, shape (G, M).
        target: Target, shape (G, M).
    """
    from lad_rllib.kernels.updates import critic_gradients

    loss, gradient = torch.empty(len(target)), torch.empty_like(critics.weights)
    given = (state.contiguous(), action.long().contiguous(), target.contiguous(), loss, gradient)
    critic_gradients(critics.weights.detach().numpy(), critics.sizes, *(tensor.numpy() for tensor in given))
    return loss, gradient


@torch.no_grad()
def soft_value_and_gradient(
    actor: LatentActionActor, state: Tensor, latent: Tensor, noise: Tensor, q_values: Tensor, temperature: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Soft values (G, M) and entropies (G, M), and the gradient of minus the mean value by the actor's parameters.

    Args:
        actor: Actor of all agents.
        state: States, shape (G, state size, M).
        latent: Latent actions, shape (G, A, M).
        noise: Fresh noise, as the actor takes it.
        q_values: Values of both critics, shape (2, G, A, M).
        temperature: Temperature of each agent, shape (G,).
    """
    from lad_rllib.kernels.updates import actor_gradients

    parameters, gradient = actor.denoiser.weights.detach(), torch.empty_like(actor.denoiser.weights)
    start, fresh = actor.start_and_noise(latent, noise)
    agents, _, samples = state.shape
    value, entropy = torch.empty(agents, samples), torch.empty(agents, samples)
    tensors = (state, start, fresh, q_values, temperature, value, entropy, gradient)
    actor_gradients(parameters.numpy(), *actor.kernel_settings, *(tensor.contiguous().numpy() for tensor in tensors))
    return value, entropy, gradient

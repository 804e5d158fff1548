"""Values and gradients of an update of all stations in few calls of compiled kernels, without autograd.

Called one by one, and with autograd between them, the kernels of networks this small take half of an update's time.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    return compiled.takes(kernels, [*tensors, actor.denoiser.layers[0][0], critics.layers[0][0]])


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
        actor.denoiser.packed_parameters.numpy(),
        *actor.kernel_settings,
        *(tensor.contiguous().numpy() for tensor in (batch["next_state"], start, fresh)),
        target_critics.packed_parameters.numpy(),
        target_critics.sizes,
        temperature.numpy(),
        batch["reward"].contiguous().numpy(),
        np.float32(gamma),
        target.numpy(),
    )
    return target


@torch.no_grad()
def critic_loss_and_gradients(
    critics: StackedMLP, state: Tensor, action: Tensor, target: Tensor
) -> tuple[Tensor, Sequence[Tensor]]:
    """Loss (G,) of both critics, see :func:`~.losses.critic_loss`, and its gradients by their parameters.

    The gradients are in the networks' ``gradient_buffer``.

    Args:
        critics: Both critics of all agents.
        state: States, shape (G, state size, M).
        action: Actions taken, shape (G, M).
        target: Target, shape (G, M).
    """
    from lad_rllib.kernels.updates import critic_gradients

    loss, gradients = torch.empty(len(target)), critics.gradient_buffer
    given = (state.contiguous(), action.long().contiguous(), target.contiguous(), loss, gradients.flat)
    critic_gradients(critics.packed_parameters.numpy(), critics.sizes, *(tensor.numpy() for tensor in given))
    return loss, gradients.views


@torch.no_grad()
def soft_value_and_gradients(
    actor: LatentActionActor, state: Tensor, latent: Tensor, noise: Tensor, q_values: Tensor, temperature: Tensor
) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
    """Soft values (G, M) and entropies (G, M), and gradients of the values' mean's negative by the actor's parameters.

    The gradients are in the denoiser's ``gradient_buffer``.

    Args:
        actor: Actor of all agents.
        state: States, shape (G, state size, M).
        latent: Latent actions, shape (G, A, M).
        noise: Fresh noise, as the actor takes it.
        q_values: Values of both critics, shape (2, G, A, M).
        temperature: Temperature of each agent, shape (G,).
    """
    from lad_rllib.kernels.updates import actor_gradients

    parameters, gradients = actor.denoiser.packed_parameters, actor.denoiser.gradient_buffer
    start, fresh = actor.start_and_noise(latent, noise)
    agents, _, samples = state.shape
    value, entropy = torch.empty(agents, samples), torch.empty(agents, samples)
    tensors = (state, start, fresh, q_values, temperature, value, entropy, gradients.flat)
    actor_gradients(parameters.numpy(), *actor.kernel_settings, *(tensor.contiguous().numpy() for tensor in tensors))
    return value, entropy, gradients.views

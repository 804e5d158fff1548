"""The losses that have a compiled kernel, as autograd sees them: value and gradient are found together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def soft_value_and_entropy(logits: Tensor, q_values: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor]:
    """See :func:`~lad_rllib.algorithms.soft_actor_critic.losses.soft_value_and_entropy`."""
    return _SoftValue.apply(logits, q_values, temperature)


def critic_loss(q_values: Tensor, action: Tensor, target: Tensor) -> Tensor:
    """See :func:`~lad_rllib.algorithms.soft_actor_critic.losses.critic_loss`."""
    return _CriticLoss.apply(q_values, action, target)


class _SoftValue(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, q_values: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor]:
        from lad_rllib.kernels.losses import soft_values

        agents, _, samples = logits.shape
        value, entropy, gradient = torch.empty(agents, samples), torch.empty(agents, samples), torch.empty_like(logits)
        given = (logits, q_values, temperature)
        soft_values(*(t.detach().contiguous().numpy() for t in given), *(t.numpy() for t in (value, entropy, gradient)))
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(entropy)
        return value, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_value: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * by_value[:, None], None, None


class _CriticLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q_values: Tensor, action: Tensor, target: Tensor) -> Tensor:
        from lad_rllib.kernels.losses import critic_losses

        loss, gradient = torch.empty(len(target)), torch.empty(q_values.shape)
        given = (q_values, action, target)
        critic_losses(*(t.detach().contiguous().numpy() for t in given), loss.numpy(), gradient.numpy())
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_loss: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * by_loss[:, None, None], None, None

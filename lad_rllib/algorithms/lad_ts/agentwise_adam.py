"""Adam for parameters stacked over agents, each agent with its own step count."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class AgentwiseAdam(torch.optim.Optimizer):
    """Adam (arXiv 1412.6980) in which every agent counts its own steps.

    The first axis of each parameter is the agent, or, for k networks of each agent, network by network, k * G long.
    ``torch.optim.Adam`` keeps one step count for a whole tensor, so
    an agent that starts later than the others would get their bias correction; here the result equals one Adam per
    agent, whenever each of them started. Parameters are moved into common storage, so that a step is few operations.

    Args:
        params: Parameters with a common first axis.
        lr: Learning rate.
        betas: Decay rates of the running means of gradient and squared gradient.
        eps: Added to the denominator.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})
        self._active: Tensor | None = None
        self._flat = [_pack(group["params"]) for group in self.param_groups]

    def set_active(self, active: Tensor | None) -> None:
        """Agents that take part in the next steps, bool (G,); None for all.

        The gradient of an agent that does not take part must be zero, and it must not have taken part before.
        """
        self._active = active

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take one step with the gradients in ``.grad``."""
        for group, flat in zip(self.param_groups, self._flat, strict=True):
            params = group["params"]
            state = self.state[params[0]]
            if not state:
                state.update(
                    step=torch.zeros(len(flat), 1, device=flat.device),
                    exp_avg=torch.zeros_like(flat),
                    exp_avg_sq=torch.zeros_like(flat),
                )
            gradient = torch.cat([p.grad.reshape(len(flat), -1) for p in params], dim=1)
            mean, square, count = state["exp_avg"], state["exp_avg_sq"], state["step"]
            beta1, beta2 = group["betas"]
            if self._active is None:
                count += 1.0
            else:
                count += self._active.to(count).repeat(len(flat) // len(self._active))[:, None]
            mean.lerp_(gradient, 1 - beta1)
            square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            # lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps), with both corrections moved to the numerator.
            # 1 - beta^t as expm1, since beta2 is close to 1: float32 would lose four digits of the first steps.
            started = count.clamp(min=1.0)
            correction = torch.expm1(started * math.log(beta2)).neg_().sqrt_()
            scale = correction * (-group["lr"] / torch.expm1(started * math.log(beta1)))
            flat.addcdiv_(mean * scale, square.sqrt().add_(group["eps"] * correction), value=-1.0)


def _pack(params: list[Tensor]) -> Tensor:
    """Move parameters into one tensor, a row for each agent, of which they become views."""
    rows = len(params[0])
    flat = torch.cat([p.detach().reshape(rows, -1) for p in params], dim=1)
    start = 0
    for p in params:
        width = p[0].numel()
        p.data = flat[:, start : start + width].view(p.shape)
        start += width
    return flat

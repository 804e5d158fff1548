"""Adam for parameters stacked over agents, each agent with its own step count."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class AgentwiseAdam(torch.optim.Optimizer):
    """Adam (arXiv 1412.6980) in which every agent counts its own steps.

    The first axis of each parameter is the agent. ``torch.optim.Adam`` keeps one step count for a whole tensor, so
    an agent that starts later than the others would get their bias correction; here the result equals one Adam per
    agent, whenever each of them started.

    Args:
        params: Parameters with a common first axis G.
        lr: Learning rate.
        betas: Decay rates of the running means of gradient and squared gradient.
        eps: Added to the denominator.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})
        self._active: Tensor | None = None

    def set_active(self, active: Tensor | None) -> None:
        """Agents that take part in the next steps, bool (G,); None for all.

        The gradient of an agent that does not take part must be zero, and it must not have taken part before.
        """
        self._active = active

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take one step with the gradients in ``.grad``."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            for p in params:
                if not self.state[p]:
                    self.state[p] = {
                        "step": torch.zeros(len(p), device=p.device),
                        "exp_avg": torch.zeros_like(p),
                        "exp_avg_sq": torch.zeros_like(p),
                    }
            states = [self.state[p] for p in params]
            gradients = [p.grad for p in params]
            means = [s["exp_avg"] for s in states]
            squares = [s["exp_avg_sq"] for s in states]
            steps = [s["step"] for s in states]
            beta1, beta2 = group["betas"]
            torch._foreach_add_(steps, 1.0 if self._active is None else [self._active.to(steps[0])] * len(steps))
            # lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps), with both corrections moved to the numerator.
            count = steps[0].clamp(min=1.0)
            correction = torch.sqrt(1 - beta2**count)
            scale = group["lr"] * correction / (1 - beta1**count)
            eps = group["eps"] * correction
            torch._foreach_lerp_(means, gradients, 1 - beta1)
            torch._foreach_mul_(squares, beta2)
            torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
            roots = torch._foreach_sqrt(squares)
            for p, mean, root in zip(params, means, roots, strict=True):
                per_agent = (-1, *([1] * (p.dim() - 1)))
                p.addcdiv_(mean * scale.view(per_agent), root.add_(eps.view(per_agent)), value=-1.0)

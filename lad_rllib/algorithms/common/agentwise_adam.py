"""Adam for parameters stacked over agents, each agent with its own step count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from lad_rllib.diffusion import TORCH, TorchBackend


class AgentwiseAdam(torch.optim.Optimizer):
    """Adam (arXiv 1412.6980) in which every agent counts its own steps.

    The first axis of each parameter is the agent, or, for k networks of each agent, network by network, k * G long.
    ``torch.optim.Adam`` keeps one step count for a whole tensor, so that an agent that starts later than the others
    would get their bias correction; here the result equals one Adam per agent, whenever each of them started.

    Args:
        params: Parameters, contiguous, where they will be trained.
        lr: Learning rate.
        betas: Decay rates of the running means of gradient and squared gradient.
        eps: Added to the denominator.
        backend: What computes, see :func:`~lad_rllib.kernels.make_backend`, where it can; torch elsewhere.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        backend: TorchBackend = TORCH,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})
        self.backend = backend.suiting(self.param_groups[0]["params"][0])
        self._active: Tensor | None = None

    def set_active(self, active: Tensor | None) -> None:
        """Agents that take part in the next steps, bool (G,); None for all. The others stay where they are."""
        self._active = active

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take one step with the gradients in ``.grad``."""
        for group in self.param_groups:
            self._step_group(group, [p.grad for p in group["params"]])

    def apply_gradients(self, gradients: Sequence[Tensor]) -> None:
        """Take one step of the first group, without the hooks and the profiling that torch wraps around ``step``.

        Args:
            gradients: One for each parameter.
        """
        self._step_group(self.param_groups[0], gradients)

    @torch.no_grad()
    def _step_group(self, group: dict[str, Any], gradients: Sequence[Tensor]) -> None:
        for parameter, gradient in zip(group["params"], gradients, strict=True):
            rows = parameter.detach().view(len(parameter), -1)
            state = self.state[parameter]
            if not state:
                # Counts stay on the CPU, where reading one never waits for a GPU.
                state["step"] = torch.zeros(len(rows), 1)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(rows), torch.zeros_like(rows)
            own = (rows, gradient.reshape(rows.shape), state["exp_avg"], state["exp_avg_sq"], state["step"])
            self.backend.adam_step(own, self._active, float(group["lr"]), group["betas"], group["eps"])

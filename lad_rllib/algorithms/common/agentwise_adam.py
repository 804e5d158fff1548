"""Adam for parameters stacked over agents, each agent with its own step count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Any

import torch
from torch import Tensor

from lad_rllib.kernels.compiled import Kernels, takes


class AgentwiseAdam(torch.optim.Optimizer):
    """Adam (arXiv 1412.6980) in which every agent counts its own steps.

    The first axis of each parameter is the agent, or, for k networks of each agent, network by network, k * G long.
    ``torch.optim.Adam`` keeps one step count for a whole tensor, so that an agent that starts later than the others
    would get their bias correction; here the result equals one Adam per agent, whenever each of them started.

    Args:
        params: Parameters, contiguous.
        lr: Learning rate.
        betas: Decay rates of the running means of gradient and squared gradient.
        eps: Added to the denominator.
        kernels: See :class:`~lad_rllib.diffusion.LatentActionActor`.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        kernels: Kernels = "torch",
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})
        self.kernels = kernels
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
        rates = (float(group["lr"]), *group["betas"], group["eps"])
        for parameter, gradient in zip(group["params"], gradients, strict=True):
            rows = parameter.detach().view(len(parameter), -1)
            state = self.state[parameter]
            if not state:
                # Counts stay on the CPU, where reading one never waits for a GPU.
                state["step"] = torch.zeros(len(rows), 1)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(rows), torch.zeros_like(rows)
            own = (rows, gradient.reshape(rows.shape), state["exp_avg"], state["exp_avg_sq"], state["step"])
            if takes(self.kernels, own):
                from lad_rllib.kernels.adam import adam_step

                active = torch.ones(1, dtype=torch.bool) if self._active is None else self._active
                adam_step(*(tensor.contiguous().numpy() for tensor in (*own, active)), *rates)
            else:
                _torch_step(own, self._active, *rates)


def _torch_step(
    own: Sequence[Tensor], active: Tensor | None, lr: float, beta_1: float, beta_2: float, eps: float
) -> None:
    """One step of torch's fused Adam, in which each row is a parameter with a step count of its own.

    Args:
        own: Parameters, gradient, running means of it and of its square, and step counts, a row for each network.
        active: Agents that take part; None for all.
        lr: Learning rate.
        beta_1: Decay rate of the means.
        beta_2: Decay rate of the squares.
        eps: Added to the denominator.
    """
    columns: list[tuple[Tensor, ...]] = [tensor.unbind() for tensor in own]
    if active is not None:
        keep = active.repeat(len(own[0]) // len(active)).tolist()
        columns = [tuple(compress(column, keep)) for column in columns]
    parameters, gradients, means, squares, counts = columns
    if not parameters:
        return
    torch._foreach_add_(counts, 1.0)
    torch._fused_adam_(
        parameters,
        gradients,
        means,
        squares,
        [],
        [count[0].to(own[0].device) for count in counts],
        lr=lr,
        beta1=beta_1,
        beta2=beta_2,
        eps=eps,
        weight_decay=0.0,
        amsgrad=False,
        maximize=False,
    )

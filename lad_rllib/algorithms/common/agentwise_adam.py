"""Adam for parameters stacked over agents, each agent with its own step count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import torch
from torch import Tensor

from lad_rllib.kernels.compiled import Kernels, takes
from lad_rllib.kernels.packing import PackedView, pack

_Tensors = tuple[Tensor, ...] | list[Tensor]


class AgentwiseAdam(torch.optim.Optimizer):
    """Adam (arXiv 1412.6980) in which every agent counts its own steps.

    The first axis of each parameter is the agent, or, for k networks of each agent, network by network, k * G long.
    ``torch.optim.Adam`` keeps one step count for a whole tensor, so that an agent that starts later than the others
    would get their bias correction; here the result equals one Adam per agent, whenever each of them started.
    Parameters are moved into common storage, a row for each network, so that a step is few operations.

    Args:
        params: Parameters with a common first axis.
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
        self._flat = [pack(group["params"]) for group in self.param_groups]
        self._gradients = [PackedView() for _ in self._flat]
        self._rows: list[_Rows | None] = [None] * len(self._flat)

    def set_active(self, active: Tensor | None) -> None:
        """Agents that take part in the next steps, bool (G,); None for all. The others stay where they are."""
        self._active = active

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take one step with the gradients in ``.grad``."""
        for index, group in enumerate(self.param_groups):
            self.apply_gradients([p.grad for p in group["params"]], index)

    @torch.no_grad()
    def apply_gradients(self, gradients: Sequence[Tensor], index: int = 0) -> None:
        """Take one step with these gradients, without the hooks and the profiling that torch wraps around ``step``.

        Args:
            gradients: One for each parameter.
            index: Parameter group.
        """
        group, flat, rows = self.param_groups[index], self._flat[index], self._rows[index]
        state = self.state[group["params"][0]]
        if not state:
            state.update(
                # On the CPU, where reading a count never waits for a GPU.
                step=torch.zeros(len(flat), 1),
                exp_avg=torch.zeros_like(flat),
                exp_avg_sq=torch.zeros_like(flat),
            )
        if takes(self.kernels, [flat, *gradients]):
            self._compiled_step(group, flat, self._gradients[index].of(gradients), state)
            return
        if rows is None or rows.state is not state:
            rows = self._rows[index] = _Rows.of(flat, state)
        gradient = torch.cat([g.reshape(len(flat), -1) for g in gradients], dim=1)
        if self._active is None:
            state["step"].add_(1.0)
            rows.step(group, gradient.unbind())
        else:
            active = self._active.cpu().repeat(len(flat) // len(self._active))
            state["step"].add_(active[:, None])
            rows.only(active).step(group, gradient[active.to(gradient.device)].unbind())

    def _compiled_step(self, group: dict[str, Any], flat: Tensor, gradient: Tensor, state: dict[str, Tensor]) -> None:
        from lad_rllib.kernels.adam import adam_step

        active = torch.ones(1, dtype=torch.bool) if self._active is None else self._active
        rows = (flat, gradient, state["exp_avg"], state["exp_avg_sq"], state["step"])
        rates = (float(group["lr"]), *group["betas"], group["eps"])
        adam_step(*(row.numpy() for row in rows), active.contiguous().numpy(), *rates)


@dataclass(frozen=True)
class _Rows:
    """Views of one row for each network: what torch's fused Adam takes for parameters with step counts of their own.

    Attributes:
        state: The state whose rows they are.
        params: Parameters.
        means: Running means of the gradient.
        squares: Running means of the squared gradient.
        counts: Steps taken, this one included.
    """

    state: dict[str, Tensor]
    params: _Tensors
    means: _Tensors
    squares: _Tensors
    counts: _Tensors

    @classmethod
    def of(cls, flat: Tensor, state: dict[str, Tensor]) -> _Rows:
        return cls(
            state, flat.unbind(), state["exp_avg"].unbind(), state["exp_avg_sq"].unbind(), state["step"][:, 0].unbind()
        )

    def only(self, active: Tensor) -> _Rows:
        """Those of the networks that take part."""
        keep = active.tolist()
        return _Rows(
            self.state, *(list(compress(c, keep)) for c in (self.params, self.means, self.squares, self.counts))
        )

    def step(self, group: dict[str, Any], gradients: _Tensors) -> None:
        """Take one step of torch's fused Adam."""
        if not self.params:
            return
        device = self.params[0].device
        torch._fused_adam_(
            self.params,
            gradients,
            self.means,
            self.squares,
            [],
            self.counts if device.type == "cpu" else [count.to(device) for count in self.counts],
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            eps=group["eps"],
            weight_decay=0.0,
            amsgrad=False,
            maximize=False,
        )

"""Kernels as autograd sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable


def as_array(tensor: Tensor) -> NDArray[Any]:
    """What kernels take of a tensor on the CPU: contiguous, and its memory where it is that already."""
    return tensor.detach().contiguous().numpy()


def evaluated(run: Callable[..., Tensor], run_back: Callable[..., Any], *tensors: Tensor) -> Tensor:
    """What a kernel computes of weights and inputs, as autograd sees it.

    Args:
        run: Takes the tensors to the outputs.
        run_back: Takes the gradient by the outputs, whether that by the second tensor is asked for, and the tensors to
            the gradients by them, None for no gradient.
        tensors: Weights and inputs.
    """
    if torch.is_grad_enabled():
        outputs: Tensor = _Evaluated.apply(run, run_back, *tensors)
        return outputs
    return run(*tensors)


class _Evaluated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Callable[..., Tensor], run_back: Callable[..., Any], *tensors: Tensor) -> Tensor:
        ctx.run_back = run_back
        ctx.save_for_backward(*tensors)
        return run(*tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_outputs: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *ctx.run_back(by_outputs, ctx.needs_input_grad[3], *ctx.saved_tensors)

"""Where compiled kernels take the place of torch's operations, and how autograd sees them.

A kernel evaluates all agents' networks in one call, or finds the gradient of a loss by their parameters, for which it
evaluates them again: what it would have to keep is more than the cache holds.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from lad_rllib.errors import ConfigurationError

Kernels = Literal["auto", "torch", "compiled"]

WIDEST = 256
"""Greatest width of a layer that kernels take; torch is faster with wider ones."""

Run = Callable[..., None]
"""Calls a kernel: (packed parameters, *inputs, outputs, gradient by outputs, gradient by parameters) as arrays."""

_NOTHING: tuple[NDArray[np.float32], ...] = (np.empty((0, 0, 0), np.float32), np.empty((0, 0), np.float32))


@functools.cache
def numba_is_there() -> bool:
    """Whether the compiler of the kernels is installed; it is not loaded yet."""
    return importlib.util.find_spec("numba") is not None


def check_kernels(kernels: Kernels) -> Kernels:
    """The same value.

    Raises:
        ConfigurationError: if it is unknown, or cannot work here.
    """
    if kernels not in ("auto", "torch", "compiled"):
        raise ConfigurationError(f"kernels must be one of auto, torch, compiled, got {kernels!r}")
    if kernels == "compiled" and not numba_is_there():
        raise ConfigurationError("kernels='compiled' needs numba: pip install numba, or choose 'auto' or 'torch'")
    return kernels


def takes(kernels: Kernels, sizes: Sequence[int], inputs: Sequence[Tensor], parameters: Sequence[Tensor]) -> bool:
    """Whether a compiled kernel does this: on the CPU, in float32, without a gradient by the inputs."""
    return (
        kernels != "torch"
        and max(sizes) <= WIDEST
        and all(t.dtype is torch.float32 and t.device.type == "cpu" for t in (*inputs, parameters[0]))
        and not (torch.is_grad_enabled() and any(t.requires_grad for t in inputs))
        and numba_is_there()
    )


def evaluate(run: Run, inputs: Sequence[Tensor], parameters: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
    """Outputs of all networks, with a gradient by their parameters.

    Args:
        run: Calls the kernel.
        inputs: What it takes besides parameters.
        parameters: Weights and biases in the order of the packed parameters, each (G, ...).
        shape: Shape of the outputs.
    """
    inputs = [value.contiguous() for value in inputs]
    if torch.is_grad_enabled():
        return _Compiled.apply(run, shape, len(inputs), *inputs, *parameters)
    return _outputs(run, inputs, _pack(parameters), shape)


def _pack(parameters: Sequence[Tensor]) -> Tensor:
    return torch.cat([p.detach().reshape(len(p), -1) for p in parameters], dim=1)


def _outputs(run: Run, inputs: Sequence[Tensor], packed: Tensor, shape: Sequence[int]) -> Tensor:
    out = torch.empty(*shape)
    run(packed.numpy(), *(value.numpy() for value in inputs), out.numpy(), *_NOTHING)
    return out


class _Compiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Run, shape: Sequence[int], num_inputs: int, *tensors: Tensor) -> Tensor:
        inputs, parameters = tensors[:num_inputs], tensors[num_inputs:]
        packed = _pack(parameters)
        ctx.run, ctx.shapes = run, [p.shape for p in parameters]
        ctx.save_for_backward(packed, *inputs)
        return _outputs(run, inputs, packed, shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_gradient: Tensor) -> tuple[Tensor | None, ...]:
        packed, *inputs = ctx.saved_tensors
        gradient = torch.empty_like(packed)
        arrays = [value.numpy() for value in (packed, *inputs)]
        ctx.run(*arrays, _NOTHING[0], out_gradient.contiguous().numpy(), gradient.numpy())
        parts = gradient.split([shape[1:].numel() for shape in ctx.shapes], dim=1)
        gradients = (part.view(shape) for part, shape in zip(parts, ctx.shapes, strict=True))
        return None, None, None, *(None for _ in inputs), *gradients


def network_run(sizes: NDArray[np.int64]) -> Run:
    """Kernel of stacked multilayer perceptrons; its input is (G, in, M)."""
    from lad_rllib.diffusion.mlp_kernel import run_networks

    return lambda packed, *arrays: run_networks(packed, sizes, *arrays)


def chain_run(
    sizes: NDArray[np.int64],
    embeddings: NDArray[np.float32],
    steps: NDArray[np.float32],
    softmax_output: bool,
    limit: float | None,
) -> Run:
    """Kernel of the actor's chain; its inputs are state, latent action and noise."""
    from lad_rllib.diffusion.chain_kernel import run_chains

    fixed = (sizes, embeddings, steps, softmax_output, np.float32(np.inf if limit is None else limit))
    return lambda packed, *arrays: run_chains(packed, *fixed, *arrays)

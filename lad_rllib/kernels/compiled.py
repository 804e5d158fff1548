"""Where compiled kernels take the place of torch's operations, and how autograd sees them.

A kernel evaluates all agents' networks in one call, or finds the gradient of a loss by their parameters, for which it
evaluates them again: what it would have to keep is more than the cache holds.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from lad_rllib.errors import ConfigurationError

Kernels = str
"""``"auto"``, ``"torch"`` or ``"compiled"``; see :class:`~lad_rllib.diffusion.LatentActionActor`."""

WIDEST = 256
"""Greatest width of a layer that kernels take; torch is faster with wider ones."""

Run = Callable[..., None]
"""Calls a kernel: (packed parameters, *inputs, outputs, and gradients by outputs, parameters, one input) as arrays."""


_MISSING = "it is not installed"
_NO_BATCH, _NO_PARAMETERS = np.empty((0, 0, 0), np.float32), np.empty((0, 0), np.float32)


@functools.cache
def obstacle() -> str:
    """Why kernels cannot be compiled here; empty if they can. The first call loads the compiler."""
    try:
        import numba  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name == "numba":
            return _MISSING
        return _one_line(error)
    except Exception as error:  # one for another NumPy, a library that does not load, ...: each in its own way
        return _one_line(error)
    return ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@functools.cache
def _can_compile() -> bool:
    """Whether kernels can be compiled; warns once in a process if numba is installed and does not work."""
    if obstacle() not in ("", _MISSING):
        warnings.warn(f"numba does not work here ({obstacle()}); torch computes instead", RuntimeWarning, stacklevel=3)
    return obstacle() == ""


def check_kernels(kernels: str) -> str:
    """The same value.

    Raises:
        ConfigurationError: if it cannot work here.
    """
    if kernels == "compiled" and obstacle():
        raise ConfigurationError(
            f"kernels='compiled' needs numba, but {obstacle()}; pip install numba, or choose 'auto' or 'torch'"
        )
    return kernels


def are_in_use(kernels: Kernels) -> bool:
    """Whether compiled kernels do what does not hang on a device."""
    return kernels != "torch" and _can_compile()


def takes(kernels: Kernels, tensors: Sequence[Tensor], without_gradient: Sequence[Tensor] = ()) -> bool:
    """Whether compiled kernels do this: on the CPU, in float32, and without a gradient by some of the tensors."""
    return (
        are_in_use(kernels)
        and all(t.dtype is torch.float32 and t.device.type == "cpu" for t in tensors)
        and not (torch.is_grad_enabled() and any(t.requires_grad for t in without_gradient))
    )


def evaluate(
    run: Run,
    inputs: Sequence[Tensor],
    weights: Tensor,
    shape: Sequence[int],
    differentiable: int | None = None,
) -> Tensor:
    """Outputs of all networks, with a gradient by their parameters.

    Args:
        run: Calls the kernel.
        inputs: What it takes besides parameters.
        weights: Parameters of the networks, a row for each, shape (G, P).
        shape: Shape of the outputs.
        differentiable: Which of the inputs may have a gradient, too; None for none.
    """
    inputs = [value.contiguous() for value in inputs]
    if torch.is_grad_enabled():
        return _Compiled.apply(run, shape, differentiable, weights, *inputs)
    return _outputs(run, inputs, weights, shape)


def _outputs(run: Run, inputs: Sequence[Tensor], weights: Tensor, shape: Sequence[int]) -> Tensor:
    out = torch.empty(*shape)
    arrays = (value.detach().numpy() for value in (weights, *inputs))
    run(*arrays, out.numpy(), _NO_BATCH, _NO_PARAMETERS, _NO_BATCH)
    return out


class _Compiled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, run: Run, shape: Sequence[int], differentiable: int | None, weights: Tensor, *inputs: Tensor
    ) -> Tensor:
        ctx.run, ctx.differentiable = run, differentiable
        ctx.save_for_backward(weights, *inputs)
        return _outputs(run, inputs, weights, shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_gradient: Tensor) -> tuple[Tensor | None, ...]:
        weights, *inputs = ctx.saved_tensors
        gradient = torch.empty_like(weights)
        arrays = [value.detach().numpy() for value in (weights, *inputs)]
        of_inputs: list[Tensor | None] = [None] * len(inputs)
        of_input = _NO_BATCH
        if ctx.differentiable is not None and ctx.needs_input_grad[4 + ctx.differentiable]:
            wanted = of_inputs[ctx.differentiable] = torch.empty_like(inputs[ctx.differentiable])
            of_input = wanted.numpy()
        ctx.run(*arrays, _NO_BATCH, out_gradient.contiguous().numpy(), gradient.numpy(), of_input)
        return None, None, None, gradient, *of_inputs


def network_run(sizes: NDArray[np.int64]) -> Run:
    """Kernel of stacked multilayer perceptrons; its input is (G, in, M)."""
    from lad_rllib.kernels.mlp import run_networks

    return lambda packed, *arrays: run_networks(packed, sizes, *arrays[:-1])  # no gradient by the input


def chain_run(settings: tuple[Any, ...]) -> Run:
    """Kernel of an actor's chain, given its ``kernel_settings``; its inputs are state, latent action and noise."""
    from lad_rllib.kernels.chain import run_chains

    return lambda packed, *arrays: run_chains(packed, *settings, *arrays)


def draws_normal(kernels: Kernels, generator: torch.Generator | None) -> bool:
    """Whether :func:`normal` takes the place of ``torch.randn``, wherever the numbers go afterwards."""
    return are_in_use(kernels) and (generator is None or generator.device.type == "cpu")


def normal(shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers on the CPU, float32; the generator gives their key."""
    from lad_rllib.kernels.noise import GENERATORS, fill_normal

    key = int(torch.randint(2**63 - 1, (), generator=generator))
    size = math.prod(shape)
    numbers = torch.empty(-(-size // (2 * GENERATORS)) * 2 * GENERATORS)
    fill_normal(numbers.numpy(), np.uint64(key))
    return numbers[:size].view(*shape)

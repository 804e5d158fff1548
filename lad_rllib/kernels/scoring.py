"""The chain of a scoring network as autograd sees it: compiled on the CPU, torch's operations elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from lad_rllib.kernels import Kernels, make_backend


def scoring_chain(
    encoded: Tensor, start: Tensor, denoiser: Sequence[Tensor], scales: NDArray[np.float32], kernels: Kernels = "auto"
) -> Tensor:
    """``x_0`` (T,) of T tokens after all denoising steps, see :mod:`~lad_rllib.kernels.scoring_chain`.

    Args:
        encoded: Encodings (T, H).
        start: What chains start from (T,).
        denoiser: Weights: readout (H,), latent (H,) and bias of each step (I, H).
        scales: Factors of ``x_i`` and of the predicted noise in each step (I, 2).
        kernels: What computes, see :func:`~lad_rllib.kernels.make_backend`.
    """
    compiled = make_backend(kernels).suiting(encoded, encoded.shape[1]) is not make_backend("torch")
    if compiled:
        out: Tensor = _Chain.apply(scales, encoded, start, *denoiser)
        return out
    readout, latent, biases = denoiser
    x = start
    for (scale, noise_scale), bias in zip(scales.tolist(), biases, strict=True):
        eps = torch.relu(encoded + x[:, None] * latent + bias) @ readout
        x = scale * x - noise_scale * eps
    return x


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scales: NDArray[np.float32], *tensors: Tensor) -> Tensor:
        from lad_rllib.kernels.scoring_chain import run_scoring_chain

        ctx.scales = scales
        ctx.save_for_backward(*tensors)
        out = torch.empty_like(tensors[1], memory_format=torch.contiguous_format)
        run_scoring_chain(*map(_array, tensors), scales, out.numpy())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_out: Tensor) -> tuple[Tensor | None, ...]:
        from lad_rllib.kernels.scoring_chain import scoring_chain_gradients

        tensors = ctx.saved_tensors
        gradients = [torch.empty(tensor.shape) for tensor in tensors]
        given = (*map(_array, tensors), ctx.scales, _array(by_out))
        scoring_chain_gradients(*given, *(gradient.numpy() for gradient in gradients))
        return None, *gradients


def _array(tensor: Tensor) -> NDArray[Any]:
    return tensor.detach().contiguous().numpy()

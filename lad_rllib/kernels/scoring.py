"""The chain of a scoring network as autograd sees it: compiled on the CPU, torch's operations elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lad_rllib.kernels import Kernels, make_backend
from lad_rllib.kernels.autograd import as_array, evaluated


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
        from lad_rllib.kernels.scoring_chain import run_scoring_chain, scoring_chain_gradients

        def run(*tensors: Tensor) -> Tensor:
            out = torch.empty_like(start, memory_format=torch.contiguous_format)
            run_scoring_chain(*map(as_array, tensors), scales, out.numpy())
            return out

        def run_back(by_out: Tensor, by_start: bool, *tensors: Tensor) -> tuple[Tensor, ...]:
            gradients = tuple(torch.empty(tensor.shape) for tensor in tensors)
            given = (*map(as_array, tensors), scales, as_array(by_out))
            scoring_chain_gradients(*given, *(gradient.numpy() for gradient in gradients))
            return gradients

        return evaluated(run, run_back, encoded, start, *denoiser)
    readout, latent, biases = denoiser
    x = start
    for (scale, noise_scale), bias in zip(scales.tolist(), biases, strict=True):
        eps = torch.relu(encoded + x[:, None] * latent + bias) @ readout
        x = scale * x - noise_scale * eps
    return x

"""The compiled chain of a scoring network does what torch's operations do, gradients included."""

import numpy as np
import pytest
import torch

from lad_rllib.kernels.scoring import scoring_chain

SCALES = np.array([[1.7, 0.9], [1.3, 0.4], [1.1, 0.2]], np.float32)


@pytest.mark.parametrize("tokens", [1, 32, 75])
def test_the_compiled_chain_and_its_gradients_equal_torchs(tokens):
    generator = torch.Generator().manual_seed(tokens)
    shapes = [(tokens, 20), (tokens,), (20,), (20,), (3, 20)]
    given = [0.5 * torch.randn(shape, generator=generator) for shape in shapes]
    by_out = torch.randn(tokens, generator=generator)

    def outcome(kernels):
        tensors = [tensor.clone().requires_grad_() for tensor in given]
        out = scoring_chain(tensors[0], tensors[1], tensors[2:], SCALES, kernels)
        out.backward(by_out)
        return [out.detach(), *(tensor.grad for tensor in tensors)]

    for compiled, by_torch in zip(outcome("compiled"), outcome("torch"), strict=True):
        torch.testing.assert_close(compiled, by_torch, rtol=1e-4, atol=1e-5)

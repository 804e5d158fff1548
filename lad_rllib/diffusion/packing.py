"""Parameters of stacked networks in one tensor, a row for each network: what compiled kernels and optimisers take."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def pack(parameters: Sequence[Tensor]) -> Tensor:
    """Move parameters (G, ...) into common storage, of which they become views.

    Returns:
        That storage, shape (G, P).
    """
    flat = _joined(parameters)
    start = 0
    for p in parameters:
        width = p[0].numel()
        p.data = flat[:, start : start + width].view(p.shape)
        start += width
    return flat


def packed(parameters: Sequence[Tensor]) -> Tensor:
    """The storage into which :func:`pack` moved parameters, or a copy like it if they have left it, shape (G, P)."""
    first = parameters[0]
    address, row, size = first.data_ptr(), first.stride(0), first.element_size()
    for p in parameters:
        if p.data_ptr() != address or p.stride(0) != row or not p[0].is_contiguous():
            return _joined(parameters)
        address += p[0].numel() * size
    if address - first.data_ptr() != row * size:
        return _joined(parameters)
    return first.detach().as_strided((len(first), row), (row, 1))


def _joined(parameters: Sequence[Tensor]) -> Tensor:
    return torch.cat([p.detach().reshape(len(p), -1) for p in parameters], dim=1)

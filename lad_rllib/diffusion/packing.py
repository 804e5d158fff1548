"""Parameters of stacked networks in one tensor, a row for each network: what compiled kernels and optimisers take."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def pack(parameters: Sequence[Tensor]) -> Tensor:
    """Move parameters (G, ...) into common storage, of which they become views, unless they are already.

    Returns:
        That storage, shape (G, P).
    """
    if (flat := _storage(parameters)) is not None:
        return flat
    flat = _joined(parameters)
    start = 0
    for p in parameters:
        width = p[0].numel()
        p.data = flat[:, start : start + width].view(p.shape)
        start += width
    return flat


def packed(parameters: Sequence[Tensor]) -> Tensor:
    """The storage into which :func:`pack` moved parameters, or a copy like it if they have left it, shape (G, P)."""
    flat = _storage(parameters)
    return _joined(parameters) if flat is None else flat


class PackedView:
    """:func:`packed` of the same parameters again and again: while they stay where they are, they are not looked over.

    Copies of it know nothing.
    """

    def __init__(self) -> None:
        self._addresses: list[int] = []
        self._flat: Tensor | None = None

    def __reduce__(self) -> tuple[type[PackedView], tuple[()]]:
        return PackedView, ()

    def of(self, parameters: Sequence[Tensor]) -> Tensor:
        """See :func:`packed`."""
        addresses = [p.data_ptr() for p in parameters]
        # What is kept keeps the storage, so that no other tensor can come to lie there.
        if self._flat is None or addresses != self._addresses:
            self._addresses, self._flat = addresses, _storage(parameters)
        return _joined(parameters) if self._flat is None else self._flat


def _storage(parameters: Sequence[Tensor]) -> Tensor | None:
    """The common storage, if there is one."""
    first, rows = parameters[0], len(parameters[0])
    address, size = first.data_ptr(), first.element_size()
    row = first.stride(0) if rows > 1 else sum(p.numel() for p in parameters)
    end = address + row * size
    for p in parameters:
        shape, strides = p.shape, p.stride()
        width = shape.numel() // rows
        in_order = len(shape) == 1 or (strides[-1] == 1 and (len(shape) == 2 or strides[1:] == (shape[2], 1)))
        if not in_order or p.data_ptr() != address or (strides[0] != row and rows > 1):
            return None
        address += width * size
    return first.detach().as_strided((rows, row), (row, 1)) if address == end else None


def _joined(parameters: Sequence[Tensor]) -> Tensor:
    return torch.cat([p.detach().reshape(len(p), -1) for p in parameters], dim=1)

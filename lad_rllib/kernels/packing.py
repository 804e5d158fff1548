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


class PackedView:
    """The storage into which :func:`pack` moved tensors (G, ...), or a copy like it if they have left it.

    While they stay where they are, they are not looked over again. Copies of it know nothing.
    """

    def __init__(self) -> None:
        self._addresses: list[int] = []
        self._flat: Tensor | None = None

    def __reduce__(self) -> tuple[type[PackedView], tuple[()]]:
        return PackedView, ()

    def of(self, parameters: Sequence[Tensor]) -> Tensor:
        """One row for each network, shape (G, P)."""
        addresses = [p.data_ptr() for p in parameters]
        # What is kept keeps the storage, so that no other tensor can come to lie there.
        if self._flat is None or addresses != self._addresses:
            self._addresses, self._flat = addresses, _storage(parameters)
        return _joined(parameters) if self._flat is None else self._flat


class GradientBuffer:
    """Room for the gradients of the same parameters again and again; copies of it have room of their own.

    Attributes:
        flat: The gradients, a row for each network, shape (G, P).
        views: The same, one for each parameter.
    """

    def __init__(self) -> None:
        self.flat = torch.empty(0)
        self.views: list[Tensor] = []

    def __reduce__(self) -> tuple[type[GradientBuffer], tuple[()]]:
        return GradientBuffer, ()

    def of(self, parameters: Sequence[Tensor]) -> GradientBuffer:
        """The buffer with room for these parameters' gradients."""
        if not self.views:
            widths = [p[0].numel() for p in parameters]
            self.flat = torch.empty(len(parameters[0]), sum(widths))
            parts = self.flat.split(widths, dim=1)
            self.views = [part.view(p.shape) for part, p in zip(parts, parameters, strict=True)]
        return self


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

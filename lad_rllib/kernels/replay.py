"""Compiled kernels of what a replay buffer draws."""

from __future__ import annotations

import numpy as np

from lad_rllib.kernels.compiler import kernel
from lad_rllib.kernels.mlp import BATCH, Array


@kernel("void(int64[:, ::1], int64[::1])")
def make_distinct(drawn: Array, sizes: Array) -> None:
    """Robert Floyd's algorithm for samples without repetition, of each row by itself, in place.

    Args:
        drawn: Row ``b`` has at ``k`` a random number in ``0 ... sizes[b] - M + k``, shape (B, M).
        sizes: Numbers to choose from, 0 ... size - 1, shape (B,).
    """
    is_taken = np.zeros(sizes.max(), np.bool_)
    for b in range(len(drawn)):
        samples = drawn.shape[1]
        for k in range(samples):
            if is_taken[drawn[b, k]]:
                drawn[b, k] = sizes[b] - samples + k
            is_taken[drawn[b, k]] = True
        for k in range(samples):
            is_taken[drawn[b, k]] = False


@kernel(f"void({BATCH}, int64[:, ::1], int64, {BATCH})")
def gather(rows: Array, positions: Array, first: int, out: Array) -> None:
    """Columns of rows, samples last.

    Args:
        rows: Rows of all stations (B, capacity, F).
        positions: Positions of the rows that are wanted (B, M).
        first: The first column.
        out: Filled with ``rows[b, positions[b, m], first + f]``, shape (B, columns, M).
    """
    for b in range(len(out)):
        for column in range(out.shape[1]):
            for sample in range(out.shape[2]):
                out[b, column, sample] = rows[b, positions[b, sample], first + column]

"""Compiled kernels of what a replay buffer draws; see :class:`~lad_rllib.diffusion.reference.TorchBackend`."""

from __future__ import annotations

import numpy as np

from lad_rllib.arrays import Batch, IntegerMatrix, Integers
from lad_rllib.compiling import kernel


@kernel
def make_distinct(drawn: IntegerMatrix, sizes: Integers) -> None:
    """Robert Floyd's algorithm, of each row by itself, in place."""
    is_taken = np.zeros(sizes.max(), np.bool_)
    for b in range(len(drawn)):
        samples = drawn.shape[1]
        for k in range(samples):
            if is_taken[drawn[b, k]]:
                drawn[b, k] = sizes[b] - samples + k
            is_taken[drawn[b, k]] = True
        for k in range(samples):
            is_taken[drawn[b, k]] = False


@kernel
def gather(rows: Batch, positions: IntegerMatrix, first: int, out: Batch) -> None:
    """Fill ``out`` (B, columns, M) with the columns from ``first`` on of the rows at positions (B, M)."""
    for b in range(len(out)):
        for column in range(out.shape[1]):
            for sample in range(out.shape[2]):
                out[b, column, sample] = rows[b, positions[b, sample], first + column]

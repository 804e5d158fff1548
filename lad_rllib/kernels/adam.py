"""Compiled kernel of Adam over stacked networks, each row with its own step count."""

from __future__ import annotations

import numpy as np

from lad_rllib.arrays import Flags, Matrix
from lad_rllib.compiling import kernel

_ONE, _ZERO = np.float32(1.0), np.float32(0.0)
# What cannot move a parameter becomes 0: subnormal numbers would be some hundred times slower.
_NO_GRADIENT, _NO_MEAN, _NO_SQUARE = np.float32(1e-18), np.float32(1e-30), np.float32(1e-36)


@kernel
def adam_step(
    parameters: Matrix,
    gradient: Matrix,
    means: Matrix,
    squares: Matrix,
    counts: Matrix,
    active: Flags,
    lr: float,
    beta_1: float,
    beta_2: float,
    eps: float,
) -> None:
    """One step of the rows whose agent, their index modulo ``len(active)``, takes part.

    Arguments: see :meth:`~lad_rllib.diffusion.reference.TorchBackend.adam_step`.
    """
    by_mean, keep_square, by_square = np.float32(1.0 - beta_1), np.float32(beta_2), np.float32(1.0 - beta_2)
    for index in range(len(parameters)):
        if active[index % len(active)]:
            counts[index, 0] += _ONE
            count = np.float64(counts[index, 0])
            step_size, root = np.float32(lr / (1.0 - beta_1**count)), np.float32(np.sqrt(1.0 - beta_2**count))
            row, of_row, mean_row, square_row = parameters[index], gradient[index], means[index], squares[index]
            for k in range(len(row)):
                g = _ZERO if abs(of_row[k]) < _NO_GRADIENT else of_row[k]
                mean = mean_row[k] + (g - mean_row[k]) * by_mean
                square = square_row[k] * keep_square + (g * g) * by_square
                mean_row[k] = _ZERO if abs(mean) < _NO_MEAN else mean
                square_row[k] = _ZERO if square < _NO_SQUARE else square
                row[k] -= step_size * mean / (np.sqrt(square) / root + np.float32(eps))

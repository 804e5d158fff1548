"""Compiled kernel of Adam over stacked networks, each row with its own step count."""

from __future__ import annotations

import numpy as np

from lad_rllib.kernels.compiler import kernel, part
from lad_rllib.kernels.mlp import PACKED, Array

_ONE, _ZERO = np.float32(1.0), np.float32(0.0)
# What cannot move a parameter becomes 0: subnormal numbers would be some hundred times slower.
_NO_GRADIENT, _NO_MEAN, _NO_SQUARE = np.float32(1e-18), np.float32(1e-30), np.float32(1e-36)


@part
def step_of_row(
    row: Array,
    gradient: Array,
    means: Array,
    squares: Array,
    rates: tuple[np.float32, ...],
) -> None:
    """One step of one network; see :func:`adam_step`."""
    step_size, root, by_mean, keep_square, by_square, eps = rates
    for k in range(len(row)):
        g = _ZERO if abs(gradient[k]) < _NO_GRADIENT else gradient[k]
        mean = means[k] + (g - means[k]) * by_mean
        square = squares[k] * keep_square + (g * g) * by_square
        means[k] = _ZERO if abs(mean) < _NO_MEAN else mean
        squares[k] = _ZERO if square < _NO_SQUARE else square
        row[k] -= step_size * mean / (np.sqrt(square) / root + eps)


@kernel(f"void({PACKED}, {PACKED}, {PACKED}, {PACKED}, {PACKED}, boolean[::1], float64, float64, float64, float64)")
def adam_step(
    parameters: Array,
    gradient: Array,
    means: Array,
    squares: Array,
    counts: Array,
    active: Array,
    lr: float,
    beta_1: float,
    beta_2: float,
    eps: float,
) -> None:
    """One step of Adam (arXiv 1412.6980) of the rows that take part.

    Args:
        parameters: Parameters (rows, P).
        gradient: Their gradient (rows, P).
        means: Running means of the gradient (rows, P).
        squares: Running means of the squared gradient (rows, P).
        counts: Steps taken (rows, 1).
        active: Agents that take part (G,); rows are agents, again and again.
        lr: Learning rate.
        beta_1: Decay rate of the means.
        beta_2: Decay rate of the squares.
        eps: Added to the denominator.
    """
    for row in range(len(parameters)):
        if active[row % len(active)]:
            counts[row, 0] += _ONE
            count = np.float64(counts[row, 0])
            rates = (
                np.float32(lr / (1.0 - beta_1**count)),
                np.float32(np.sqrt(1.0 - beta_2**count)),
                np.float32(1.0 - beta_1),
                np.float32(beta_2),
                np.float32(1.0 - beta_2),
                np.float32(eps),
            )
            step_of_row(parameters[row], gradient[row], means[row], squares[row], rates)

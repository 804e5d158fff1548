"""Compiled softmax over the features of many samples, and the way back.

What is negligible becomes 0: products of tiny probabilities would be subnormal numbers, with which processors are some
hundred times slower, and a trained actor's probabilities are often that tiny.
"""

from __future__ import annotations

import numpy as np

from lad_rllib.arrays import Array
from lad_rllib.compiling import part

_NEGLIGIBLE, _NEGLIGIBLE_EXPONENT = np.float32(1e-25), np.float32(-57.5)
_LOG2_E, _LN2_HIGH, _LN2_LOW = np.float32(1.4426950408889634), np.float32(0.693359375), np.float32(-2.12194440e-4)
_ROUNDING = np.float32(1.5 * 2.0**23)  # adding it rounds to a whole number, in the last bits
_EXPONENT_OF_ONE = np.int32(127 << 23)
# exp(r) = 1 + r + r^2 p(r) for |r| <= log(2) / 2, from the Cephes library.
_P0, _P1, _P2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
_P3, _P4, _P5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
_ONE = np.float32(1.0)


@part
def exp_of_negative(x: np.float32) -> np.float32:
    """Exponential function of a number <= 0, within 2e-7 of it, or 0 below 1e-25.

    There are no branches, so that loops of it become vectors.
    """
    shifted = np.float32(x * _LOG2_E + _ROUNDING)
    k = shifted - _ROUNDING
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    r2 = r * r
    p = (_P0 * r + _P1) * (r2 * r2) + ((_P2 * r + _P3) * r2 + (_P4 * r + _P5))
    power = np.int32((shifted.view(np.int32) << np.int32(23)) + _EXPONENT_OF_ONE).view(np.float32)
    return np.float32(0.0) if x < _NEGLIGIBLE_EXPONENT else (p * r2 + (r + _ONE)) * power


@part
def softmax(x: Array, rows: int, greatest: Array, total: Array) -> None:
    """Softmax over the first rows, in place; leaves each sample's greatest input, and the inverse of its total."""
    for sample in range(x.shape[1]):
        greatest[sample] = x[0, sample]
    for row in range(1, rows):
        for sample in range(x.shape[1]):
            greatest[sample] = x[row, sample] if x[row, sample] > greatest[sample] else greatest[sample]
    total[:] = 0.0
    for row in range(rows):
        for sample in range(x.shape[1]):
            x[row, sample] = exp_of_negative(x[row, sample] - greatest[sample])
        for sample in range(x.shape[1]):
            total[sample] += x[row, sample]
    for sample in range(x.shape[1]):
        total[sample] = _ONE / total[sample]
    for row in range(rows):
        for sample in range(x.shape[1]):
            x[row, sample] *= total[sample]


@part
def flush(x: Array, rows: int) -> None:
    """Set what is negligible to 0."""
    for row in range(rows):
        for sample in range(x.shape[1]):
            x[row, sample] = np.float32(0.0) if abs(x[row, sample]) < _NEGLIGIBLE else x[row, sample]


@part
def back_through_softmax(delta: Array, probabilities: Array, rows: int, total: Array) -> None:
    """From the gradient by probabilities to that by logits, in place."""
    total[:] = 0.0
    for row in range(rows):
        for sample in range(delta.shape[1]):
            total[sample] += delta[row, sample] * probabilities[row, sample]
    for row in range(rows):
        for sample in range(delta.shape[1]):
            delta[row, sample] = probabilities[row, sample] * (delta[row, sample] - total[sample])
    flush(delta, rows)

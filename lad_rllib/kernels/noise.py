"""Compiled generator of standard normal numbers: xoshiro128++, then Box and Muller's transform.

Many generators take turns (Blackman and Vigna, arXiv 1805.01407), so that loops over them become vectors. The numbers
depend on the key alone.
"""

from __future__ import annotations

import math

import numpy as np

from lad_rllib.arrays import Array, Vector
from lad_rllib.compiling import kernel, part

GENERATORS = 128
_F = np.float32
# Polynomials of the Cephes library (logf, sinf, cosf).
_L0, _L1, _L2 = _F(7.0376836292e-2), _F(-1.1514610310e-1), _F(1.1676998740e-1)
_L3, _L4, _L5 = _F(-1.2420140846e-1), _F(1.4249322787e-1), _F(-1.6668057665e-1)
_L6, _L7, _L8 = _F(2.0000714765e-1), _F(-2.4999993993e-1), _F(3.3333331174e-1)
_S0, _S1, _S2 = _F(-1.9515295891e-4), _F(8.3321608736e-3), _F(-1.6666654611e-1)
_C0, _C1, _C2 = _F(2.443315711809948e-5), _F(-1.388731625493765e-3), _F(4.166664568298827e-2)
_LN2, _ROOT_HALF, _QUARTER_TURN = _F(math.log(2)), _F(math.sqrt(0.5)), _F(math.pi / 2)
_ONE, _HALF, _TO_UNIT = _F(1.0), _F(0.5), _F(2.0**-32)


@part
def rotated(x: np.uint32, left: int) -> np.uint32:
    """The bits of a word, moved round."""
    return np.uint32(np.uint32(x << np.uint32(left)) | np.uint32(x >> np.uint32(32 - left)))


@part
def split_mix(x: np.uint64) -> np.uint64:
    """SplitMix64: a word in which each bit depends on all bits of another (Steele et al., OOPSLA 2014)."""
    x += np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@part
def first_state(key: np.uint64) -> Array:
    """States (4, GENERATORS) of generators whose sequences begin at places far from each other."""
    state = np.empty((4, GENERATORS), np.uint32)
    for k in range(GENERATORS):
        for half in range(2):
            word = split_mix(split_mix(key) + np.uint64(2 * k + half))
            state[2 * half, k], state[2 * half + 1, k] = np.uint32(word), np.uint32(word >> np.uint64(32))
    return state


@part
def next_words(s0: Array, s1: Array, s2: Array, s3: Array, words: Array) -> None:
    """One word of each generator."""
    for k in range(GENERATORS):
        a, b, c, d = s0[k], s1[k], s2[k], s3[k]
        words[k] = np.uint32(rotated(np.uint32(a + d), 7) + a)
        c, d = np.uint32(c ^ a), np.uint32(d ^ b)
        s1[k], s0[k] = np.uint32(b ^ c), np.uint32(a ^ d)
        s2[k], s3[k] = np.uint32(c ^ np.uint32(b << np.uint32(9))), rotated(d, 11)


@part
def logarithm(u: np.float32) -> np.float32:
    """Natural logarithm of a positive normal number."""
    bits = np.float32(u).view(np.int32)
    exponent = np.int32((bits >> np.int32(23)) - np.int32(126))
    m = np.int32((bits & np.int32(0x7FFFFF)) | np.int32(0x3F000000)).view(np.float32)  # in [0.5, 1)
    is_low = m < _ROOT_HALF
    x = (m + m if is_low else m) - _ONE
    e = _F(exponent) - (_ONE if is_low else _F(0.0))
    z = x * x
    p = (((((((_L0 * x + _L1) * x + _L2) * x + _L3) * x + _L4) * x + _L5) * x + _L6) * x + _L7) * x + _L8
    return x + (x * z * p - _HALF * z) + e * _LN2


@part
def two_normals(radius_bits: np.uint32, angle_bits: np.uint32) -> tuple[np.float32, np.float32]:
    """Two independent standard normal numbers from two words."""
    radius = np.sqrt(_F(-2.0) * logarithm(_F(radius_bits) * _TO_UNIT + _HALF * _TO_UNIT))
    # Two bits say which quarter of the turn, the others where in it.
    angle = _F(np.int32(angle_bits << np.uint32(2))) * _TO_UNIT * _QUARTER_TURN
    z = angle * angle
    sine = ((_S0 * z + _S1) * z + _S2) * z * angle + angle
    cosine = ((_C0 * z + _C1) * z + _C2) * z * z - _HALF * z + _ONE
    quarter = np.int32(angle_bits >> np.uint32(30))
    is_odd = (quarter & np.int32(1)) != 0
    first, second = sine if is_odd else cosine, cosine if is_odd else sine
    first_sign = _ONE - _F((quarter + np.int32(1)) & np.int32(2))
    second_sign = _ONE - _F(quarter & np.int32(2))
    return radius * first * first_sign, radius * second * second_sign


@part
def fill_pairs(radius_bits: Array, angle_bits: Array, first: Array, second: Array) -> None:
    """Two normal numbers from each pair of words."""
    for k in range(len(first)):
        first[k], second[k] = two_normals(radius_bits[k], angle_bits[k])


@kernel
def fill_normal(out: Vector, key: np.uint64) -> None:
    """Fill an array, whose length is a multiple of 2 GENERATORS, with standard normal numbers."""
    state, words = first_state(key), np.empty((2, GENERATORS), np.uint32)
    for start in range(0, len(out), 2 * GENERATORS):
        middle, end = start + GENERATORS, start + 2 * GENERATORS
        for row in range(2):
            next_words(state[0], state[1], state[2], state[3], words[row])
        fill_pairs(words[0], words[1], out[start:middle], out[middle:end])

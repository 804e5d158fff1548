"""Normal numbers of the compiled generator: the algorithm written out with whole numbers, and their distribution."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch

from lad_rllib.kernels.compiled import COMPILED
from lad_rllib.kernels.noise import GENERATORS, fill_normal

CPU = torch.device("cpu")
WORD, LONG = 2**32 - 1, 2**64 - 1


def split_mix(x):
    """Steele, Lea and Flood, OOPSLA 2014."""
    x = (x + 0x9E3779B97F4A7C15) & LONG
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & LONG
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & LONG
    return x ^ (x >> 31)


def xoshiro(state):
    """xoshiro128++ as its authors write it (prng.di.unimi.it/xoshiro128plusplus.c)."""

    def rotl(x, k):
        return ((x << k) | (x >> (32 - k))) & WORD

    while True:
        yield (rotl((state[0] + state[3]) & WORD, 7) + state[0]) & WORD
        t = (state[1] << 9) & WORD
        state[2] ^= state[0]
        state[3] ^= state[1]
        state[1] ^= state[2]
        state[0] ^= state[3]
        state[2] ^= t
        state[3] = rotl(state[3], 11)


@pytest.mark.parametrize("key", [0, 12345678901234567890])
@pytest.mark.parametrize("generator", [0, 77, GENERATORS - 1])
def test_numbers_are_those_of_the_algorithm_written_out(key, generator):
    numbers = np.empty(2 * GENERATORS * 5, np.float32)
    fill_normal(numbers, np.uint64(key))
    own = numbers.reshape(5, 2, GENERATORS)[:, :, generator]
    seeds = [split_mix((split_mix(key) + 2 * generator + half) & LONG) for half in range(2)]
    words = xoshiro([word for seed in seeds for word in (seed & WORD, seed >> 32)])
    for pair in own:
        radius, word = math.sqrt(-2 * math.log((next(words) + 0.5) / 2**32)), next(words)
        rest = (word << 2) & WORD
        angle = math.pi / 2 * ((word >> 30) + (rest - 2**32 if rest >= 2**31 else rest) / 2**32)
        assert pair.tolist() == pytest.approx([radius * math.cos(angle), radius * math.sin(angle)], abs=2e-6)


def test_they_are_normally_distributed_and_independent():
    numbers = COMPILED.normal((2**20,), torch.Generator().manual_seed(1), CPU).double().numpy()
    edges = [NormalDist().inv_cdf(k / 100) for k in range(1, 100)]
    counts = np.bincount(np.searchsorted(edges, numbers), minlength=100)
    expected = len(numbers) / 100
    assert ((counts - expected) ** 2 / expected).sum() < 149  # chi-square, 99 degrees of freedom: one in a thousand
    assert 2**20 * 6.3e-5 * 0.6 < (np.abs(numbers) > 4).sum() < 2**20 * 6.3e-5 * 1.4
    limit = 5 / math.sqrt(len(numbers))
    for lag in (1, 2, GENERATORS, 2 * GENERATORS):
        for values in (numbers, numbers**2):
            assert abs(np.corrcoef(values[lag:], values[:-lag])[0, 1]) < limit, lag


def test_a_seed_gives_the_same_numbers_and_the_next_call_others():
    generator = torch.Generator().manual_seed(3)
    first, second = COMPILED.normal((3, 7), generator, CPU), COMPILED.normal((3, 7), generator, CPU)
    assert torch.equal(first, COMPILED.normal((3, 7), torch.Generator().manual_seed(3), CPU))
    assert not torch.isclose(first, second).any()
    assert COMPILED.normal((0, 4), generator, CPU).shape == (0, 4)

"""Verdicts on a new policy: only what is surely better in the mean and worse in nothing is recommended."""

import numpy as np
import pytest

from lad_rllib.runs.judgement import Replayed, judge

WINDOWS, REQUESTS = 10, 200


def replayed(name, scale=1.0, tail=1.0, spread=0.0, seed=0):
    """Delays of the same requests, so many times as long; of the slowest two of a hundred, times ``tail``."""
    rng = np.random.default_rng(5)
    delays = rng.exponential(1.0, (WINDOWS, REQUESTS)) * scale
    delays = np.where(delays > np.percentile(delays, 98), delays * tail, delays)
    factors = np.exp(np.random.default_rng(seed).normal(0.0, spread, (WINDOWS, 1)))
    return Replayed(name, tuple(delays * factors))


def test_ratios_have_intervals_over_windows_and_are_exact_where_every_window_agrees():
    row = replayed("new", 0.8).over(replayed("old"))
    assert row == pytest.approx({name: 0.8 for name in row}) and len(row) == 6
    noisy = replayed("new", 0.8, spread=0.3, seed=1).over(replayed("old"))
    assert noisy["mean_low"] < noisy["mean_ratio"] < noisy["mean_high"] and noisy["mean_high"] - noisy["mean_low"] > 0.1


@pytest.mark.parametrize(
    ("candidate", "guard", "verdict", "why"),
    [
        (replayed("new", 0.8), replayed("rule", 0.9), "better", "new is better than old, and no worse than rule"),
        (replayed("new", 1.1), replayed("rule", 1.2), "keep", "new: mean"),
        (replayed("new", 0.9, tail=2.0), replayed("rule", 1.5), "keep", "new: p99"),
        (replayed("new", 0.9), replayed("rule", 0.8), "heuristic", "rule is better than old"),
        (replayed("new", 1.5), replayed("rule", 0.8), "heuristic", "rule is better than old"),
        (replayed("new", 0.9), replayed("rule", 0.8, tail=2.0), "keep", "new: mean"),
        (replayed("new", 0.9, spread=0.3, seed=1), replayed("rule", 2.0), "keep", "not surely below 1"),
    ],
)
def test_the_verdict_and_its_reason(candidate, guard, verdict, why):
    found, reasons = judge(candidate, replayed("old"), guard)
    assert found == verdict and any(why in reason for reason in reasons), reasons


def test_a_heuristic_that_decides_at_present_is_only_compared_with_the_new_policy():
    assert judge(replayed("new", 0.8), replayed("rule"), replayed("rule"))[0] == "better"
    assert judge(replayed("new", 1.2), replayed("rule"), replayed("rule"))[0] == "keep"

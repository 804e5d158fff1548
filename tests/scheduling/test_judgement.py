"""Verdicts on a new policy: only what is surely better in the mean and worse in nothing is recommended."""

import numpy as np
import pytest

from lad_rllib.scheduling.judgement import BLOCK, Replayed, judge, replay_resampled, resampled
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS
from lad_rllib.simulator.requests import build_request_setting, plain_requests

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
        (replayed("new", 0.9, tail=1.12, spread=0.02), replayed("rule", 1.5), "undecided", "new: p99"),
        (replayed("new", 0.9, tail=1.05, spread=0.1), replayed("rule", 1.5), "undecided", "not surely below 1.05"),
        (replayed("new", 0.9), replayed("rule", 0.8), "heuristic", "rule is better than old"),
        (replayed("new", 1.5), replayed("rule", 0.8), "heuristic", "rule is better than old"),
        (replayed("new", 0.9), replayed("rule", 0.8, tail=2.0), "keep", "new: mean"),
        (replayed("new", 0.9, spread=0.3, seed=1), replayed("rule", 2.0), "undecided", "not surely below 1"),
    ],
)
def test_the_verdict_and_its_reason(candidate, guard, verdict, why):
    found, reasons = judge(candidate, replayed("old"), guard)
    assert found == verdict and any(why in reason for reason in reasons), reasons


def test_a_tail_that_is_lower_by_chance_alone_recommends_nothing():
    # A percentile of 2,000 requests of which windows disagree: at 0.92 of the other's, yet maybe 1.1 times as long.
    chance = replayed("new", 0.8, tail=1.21, spread=0.08, seed=3)
    row = chance.over(replayed("old"))
    assert row["p99_ratio"] < 1 < 1.05 < row["p99_high"] and row["mean_high"] < 0.9
    assert judge(chance, replayed("old"), replayed("rule", 2.0), is_final=True)[0] == "keep"


def test_what_is_final_is_never_undecided():
    candidate = replayed("new", 0.9, spread=0.3, seed=1)
    assert judge(candidate, replayed("old"), replayed("rule", 2.0), is_final=True)[0] == "keep"
    assert judge(candidate, replayed("old"), replayed("rule", 0.8), is_final=True)[0] == "heuristic"


def test_episodes_of_a_log_have_its_requests_and_gaps_in_blocks():
    log = plain_requests(np.cumsum(np.arange(1.0, 201.0)), np.arange(200.0) + 1)
    episode = resampled(log, np.random.default_rng(0))
    assert len(episode) == 200 and (np.diff(episode.arrival_s) > 0).all()
    steps, gap_s = episode.steps[1:], np.diff(episode.arrival_s)
    assert (gap_s[steps > 1] == steps[steps > 1]).all()  # as in the log, where the k-th came k s after the one before
    assert (np.diff(episode.steps)[np.arange(199) % BLOCK != BLOCK - 1] == 1).all()
    assert episode.steps.tolist() != resampled(log, np.random.default_rng(1)).steps.tolist()


def test_busier_episodes_have_the_same_requests_sooner_one_after_the_other():
    setting = build_request_setting({"servers": [1.0], "requests": 80, "traffic": {"kind": "poisson", "load": 0.7}})
    log, rule = setting.draw(np.random.default_rng(0)), REQUEST_SCHEDULERS["least-work-left"]
    usual, same, busy = (
        replay_resampled("rule", rule(), setting, log, 3, 0, number=200, busier=busier) for busier in (1.0, 1.0, 1.5)
    )
    assert [len(delay_s) for delay_s in busy.windows_s] == [200] * 3
    assert (usual.delay_s == same.delay_s).all() and (busy.delay_s >= usual.delay_s - 1e-9).all()
    assert busy.mean_s > 1.2 * usual.mean_s


def test_a_heuristic_that_decides_at_present_is_only_compared_with_the_new_policy():
    assert judge(replayed("new", 0.8), replayed("rule"), replayed("rule"))[0] == "better"
    assert judge(replayed("new", 1.2), replayed("rule"), replayed("rule"))[0] == "keep"

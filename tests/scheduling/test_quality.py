"""The numbers that describe a schedule, by hand."""

import numpy as np
import pytest

from lad_rllib.scheduling import GivenDecisions, make_heuristic, play, schedule_quality
from lad_rllib.scheduling.quality import delays_and_sizes_s, jain_index, slowdown
from lad_rllib.simulator import Arrivals, EdgeNetwork, build_setting, stack_arrivals


def record_of(sizes, servers):
    """Tasks of given workloads in one slot at one station, sent to given servers of 10 and 20 Gcycle/s."""
    size = np.array(sizes, dtype=float)[None, None]
    ones = np.full(size.shape, 1e-9)
    arrivals = Arrivals(np.array([[len(sizes)]]), ones, size, np.ones(size.shape), ones)
    network = EdgeNetwork(1, [10.0, 20.0], [400.0, 400.0])
    action = np.array(servers)[None, None, None]
    return play(GivenDecisions(action), network, stack_arrivals([arrivals]), np.random.default_rng(0))


def test_quality_by_hand():
    record = record_of([10, 20, 40, 30], [0, 1, 1, 0])  # delays 1, 1, 3, 4 s
    numbers = schedule_quality(record, deadline_s=3.5, size_classes=2)
    assert numbers == pytest.approx(
        {
            "mean_s": 2.25,
            "p50_s": 2.0,
            "p95_s": 3.85,
            "p99_s": 3.97,
            "max_s": 4.0,
            # Slowdowns over 20 Gcycle/s: 2, 1, 1.5, 8/3.
            "fairness": (2 + 1 + 1.5 + 8 / 3) ** 2 / (4 * (4 + 1 + 2.25 + 64 / 9)),
            "miss_rate": 0.25,
            "class1_s": 1.0,
            "class2_s": 3.5,
        },
        rel=1e-6,
    )
    assert "miss_rate" not in schedule_quality(record)


def test_fairness_is_that_of_slowdowns():
    equal_slowdowns = record_of([10, 20], [1, 1])
    np.testing.assert_allclose(slowdown(*delays_and_sizes_s(equal_slowdowns)), [1.0, 1.5], rtol=1e-6)
    assert schedule_quality(record_of([10, 20], [0, 0]))["fairness"] == pytest.approx((2 + 3) ** 2 / (2 * 13))
    assert schedule_quality(record_of([10], [1]))["fairness"] == pytest.approx(1.0)


def test_jains_index_is_the_share_of_those_who_have_it_all_and_knows_no_unit():
    values = np.random.default_rng(0).exponential(size=100)
    assert jain_index(7.5 * values) == pytest.approx(jain_index(values))
    assert 1 / 100 < jain_index(values) < 1
    assert jain_index(np.repeat([0.0, 3.0], [60, 40])) == pytest.approx(0.4)


def test_classes_together_are_all_tasks():
    setting = build_setting({"preset": "small"})
    arrivals = stack_arrivals([setting.arrivals.draw(np.random.default_rng(0), 8)])
    record = play(make_heuristic("greedy-oracle"), setting.network, arrivals, np.random.default_rng(0))
    work, delay = record.workload_gcycles[record.mask], record.delay_s[record.mask]
    numbers = schedule_quality(record, size_classes=3)
    order = np.sort(work)
    bounds = [np.searchsorted(order, work) / len(work)]
    shares = [((bounds[0] >= k / 3) & (bounds[0] < (k + 1) / 3)).mean() for k in range(3)]
    assert sum(shares) == pytest.approx(1.0)
    total = sum(share * numbers[f"class{k + 1}_s"] for k, share in enumerate(shares))
    assert total == pytest.approx(delay.mean())
    assert schedule_quality(record, size_classes=1)["class1_s"] == pytest.approx(record.mean_delay_s)


def test_without_tasks_all_numbers_are_zero_and_all_is_fair():
    setting = build_setting({"preset": "small", "arrivals": {"min_tasks": 0}})
    arrivals = stack_arrivals([setting.arrivals.draw(np.random.default_rng(0), 8)])
    arrivals.task_counts[:] = 0
    record = play(make_heuristic("random"), setting.network, arrivals, np.random.default_rng(0))
    numbers = schedule_quality(record, deadline_s=1.0)
    assert numbers.pop("fairness") == 1.0 and set(numbers.values()) == {0.0}

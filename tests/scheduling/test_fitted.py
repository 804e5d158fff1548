"""Schedulers fitted to the delay of all tasks: what they decide, what they learn, and that they beat the oracle."""

from functools import cache

import numpy as np
import pytest

from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling import (
    PricedGreedy,
    Scheduler,
    SizeIntervals,
    TabularPolicy,
    make_heuristic,
    play,
)
from lad_rllib.scheduling.fitted import FITTED, fit_scheduler
from lad_rllib.scheduling.fitted.size_intervals import _built, _changed, _drawn
from lad_rllib.scheduling.fitted.size_tables import size_thresholds, slot_class_means
from lad_rllib.simulator import (
    EdgeSimulator,
    SyntheticArrivals,
    Tail,
    UniformFields,
    build_setting,
    draw_network,
    marginal_costs_s,
    stack_arrivals,
)

BUDGETS = {"two-size-classes": 60, "three-size-classes": 80, "priced-greedy": 50, "tabular": 80}
OVERLOADED = {
    "preset": "paper",
    "slots": 25,
    "network": {"stations": 4, "capacity_gcycles_per_s": [4.0, 5.0, 7.0, 12.0]},
    "arrivals": {"max_tasks": 12},
}


@cache
def setting():
    return build_setting(OVERLOADED)


def test_arrivals(episodes=6):
    return stack_arrivals([setting().arrivals.draw(np.random.default_rng([9, k]), 25) for k in range(episodes)])


test_arrivals.__test__ = False  # a helper


@cache
def fitted(name):
    return fit_scheduler(name, setting().network, setting().arrivals, np.random.default_rng(1), 25, BUDGETS[name])


def mean_delay_s(scheduler):
    return play(scheduler, setting().network, test_arrivals(), np.random.default_rng(0)).mean_delay_s


@pytest.mark.parametrize("name", FITTED)
def test_each_of_them_beats_the_greedy_oracle_on_fresh_arrivals_under_overload(name):
    assert 1.1 < setting().load < 1.4
    assert isinstance(fitted(name), Scheduler)
    assert mean_delay_s(fitted(name)) < 0.93 * mean_delay_s(make_heuristic("greedy-oracle"))


@pytest.mark.parametrize("name", FITTED)
def test_the_same_seed_fits_the_same_scheduler(name):
    made = [
        fit_scheduler(name, setting().network, setting().arrivals, np.random.default_rng(3), 5, budget=4)
        for _ in range(2)
    ]
    arrivals = test_arrivals(2)
    actions = [play(s, setting().network, arrivals, np.random.default_rng(0)).action for s in made]
    np.testing.assert_array_equal(*actions)


def test_what_cannot_be_fitted_is_refused_in_one_line():
    arguments = setting().network, setting().arrivals, np.random.default_rng(0), 5
    with pytest.raises(ConfigurationError, match="unknown fitted scheduler 'best'; choose from two-size-classes, "):
        fit_scheduler("best", *arguments)
    with pytest.raises(ConfigurationError, match="the budget of tabular must be at least 1, got 0"):
        fit_scheduler("tabular", *arguments, budget=0)
    with pytest.raises(ConfigurationError, match="size_classes must lie between 1 and 4, got 5"):
        SizeIntervals.fit(*arguments, size_classes=5)
    with pytest.raises(ConfigurationError, match=r"2 size classes need a server each; .* to classes \[0\]"):
        SizeIntervals([1.0], [0, 0, 0])
    with pytest.raises(ConfigurationError, match=r"thresholds_gcycles must not decrease, got \[2.0, 1.0\]"):
        SizeIntervals([2.0, 1.0], [0, 1, 2])


def test_each_size_class_stays_on_its_servers_and_fills_them_like_water():
    network, arrivals = setting().network, test_arrivals(1)
    record = play(SizeIntervals([1.2], np.array([1, 0, 1, 1])), network, arrivals, np.random.default_rng(0))
    small = record.workload_gcycles <= 1.2
    assert (record.action[record.mask & small] == 1).all()
    large = record.action[record.mask & ~small]
    assert set(large) == {0, 2, 3}
    wait = record.queue_gcycles[0, -1] / network.capacity_gcycles_per_s
    assert np.ptp(wait[[0, 2, 3]]) < 0.3 * wait[[0, 2, 3]].mean()


@pytest.mark.parametrize("seed", range(30))
def test_every_candidate_gives_each_class_a_server(seed):
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(1, 6))
    network = draw_network(rng, num_servers=int(rng.integers(classes, 8)))
    workloads = rng.exponential(size=50)
    parts = _drawn(rng, workloads, network, classes, load=rng.uniform(0.2, 2))
    for _ in range(5):
        thresholds, size_class = _built(parts, workloads, network)
        assert set(size_class) == set(range(classes)) and (np.diff(thresholds) >= 0).all()
        SizeIntervals(thresholds, size_class)
        parts = _changed(parts, rng)


def test_without_prices_priced_greedy_is_the_greedy_oracle():
    arrivals = test_arrivals(2)
    actions = [
        play(s, setting().network, arrivals, np.random.default_rng(0)).action
        for s in (PricedGreedy(setting().network, 25, np.array([1.0])), make_heuristic("greedy-oracle"))
    ]
    np.testing.assert_array_equal(*actions)


def test_the_expected_delay_to_others_is_work_over_capacity_for_each_task_behind():
    network, arrivals = setting().network, test_arrivals(1)
    greedy = PricedGreedy(network, 25, np.array([1.0]))
    greedy.slot_share[0] = [0.5, 0.5, 0.0, 0.0]
    greedy.later_tasks[0] = [[1.0, 0.0, 3.0, 0.0], [10.0, 0.0, 0.0, 0.0]]  # small tasks, large tasks
    tasks = EdgeSimulator(network, arrivals).tasks
    external = greedy.external_delay_s(tasks, 0)
    work = tasks.workload_gcycles[0][tasks.mask[0]]
    assert external.shape == (len(work), 4) and (external[:, 3] == 0).all()
    for k, w in enumerate(work):
        to_come = len(work) - 1 - k
        later = [1.0, 0.0, 3.0, 0.0] if w <= 1.0 else [10.0, 0.0, 0.0, 0.0]
        expected = w / network.capacity_gcycles_per_s * (to_come * np.array([0.5, 0.5, 0, 0]) + later)
        np.testing.assert_allclose(external[k], expected, rtol=1e-12)


def test_a_full_step_sets_prices_to_those_of_the_episode():
    network, arrivals = setting().network, test_arrivals(1)
    record = play(make_heuristic("capacity-proportional"), network, arrivals, np.random.default_rng(0))
    greedy = PricedGreedy(network, 25, np.array([1.0]))
    greedy.learn(record, 1.0)
    sent = [(record.action[0, 3] == a).sum() for a in range(4)]
    np.testing.assert_allclose(greedy.slot_share[3], np.divide(sent, record.mask[0, 3].sum()))
    # No queue runs empty after the first slots, so a task delays all that come to its server later.
    assert record.queue_gcycles[0, 6:].min() > record.workload_gcycles.max()
    later = np.array([(record.action[0, 6:] == a).sum() for a in range(4)])
    np.testing.assert_allclose(greedy.later_tasks[5], np.tile(later, (2, 1)), rtol=1e-9)


def test_an_untrained_table_draws_in_proportion_to_capacity_and_its_last_row_serves_later_slots():
    network = setting().network
    table = TabularPolicy(network, 2, np.array([1.0]))
    capacity = network.capacity_gcycles_per_s
    np.testing.assert_allclose(table.probabilities, np.broadcast_to(capacity / capacity.sum(), (2, 2, 4)))
    table.logits[1] = [[0.0, -50, -50, -50], [-50, 0.0, -50, -50]]
    record = play(table, network, test_arrivals(1), np.random.default_rng(0))
    late = record.mask & (np.arange(25) > 0)[:, None, None]
    small = record.workload_gcycles <= 1.0
    assert (record.action[late & small] == 0).all() and (record.action[late & ~small] == 1).all()


def test_a_step_of_mirror_descent_moves_every_row_against_its_mean_cost():
    network, arrivals = setting().network, test_arrivals(1)
    table = TabularPolicy(network, 25, np.empty(0))  # one class, so that rows are slots
    record = play(table, network, arrivals, np.random.default_rng(0))
    cost, before = marginal_costs_s(record), table.probabilities
    table.learn(record, cost, rate=0.01)
    for slot in (0, 7, 24):
        mask = record.mask[0, slot]
        mean = cost[0, slot][mask].mean(axis=0)
        expected = before[slot, 0] * np.exp(-0.01 * mean)
        np.testing.assert_allclose(table.probabilities[slot, 0], expected / expected.sum(), rtol=1e-9)


def test_a_table_that_learns_a_tail_loss_has_a_lighter_tail():
    arguments = setting().network, setting().arrivals
    tables = [
        TabularPolicy.fit(*arguments, np.random.default_rng(1), 25, episodes=80, penalty=penalty)
        for penalty in (None, Tail(threshold_s=6.0, strength=5.0))
    ]
    records = [play(t, setting().network, test_arrivals(), np.random.default_rng(0)) for t in tables]
    assert records[1].percentile_s(99) < 0.8 * records[0].percentile_s(99)
    assert records[1].mean_delay_s > records[0].mean_delay_s


def test_means_by_slot_and_class_equal_a_loop():
    rng = np.random.default_rng(0)
    mask, work = rng.random((3, 2, 4)) < 0.5, rng.uniform(0, 3, (3, 2, 4))
    values, otherwise = rng.normal(size=(3, 2, 4, 2)), np.full((3, 3, 2), -7.0)
    means = slot_class_means(values, mask, work, np.array([1.0, 2.5]), otherwise)
    for t in range(3):
        for c, (low, high) in enumerate([(-1, 1.0), (1.0, 2.5), (2.5, 9)]):
            of_class = mask[t] & (work[t] > low) & (work[t] <= high)
            expected = values[t][of_class].mean(axis=0) if of_class.any() else -7.0
            np.testing.assert_allclose(means[t, c], np.broadcast_to(expected, 2))


def test_size_classes_hold_about_as_many_tasks_each_and_equal_tasks_together():
    work = SyntheticArrivals(UniformFields(attributes="per_task")).draw(np.random.default_rng(0), 5).workload_gcycles
    work = work[work > 0]
    counts = np.bincount(np.searchsorted(size_thresholds(work, 8), work))
    assert len(counts) == 8 and counts.max() < 1.02 * counts.min()
    few = np.array([1.0] * 10 + [2.0] * 3)
    assert size_thresholds(few, 5).tolist() == [1.5]

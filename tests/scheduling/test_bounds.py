"""The lower bound against every schedule tried, the optimum of tiny instances, and closed forms; local search."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from lad_rllib.scheduling import HEURISTICS, GivenDecisions, local_search, lower_bound_s, make_heuristic, play, settle
from lad_rllib.scheduling.bounds import empty_queue_sum_s, one_machine_sum_s
from lad_rllib.simulator import (
    Arrivals,
    EdgeNetwork,
    PoissonFields,
    SyntheticArrivals,
    build_setting,
    draw_network,
    marginal_costs_s,
    stack_arrivals,
)


def random_setting(seed, episodes=2, num_slots=6):
    """A small network at any load, with stations that have no server of their own."""
    rng = np.random.default_rng(seed)
    stations, servers = rng.integers(1, 5, size=2)
    network = draw_network(rng, num_stations=stations, num_servers=servers, capacity_range=(1, 9), slot_s=1.2)
    network = replace(network, home_server=rng.integers(-1, servers, size=stations))
    source = SyntheticArrivals(
        PoissonFields(max_tasks=7, mean_tasks=rng.uniform(0.2, 4), attributes="per_task"), stations
    )
    return network, stack_arrivals([source.draw(rng, num_slots) for _ in range(episodes)])


def all_schedules(network, arrivals):
    """Every schedule of a single episode, side by side as episodes."""
    tasks = arrivals.mask.sum()
    schedules = list(itertools.product(range(network.num_servers), repeat=int(tasks)))
    copies = stack_arrivals([arrivals.episodes(0)] * len(schedules))
    action = np.zeros(copies.mask.shape, dtype=np.int64)
    action[copies.mask] = np.ravel(schedules)
    return play(GivenDecisions(action), network, copies, np.random.default_rng(0))


@pytest.mark.parametrize("seed", range(40))
def test_no_scheduler_and_no_search_is_below_the_bound(seed):
    network, arrivals = random_setting(seed)
    bound = lower_bound_s(network, arrivals)
    assert (bound[arrivals.mask.any(axis=(1, 2, 3))] > 0).all()
    rng = np.random.default_rng(0)
    names = [name for name in HEURISTICS if name != "local-only" or network.home_server.min() >= 0]
    for name in names:
        record = play(make_heuristic(name), network, arrivals, rng)
        assert (record.episode_mean_delay_s >= bound - 1e-12).all(), name
    found = local_search(network, arrivals, record, rng)
    assert (found.episode_mean_delay_s >= bound - 1e-12).all()


@pytest.mark.parametrize("seed", range(25))
def test_the_optimum_of_a_tiny_instance_is_between_bound_and_search(seed):
    rng = np.random.default_rng(seed)
    network = EdgeNetwork(2, rng.uniform(0.3, 3.0, 2), rng.uniform(20, 400, 2))
    arrivals = stack_arrivals(
        [SyntheticArrivals(PoissonFields(max_tasks=2, mean_tasks=1.2, attributes="per_task"), 2).draw(rng, 3)]
    )
    while not 0 < arrivals.num_tasks <= 8:
        arrivals = stack_arrivals(
            [SyntheticArrivals(PoissonFields(max_tasks=2, mean_tasks=1.2, attributes="per_task"), 2).draw(rng, 3)]
        )
    schedules = all_schedules(network, arrivals)
    optimum = schedules.episode_mean_delay_s.min()
    assert lower_bound_s(network, arrivals)[0] <= optimum + 1e-12
    start = play(make_heuristic("greedy-oracle"), network, arrivals, rng)
    found = local_search(network, arrivals, start, rng)
    assert optimum - 1e-12 <= found.mean_delay_s <= start.mean_delay_s + 1e-12


def test_the_bound_is_the_optimum_of_one_server_that_is_given_its_tasks_smallest_first():
    sizes = np.array([[[1.0, 2.0, 4.0]], [[2.5, 3.0, 6.0]]])  # three tasks in each of two slots of 20 s
    arrivals = stack_arrivals(
        [Arrivals(np.full((2, 1), 3), np.full(sizes.shape, 3.0), sizes, np.ones(sizes.shape), np.ones(sizes.shape))]
    )
    network = EdgeNetwork(1, [2.0], [100.0], slot_s=20.0)
    record = play(make_heuristic("local-only"), network, arrivals, np.random.default_rng(0))
    assert lower_bound_s(network, arrivals)[0] == pytest.approx(record.mean_delay_s, rel=1e-12)
    assert lower_bound_s(network, arrivals, num_slots=1)[0] == pytest.approx((0.5 + 1.5 + 3.5) / 3 + 0.01)


def test_the_one_machine_bound_equals_a_machine_played_in_small_steps():
    rng = np.random.default_rng(3)
    workloads = [rng.uniform(0.2, 3.0, size=count) for count in (3, 0, 5, 1)]
    work = np.concatenate(workloads)
    arrived = np.repeat(np.arange(4) * 1.5, [len(w) for w in workloads])
    left, total, step, now = work.copy(), 0.0, 1e-4, 0.0
    while left.sum() > 0:
        present = np.flatnonzero((left > 0) & (arrived <= now + 1e-12))
        if len(present):
            task = present[work[present].argmin()]
            done = min(3.0 * step, left[task])
            left[task] -= done
            total += done / work[task] * (now + step / 2 - arrived[task])
        now += step
    assert one_machine_sum_s(arrived, work, 3.0) == pytest.approx(total, rel=1e-3)


def test_the_empty_queue_bound_is_the_best_of_all_orders_and_assignments():
    rng = np.random.default_rng(5)
    work = rng.uniform(0.2, 3.0, size=5)
    best = np.inf
    for servers in itertools.product(range(2), repeat=5):
        total = 0.0
        for a, capacity in enumerate((2.0, 5.0)):
            own = np.sort(work[np.array(servers) == a])  # smallest first is best on one server
            total += np.cumsum(own).sum() / capacity
        best = min(best, total)
    assert empty_queue_sum_s(work, np.array([2.0, 5.0])) == pytest.approx(best, rel=1e-12)


def test_episodes_without_tasks_have_the_bound_zero():
    arrivals = stack_arrivals(
        [
            SyntheticArrivals(PoissonFields(max_tasks=2, mean_tasks=0.0, attributes="per_task"), 2).draw(
                np.random.default_rng(0), 3
            )
        ]
    )
    assert lower_bound_s(draw_network(np.random.default_rng(0), num_stations=2), arrivals).tolist() == [0.0]


@pytest.mark.parametrize("seed", range(6))
def test_the_search_ends_where_no_single_move_is_a_gain(seed):
    network, arrivals = random_setting(seed)
    start = play(make_heuristic("random"), network, arrivals, np.random.default_rng(0))
    found = local_search(network, arrivals, start, np.random.default_rng(1), rounds=100)
    assert (found.episode_mean_delay_s <= start.episode_mean_delay_s + 1e-12).all()
    cost = marginal_costs_s(found)
    own = np.take_along_axis(cost, np.maximum(found.action, 0)[..., None], axis=-1)
    assert (cost - own)[found.mask].min() > -1e-7


def test_more_rounds_of_search_are_never_worse():
    setting = build_setting({"preset": "small"})
    arrivals = stack_arrivals([setting.arrivals.draw(np.random.default_rng(k), 8) for k in range(3)])
    start = play(make_heuristic("greedy-oracle"), setting.network, arrivals, np.random.default_rng(0))
    means = [
        local_search(setting.network, arrivals, start, np.random.default_rng(1), rounds).mean_delay_s
        for rounds in (1, 2, 4, 20)
    ]
    assert start.mean_delay_s > means[0] and (np.diff(means) <= 1e-12).all()


def test_decisions_that_have_settled_beat_the_greedy_oracle_and_each_episode_settles_by_itself():
    setting = build_setting({"preset": "small", "slots": 20})
    arrivals = stack_arrivals([setting.arrivals.draw(np.random.default_rng(k), 20) for k in range(3)])
    oracle = play(make_heuristic("greedy-oracle"), setting.network, arrivals, np.random.default_rng(0), 19)
    settled = settle(setting.network, arrivals, np.random.default_rng(1), 19, iterations=60)
    assert (settled.episode_mean_delay_s < oracle.episode_mean_delay_s).all()
    assert settled.mean_delay_s < 0.95 * oracle.mean_delay_s
    first = settle(setting.network, arrivals.episodes(slice(1)), np.random.default_rng(1), 19, iterations=60)
    np.testing.assert_array_equal(first.action[0], settled.action[0])
    best = local_search(setting.network, arrivals, settled, np.random.default_rng(2))
    assert (lower_bound_s(setting.network, arrivals, 19) <= best.episode_mean_delay_s).all()
    assert best.mean_delay_s < settled.mean_delay_s


def test_given_decisions_are_repeated_for_as_many_episodes_as_there_are():
    network, arrivals = random_setting(1)
    record = play(make_heuristic("random"), network, arrivals, np.random.default_rng(0))
    again = play(GivenDecisions(record.action), network, arrivals, np.random.default_rng(1))
    np.testing.assert_array_equal(again.delay_s, record.delay_s)
    with pytest.raises(ValueError, match="decisions for 2 episodes cannot be replayed in 1"):
        play(GivenDecisions(record.action), network, arrivals.episodes(slice(1)), np.random.default_rng(1))

"""Bounds and offline search of requests: around the optimum of tiny instances, under every order of service."""

import itertools

import numpy as np
import pytest

from lad_rllib.scheduling import requests_lower_bound_s
from lad_rllib.scheduling.offline_requests import offline_requests
from lad_rllib.simulator.order import make_order
from lad_rllib.simulator.requests import LinearService, RequestServer, RequestWorld, plain_requests
from lad_rllib.simulator.requests.costs import marginal_costs_s
from lad_rllib.simulator.requests.play import play_decisions

ORDERS = ("fifo", "shortest_first", "aged:service_weight=3", "fair")


def a_world(rng, order, servers=2):
    """Servers that do not agree on which request takes longer, and one that loads models."""
    return RequestWorld(
        tuple(
            RequestServer(
                f"server{index}",
                {name: LinearService(per_step_s=rng.uniform(0.1, 1.0)) for name in ("a", "b")},
                link_rate_mbit_per_s=10.0,
                models_in_memory=index,
                swap_s={"": 0.2},
            )
            for index in range(servers)
        ),
        make_order(order),
    )


def some_requests(rng, count, span_s):
    return plain_requests(
        np.sort(rng.uniform(0, span_s, count).round(rng.integers(0, 3))),  # some arrive at one instant
        steps=rng.integers(1, 10, count).astype(float),
        model=rng.integers(0, 2, count),
        upload_mbit=rng.uniform(0, 5, count),
        actual_over_predicted=rng.lognormal(0, 0.3, count),
        models=("a", "b"),
    )


@pytest.mark.parametrize("seed", range(12))
def test_the_optimum_of_a_tiny_instance_is_between_bound_and_search(seed):
    rng = np.random.default_rng(seed)
    for order in ORDERS:
        world, requests = a_world(rng, order), some_requests(rng, 7, rng.uniform(2, 30))
        timing = world.timing(requests)
        every = itertools.product(range(2), repeat=len(requests))
        best_s = min(play_decisions(np.array(one), world, requests, timing).delay_s.mean() for one in every)
        assert requests_lower_bound_s(timing) <= best_s + 1e-12
        found = offline_requests(world, requests, rng, iterations=10)
        assert best_s - 1e-12 <= found.delay_s.mean() <= 1.3 * best_s


@pytest.mark.parametrize("order", ORDERS)
def test_moves_never_make_the_sum_greater_and_end_where_no_move_is_a_gain(order):
    rng = np.random.default_rng(0)
    world, requests = a_world(rng, order, servers=3), some_requests(rng, 60, 60)
    start = rng.integers(0, 3, 60)
    before = play_decisions(start, world, requests)
    found = offline_requests(world, requests, rng, rounds=300, start=start)
    assert found.delay_s.sum() < before.delay_s.sum()
    cost = marginal_costs_s(world.timing(requests), found.server)
    assert (cost[np.arange(60), found.server] <= cost.min(axis=1) + 1e-9).all()


def test_for_requests_that_never_meet_the_bound_is_the_optimum():
    world = a_world(np.random.default_rng(0), "fifo")
    requests = plain_requests(np.arange(5) * 100.0, steps=np.arange(1.0, 6.0), models=("b",))
    timing = world.timing(requests)
    timing.swap_s[:] = 0.0
    best = play_decisions(timing.actual_s.argmin(axis=1), world, requests, timing)
    assert requests_lower_bound_s(timing) == pytest.approx(best.delay_s.mean(), rel=1e-12)


def test_without_requests_the_bound_is_zero_and_nothing_is_to_be_found():
    world, nothing = a_world(np.random.default_rng(0), "fifo"), plain_requests(np.zeros(0))
    assert requests_lower_bound_s(world.timing(nothing)) == 0.0
    assert len(offline_requests(world, nothing, np.random.default_rng(0), iterations=1).delay_s) == 0

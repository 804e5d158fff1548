"""Marginal costs of requests: what brute force says, under every order."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lad_rllib.scheduling.rollout import GivenDecisions, play
from lad_rllib.simulator import PoissonFields, SyntheticArrivals, draw_network, stack_arrivals
from lad_rllib.simulator import marginal_costs_s as slotted_costs_s
from lad_rllib.simulator.order import make_order
from lad_rllib.simulator.penalties import make_penalty
from lad_rllib.simulator.requests import (
    LinearService,
    Requests,
    RequestServer,
    RequestWorld,
    plain_requests,
    slotted_requests,
    slotted_world,
)
from lad_rllib.simulator.requests.costs import marginal_costs_s
from lad_rllib.simulator.requests.play import play_decisions

FloatArray = NDArray[np.float64]
ORDERS = (
    "fifo",
    "shortest_first",
    "aged:service_weight=3",
    "deadline",
    "priority",
    {"name": "fair", "weights": {"p": 2.0}},
)
CASES = list(itertools.product((False, True), (False, True), (False, True), range(2)))


def small_case(
    order: str | dict[str, Any], swaps: bool, noise: bool, slots: bool, seed: int, count: int = 30
) -> tuple[RequestWorld, Requests, NDArray[np.int64]]:
    """Three unequal servers below, at and above saturation; every other case has times that collide."""
    rng = np.random.default_rng(seed)
    per_step = np.where(seed % 2 == 0, [0.25, 0.25, 0.5], rng.uniform(0.05, 0.3, 3)).tolist()
    servers = tuple(
        RequestServer(
            name=f"server{index}",
            service={"": LinearService(per_step_s=seconds), "a": LinearService(per_step_s=0.5 - seconds / 2)},
            link_rate_mbit_per_s=100.0,
            models_in_memory=(1 + index % 2) * swaps,
            swap_s={"": float(rng.uniform(0.2, 2.0))},
            lora_swap_s=0.3 * swaps,
        )
        for index, seconds in enumerate(per_step)
    )
    arrival_s = np.sort(rng.uniform(0.0, count * rng.uniform(0.2, 1.0), count))
    requests = plain_requests(
        np.floor(arrival_s) if slots else arrival_s,
        steps=rng.integers(1, 10, count).astype(float),
        model=rng.integers(0, 4, count),
        loras=rng.integers(0, 3, count),
        tenant=rng.integers(0, 3, count),
        priority=rng.integers(0, 3, count),
        deadline_s=np.where(rng.random(count) < 0.3, np.inf, rng.uniform(1.0, 20.0, count)),
        upload_mbit=rng.uniform(0.0, 20.0, count),
        actual_over_predicted=rng.lognormal(0.0, 0.5, count) if noise else 1.0,
        models=("a", "b", "c", "d"),
        lora_sets=("", "x", "y"),
        tenants=("p", "q", "r"),
    )
    return RequestWorld(servers, make_order(order)), requests, rng.integers(0, 3, count)


def changes_of_the_sum(world: RequestWorld, requests: Requests, servers: NDArray[np.int64], loss=np.sum) -> FloatArray:
    """Change of the sum of all losses if each request alone moves to each server, by playing all of it again."""
    timing = world.timing(requests)
    before = loss(play_decisions(servers, world, requests, timing).delay_s)
    changes = np.zeros((len(requests), world.num_servers))
    for request, server in np.ndindex(*changes.shape):
        moved = servers.copy()
        moved[request] = server
        changes[request, server] = loss(play_decisions(moved, world, requests, timing).delay_s) - before
    return changes


def differences(cost: FloatArray, servers: NDArray[np.int64]) -> FloatArray:
    return cost - np.take_along_axis(cost, servers[:, None], axis=1)


@pytest.mark.parametrize("order", ORDERS)
def test_cost_differences_are_changes_of_the_sum_of_all_delays(order: str | dict[str, Any]) -> None:
    for case in CASES:
        world, requests, servers = small_case(order, *case)
        cost = marginal_costs_s(world.timing(requests), servers)
        expected = changes_of_the_sum(world, requests, servers)
        np.testing.assert_allclose(differences(cost, servers), expected, atol=1e-9, err_msg=str(case))


@pytest.mark.parametrize(
    "penalty", [make_penalty("tail", threshold_s=5.0), make_penalty("deadline-miss", deadline_s=5)]
)
@pytest.mark.parametrize("order", ["shortest_first", "fair"])
def test_with_a_penalty_they_are_changes_of_the_sum_of_weighted_losses(penalty, order) -> None:
    world, requests, servers = small_case(order, True, True, False, 1)
    weight = np.random.default_rng(0).uniform(0.5, 2.0, len(requests))
    cost = marginal_costs_s(world.timing(requests), servers, penalty=penalty, weight=weight)
    expected = changes_of_the_sum(world, requests, servers, lambda delay: weight @ penalty.value(delay))
    np.testing.assert_allclose(differences(cost, servers), expected, atol=1e-9)


def test_a_sample_has_the_costs_of_its_requests() -> None:
    world, requests, servers = small_case("aged", True, False, False, 2)
    timing, sample = world.timing(requests), np.array([29, 2, 2])
    np.testing.assert_array_equal(marginal_costs_s(timing, servers, sample), marginal_costs_s(timing, servers)[sample])


def test_a_server_or_request_that_does_not_exist_is_refused() -> None:
    world, requests, servers = small_case("fifo", False, False, False, 0)
    with pytest.raises(IndexError, match="sample must be in 0..29, got 30..30"):
        marginal_costs_s(world.timing(requests), servers, np.array([30]))


def test_in_slots_and_first_in_first_out_they_are_those_of_the_slotted_simulator() -> None:
    rng = np.random.default_rng(0)
    network = draw_network(rng, num_stations=4, num_servers=3, capacity_range=(1, 3))
    source = SyntheticArrivals(PoissonFields(max_tasks=9, mean_tasks=4.0, attributes="per_task"), 4)
    arrivals = stack_arrivals([source.draw(rng, 12)])
    record = play(GivenDecisions(rng.integers(3, size=arrivals.mask.shape)), network, arrivals, rng)
    timing = slotted_world(network).timing(slotted_requests(network, arrivals.episodes(0)))
    mask = record.mask[0]
    servers, weight = record.action[0][mask], rng.uniform(0.5, 2.0, mask.shape)
    cost = marginal_costs_s(timing, servers, weight=weight[mask])
    np.testing.assert_allclose(cost, slotted_costs_s(record, weight=weight[None])[0][mask], atol=1e-9)
    cost = marginal_costs_s(timing, servers, discount=0.8, horizon_s=3.0 * network.slot_s)
    expected = slotted_costs_s(record, horizon_slots=3, discount=0.8**network.slot_s)
    np.testing.assert_allclose(cost, expected[0][mask], atol=1e-9)


@pytest.mark.parametrize("order", ORDERS)
def test_relabelling_servers_relabels_costs(order: str | dict[str, Any]) -> None:
    world, requests, servers = small_case(order, True, True, False, 1)
    new = np.array([2, 0, 1])  # the old number of each
    relabelled = RequestWorld(tuple(world.servers[index] for index in new), world.order)
    cost = marginal_costs_s(relabelled.timing(requests), np.argsort(new)[servers])
    np.testing.assert_allclose(cost, marginal_costs_s(world.timing(requests), servers)[:, new], atol=1e-9)


def test_without_swaps_every_order_leaves_the_same_work_at_every_moment() -> None:
    left_s = []
    for order in ORDERS:
        world, requests, servers = small_case(order, False, True, False, 1)
        requests = replace(requests, loras=np.zeros(len(requests), np.int64))
        served = play_decisions(servers, world, requests)
        moments = np.linspace(0.0, served.finish_s.max(), 200)[:, None]
        done_s = np.clip(moments - served.start_s, 0.0, served.computing_s)
        left = np.where(requests.arrival_s <= moments, served.computing_s - done_s, 0.0)
        left_s.append(np.stack([left[:, servers == server].sum(axis=1) for server in range(3)]))
    for others in left_s[1:]:
        np.testing.assert_allclose(others, left_s[0], atol=1e-9)

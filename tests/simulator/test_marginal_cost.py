"""Marginal costs against playing the whole episode again without a task, or with it on another server."""

from dataclasses import replace

import numpy as np
import pytest

from lad_rllib.scheduling import play
from lad_rllib.simulator import PoissonFields, SyntheticArrivals, draw_network, marginal_costs_s, stack_arrivals
from lad_rllib.simulator.marginal_cost import hinge_sums
from tests.literal_loop import play_literally
from tests.parity import GivenActions

RNG = np.random.default_rng(0)  # for schedulers that draw nothing
LOADS = {"overload": (6.0, (1, 3)), "below capacity": (3.0, (5, 8)), "mostly idle": (0.4, (5, 8))}


def played(seed, load, stations=4, servers=3, episodes=1):
    """Random decisions on a random network of more stations than servers, or fewer."""
    rng = np.random.default_rng(seed)
    mean_tasks, capacity_range = LOADS[load]
    network = draw_network(rng, num_stations=stations, num_servers=servers, capacity_range=capacity_range, slot_s=1.3)
    network = replace(network, home_server=rng.integers(-1, servers, size=stations))
    source = SyntheticArrivals(PoissonFields(max_tasks=9, mean_tasks=mean_tasks, attributes="per_task"), stations)
    arrivals = stack_arrivals([source.draw(rng, 12) for _ in range(episodes)])
    action = rng.integers(servers, size=arrivals.mask.shape)
    return arrivals, play(GivenActions(action), network, arrivals, RNG)


def played_with(arrivals, record, task, server):
    """Delays of every task, with one task on another server: by the literal loop."""
    episode, *where = task
    action = record.action[episode].copy()
    action[tuple(where)] = server
    single = arrivals.episodes(episode)
    _, delays_s, _ = play_literally(record.network, single, lambda t, b, n, options: action[t, b, n], single.num_slots)
    return delays_s


def some_tasks(record, count):
    """Indices (e, t, b, n) of some tasks."""
    tasks = np.argwhere(record.mask)
    return [tuple(tasks[i]) for i in np.random.default_rng(7).permutation(len(tasks))[:count]]


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize(("stations", "servers"), [(2, 5), (4, 3), (3, 1)])
def test_a_cost_difference_is_how_the_sum_of_all_delays_changes_if_the_task_moves(load, stations, servers):
    arrivals, record = played(1, load, stations, servers, episodes=2)
    cost = marginal_costs_s(record)
    assert cost.shape == (*record.mask.shape, servers)
    for task in some_tasks(record, 12):
        before = np.nansum(played_with(arrivals, record, task, record.action[task]))
        for server in range(servers):
            after = np.nansum(played_with(arrivals, record, task, server))
            assert cost[task][server] - cost[task][record.action[task]] == pytest.approx(
                after - before, rel=1e-9, abs=1e-9 * before
            )


@pytest.mark.parametrize("load", LOADS)
def test_the_cost_on_the_own_server_is_what_all_are_spared_without_the_task(load):
    arrivals, record = played(2, load, episodes=2)
    cost = marginal_costs_s(record)
    for task in some_tasks(record, 20):
        # A task without work, as if it had not come; its own delay is left out of the sum.
        light = replace(arrivals, denoising_steps=np.where(_is(task, arrivals), 0.0, arrivals.denoising_steps))
        without = played_with(light, record, task, record.action[task])
        without[task[1:]] = 0.0
        with_it = played_with(arrivals, record, task, record.action[task])
        saved = np.nansum(with_it) - np.nansum(without)
        assert cost[task][record.action[task]] == pytest.approx(saved, rel=1e-9, abs=1e-9 * np.nansum(with_it))


def _is(task, arrivals):
    chosen = np.zeros(arrivals.mask.shape, dtype=bool)
    chosen[task] = True
    return chosen


def test_the_loads_of_these_tests_are_what_they_are_called():
    queues = {load: played(1, load)[1].queue_gcycles for load in LOADS}
    assert queues["overload"][:, -1].min() > 20
    below = queues["below capacity"][:, 1:]
    assert 0.2 < (below > 0).mean() < 0.8
    assert (queues["mostly idle"][:, 1:] > 0).mean() < 0.3


def test_the_horizon_counts_the_tasks_behind_in_that_many_later_slots():
    arrivals, record = played(3, "overload")
    whole = marginal_costs_s(record)
    last = arrivals.num_slots - 1
    np.testing.assert_array_equal(marginal_costs_s(record, horizon_slots=last), whole)
    for task in some_tasks(record, 10):
        for horizon in (0, 1, 3):
            cost = marginal_costs_s(record, horizon_slots=horizon)[task]
            counted = slice(0, task[1] + horizon + 1)
            sums = [np.nansum(played_with(arrivals, record, task, a)[counted]) for a in range(len(cost))]
            np.testing.assert_allclose(cost - cost[0], np.subtract(sums, sums[0]), rtol=1e-9, atol=1e-9 * sums[0])
    with pytest.raises(ValueError, match="horizon_slots must be at least 0, got -1"):
        marginal_costs_s(record, horizon_slots=-1)


class Squared:
    """A loss with a slope that differs from task to task."""

    def value(self, delay_s):
        return np.square(delay_s)

    def slope(self, delay_s):
        return 2.0 * np.asarray(delay_s)


@pytest.mark.parametrize("load", LOADS)
def test_with_a_penalty_the_tasks_behind_count_with_the_slope_of_their_loss(load):
    arrivals, record = played(4, load)
    rng = np.random.default_rng(0)
    weight = rng.uniform(0.5, 2.0, record.mask.shape)
    cost = marginal_costs_s(record, Squared(), weight)
    base = record.delay_s
    for task in some_tasks(record, 10):
        for server in range(record.network.num_servers):
            moved = np.nan_to_num(played_with(arrivals, record, task, server))[None]
            others = ~_is(task, arrivals)
            first_order = (weight * 2.0 * base * (moved - base))[others].sum()
            own = weight[task] * (moved[task] ** 2 - base[task] ** 2)
            assert cost[task][server] - cost[task][record.action[task]] == pytest.approx(
                own + first_order, rel=1e-9, abs=1e-7
            )


def test_the_first_order_of_a_penalty_is_the_derivative_of_the_sum_of_losses():
    arrivals, record = played(5, "overload")
    small = 1e-4
    for task in some_tasks(record, 5):
        changed = np.where(_is(task, arrivals), small, arrivals.denoising_steps)
        light = replace(arrivals, denoising_steps=changed)  # so light that second-order effects vanish
        base = play(GivenActions(record.action), record.network, light, RNG)
        cost = marginal_costs_s(base, Squared())
        sums = [np.nansum(played_with(light, base, task, a) ** 2) for a in range(record.network.num_servers)]
        np.testing.assert_allclose(cost[task] - cost[task][0], np.subtract(sums, sums[0]), rtol=1e-5, atol=1e-5)


def test_padding_has_no_cost_and_no_influence():
    arrivals, record = played(6, "below capacity")
    cost = marginal_costs_s(record)
    assert (cost[~record.mask] == 0).all() and (cost[record.mask] > 0).all()
    holes = replace(
        record,
        task_mbit=np.where(record.mask, record.task_mbit, np.nan),
        workload_gcycles=np.where(record.mask, record.workload_gcycles, np.nan),
    )
    np.testing.assert_array_equal(marginal_costs_s(holes), cost)


def test_hinge_sums_equal_the_double_loop():
    rng = np.random.default_rng(0)
    values, corners, weights = rng.integers(0, 5, 30).astype(float), rng.integers(0, 5, (7, 3)), rng.normal(size=(7, 3))
    expected = (weights * np.maximum(values[:, None, None] - corners, 0)).sum(axis=1)
    np.testing.assert_allclose(hinge_sums(values, corners.astype(float), weights), expected, atol=1e-12)
    assert hinge_sums(values, corners[:0].astype(float), weights[:0]).tolist() == np.zeros((30, 3)).tolist()

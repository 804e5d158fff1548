"""Deciding task by task gives the delays and queues of whole slots, bit for bit."""

from dataclasses import replace

import numpy as np
import pytest

from lad_rllib.simulator import (
    EdgeNetwork,
    EdgeSimulator,
    PoissonFields,
    SyntheticArrivals,
    TaskByTask,
    UniformFields,
    draw_network,
    stack_arrivals,
)


def random_setting(seed, num_slots=8):
    """A random network, with as many servers as stations or not, and arrivals that leave some slots empty."""
    rng = np.random.default_rng(seed)
    stations, servers = rng.integers(1, 6, size=2)
    network = draw_network(
        rng, num_stations=stations, num_servers=servers, capacity_range=(1, 5), slot_s=rng.uniform(0.5, 2)
    )
    network = replace(network, home_server=rng.integers(-1, servers, size=stations))
    source = SyntheticArrivals(
        PoissonFields(max_tasks=6, mean_tasks=rng.choice([0.1, 1.0, 4.0]), attributes="per_task"), stations
    )
    arrivals = stack_arrivals([source.draw(rng, num_slots)])
    return network, arrivals, rng.integers(servers, size=arrivals.mask.shape)


def parts(delays):
    return [delays.upload_s, delays.waiting_s, delays.computing_s, delays.download_s, delays.total_s]


@pytest.mark.parametrize("seed", range(40))
def test_task_by_task_equals_whole_slots_exactly(seed):
    network, arrivals, actions = random_setting(seed)
    slots = arrivals.num_slots - seed % 2  # all slots, or all but the last
    whole, single = EdgeSimulator(network, arrivals), EdgeSimulator(network, arrivals)
    tasks = TaskByTask(single, slots)
    delays_s = []
    for slot in range(slots):
        if arrivals.mask[0, slot].any():
            np.testing.assert_array_equal(single.queue_gcycles, whole.queue_gcycles)
        expected = whole.step(actions[:, slot])
        for station, index in np.argwhere(arrivals.mask[0, slot]):
            assert (single.slot, tasks.station) == (slot, station)
            assert tasks.task_mbit == arrivals.task_mbit[0, slot, station, index]
            assert tasks.workload_gcycles == arrivals.workload_gcycles[0, slot, station, index]
            sent = tasks.send(actions[0, slot, station, index])
            assert parts(sent) == [part[0, station, index] for part in parts(expected)]
            delays_s.append(sent.total_s)
    assert tasks.done
    np.testing.assert_array_equal(single.queue_gcycles, whole.queue_gcycles)
    assert tasks.mean_delay_s == pytest.approx(np.mean(delays_s) if delays_s else 0.0)


def test_the_random_settings_have_empty_slots_and_unequal_numbers_of_stations_and_servers():
    settings = [random_setting(seed) for seed in range(40)]
    assert any((~arrivals.mask.any(axis=(2, 3))).any() for _, arrivals, _ in settings)
    assert len({np.sign(network.num_stations - network.num_servers) for network, _, _ in settings}) == 3


def two_tasks():
    arrivals = SyntheticArrivals(UniformFields(max_tasks=2, min_tasks=2, attributes="per_task"), 1).draw(
        np.random.default_rng(0), 1
    )
    return EdgeSimulator(EdgeNetwork(1, [10.0, 10.0], [400.0, 400.0]), stack_arrivals([arrivals]))


@pytest.mark.parametrize("server", [-1, 2])
def test_a_task_cannot_be_sent_to_a_server_that_does_not_exist(server):
    tasks = TaskByTask(two_tasks())
    with pytest.raises(IndexError, match=f"server {server}; servers are 0..1"):
        tasks.send(server)


def test_a_refused_decision_can_be_made_again():
    tasks, untouched = TaskByTask(two_tasks()), TaskByTask(two_tasks())
    with pytest.raises(IndexError):
        tasks.send(7)
    assert [parts(tasks.send(0)) for _ in range(2)] == [parts(untouched.send(0)) for _ in range(2)]


def test_nothing_can_be_sent_after_the_last_task():
    tasks = TaskByTask(two_tasks())
    tasks.send(0)
    tasks.send(1)
    assert tasks.done
    with pytest.raises(RuntimeError, match="all tasks of the episode are decided"):
        tasks.send(0)


def test_episodes_in_lockstep_and_slots_that_do_not_exist_are_refused():
    network = EdgeNetwork(1, [10.0], [400.0])
    one = SyntheticArrivals(UniformFields(max_tasks=2, attributes="per_task"), 1).draw(np.random.default_rng(0), 8)
    with pytest.raises(ValueError, match="single episode only, got 2"):
        TaskByTask(EdgeSimulator(network, stack_arrivals([one, one])))
    with pytest.raises(ValueError, match="between 0 and the 8 slots that are left, got 9"):
        TaskByTask(EdgeSimulator(network, stack_arrivals([one])), 9)

"""What a dispatcher sees that does not know its tasks' work: shown work, and queues counted in it."""

from dataclasses import replace

import numpy as np
import pytest

from lad_rllib.scheduling import make_heuristic, play
from lad_rllib.simulator import (
    EdgeNetwork,
    EdgeSimulator,
    PoissonFields,
    SyntheticArrivals,
    TaskByTask,
    draw_network,
    stack_arrivals,
)


def unknown(arrivals):
    """The same arrivals with every task shown as their mean work."""
    mean = arrivals.workload_gcycles.sum() / max(arrivals.num_tasks, 1)
    return replace(arrivals, shown_workload_gcycles=np.where(arrivals.mask, mean, 0.0))


def random_case(seed, episodes=2, slots=8):
    rng = np.random.default_rng(seed)
    network = draw_network(rng, num_stations=3, num_servers=4, capacity_range=(1, 3))
    source = SyntheticArrivals(PoissonFields(max_tasks=6, mean_tasks=2.0, attributes="per_task"), 3)
    return network, stack_arrivals([source.draw(rng, slots) for _ in range(episodes)])


@pytest.mark.parametrize("name", ["greedy-oracle", "random", "capacity-proportional", "round-robin"])
def test_hiding_the_work_changes_nothing_for_who_knows_it_anyway_or_never_asks(name):
    network, arrivals = random_case(1)
    known, hidden = (
        play(make_heuristic(name), network, a, np.random.default_rng(0)) for a in (arrivals, unknown(arrivals))
    )
    np.testing.assert_array_equal(hidden.action, known.action)
    np.testing.assert_array_equal(hidden.delay_s, known.delay_s)
    np.testing.assert_array_equal(hidden.queue_gcycles, known.queue_gcycles)


def test_shortest_expected_delay_is_the_greedy_oracle_when_the_work_is_known_and_worse_when_it_is_not():
    network, arrivals = random_case(2, episodes=20, slots=20)
    delays = {
        (name, shown): play(make_heuristic(name), network, a, np.random.default_rng(0)).mean_delay_s
        for name in ("greedy-oracle", "shortest-expected-delay")
        for shown, a in (("known", arrivals), ("mean", unknown(arrivals)))
    }
    assert delays["shortest-expected-delay", "known"] == delays["greedy-oracle", "known"]
    assert delays["shortest-expected-delay", "mean"] > delays["greedy-oracle", "mean"]


@pytest.mark.parametrize("seed", range(5))
def test_seen_queues_count_the_shown_work_of_unfinished_tasks_less_what_the_present_one_had(seed):
    network, arrivals = random_case(seed)
    arrivals = unknown(arrivals)
    simulator, rng = EdgeSimulator(network, arrivals), np.random.default_rng(seed)
    sent = [[[] for _ in range(network.num_servers)] for _ in arrivals.mask]  # (work, shown) in order of service
    done = np.zeros((len(arrivals.mask), network.num_servers))  # work that each server has done, all in all
    for slot in range(arrivals.num_slots):
        for e, queues in enumerate(simulator.tasks.queue_gcycles):
            for a, seen in enumerate(queues):
                expected, passed = 0.0, done[e, a]
                for work, shown in sent[e][a]:
                    here = min(passed, work)
                    passed -= here
                    expected += 0.0 if here >= work - 1e-9 else max(shown - here, 0.0)
                assert seen == pytest.approx(expected)
        action = rng.integers(network.num_servers, size=arrivals.mask[:, slot].shape)
        for e, b, n in np.argwhere(arrivals.mask[:, slot]):
            at = (e, slot, b, n)
            sent[e][action[e, b, n]].append((arrivals.workload_gcycles[at], arrivals.shown_workload_gcycles[at]))
        before = simulator.queue_gcycles
        new = np.array([[sum(w for w, _ in tasks) for tasks in servers] for servers in sent]) - done - before
        simulator.step(action)
        done += before + new - simulator.queue_gcycles


def test_exactly_known_work_is_seen_as_the_queue_that_is_there():
    network, arrivals = random_case(3)
    simulator = EdgeSimulator(network, replace(arrivals, shown_workload_gcycles=arrivals.workload_gcycles))
    rng = np.random.default_rng(0)
    for slot in range(arrivals.num_slots):
        np.testing.assert_allclose(simulator.tasks.queue_gcycles, simulator.queue_gcycles, atol=1e-9)
        simulator.step(rng.integers(network.num_servers, size=arrivals.mask[:, slot].shape))


def test_by_hand_a_long_task_looks_done_until_it_ends_and_a_short_one_frees_its_whole_share():
    network = EdgeNetwork(1, [1.0, 1.0], [400.0] * 2, slot_s=2.0)
    source = SyntheticArrivals(PoissonFields(max_tasks=2, attributes="per_task"), 1)
    arrivals = replace(
        source.draw(np.random.default_rng(0), 3),
        task_counts=np.array([[2], [0], [0]]),
        denoising_steps=np.ones((3, 1, 2)),
        density_gcycles_per_step=np.tile([5.0, 1.0], (3, 1, 1)),  # 5 and 1 Gcycle, each shown as 3
    )
    simulator = EdgeSimulator(network, stack_arrivals([unknown(arrivals)]))
    simulator.step(np.array([[[0, 1]]]))
    np.testing.assert_allclose(simulator.tasks.queue_gcycles, [[1.0, 0.0]])
    np.testing.assert_allclose(simulator.tasks.revealed.queue_gcycles, [[3.0, 0.0]])
    simulator.step(np.zeros((1, 1, 2), dtype=int))
    np.testing.assert_allclose(simulator.tasks.queue_gcycles, [[0.0, 0.0]])
    np.testing.assert_allclose(simulator.tasks.revealed.queue_gcycles, [[1.0, 0.0]])


def test_task_by_task_shows_the_expected_work_and_charges_the_real_one():
    network, arrivals = random_case(4, episodes=1)
    whole, single = (EdgeSimulator(network, unknown(arrivals)) for _ in range(2))
    tasks, rng = TaskByTask(single), np.random.default_rng(0)
    actions = rng.integers(network.num_servers, size=arrivals.mask.shape)
    for slot in range(arrivals.num_slots):
        shown, expected = whole.tasks, whole.step(actions[:, slot])
        for station, index in np.argwhere(arrivals.mask[0, slot]):
            assert tasks.workload_gcycles == shown.workload_gcycles[0, station, index]
            assert tasks.send(actions[0, slot, station, index]).total_s == expected.total_s[0, station, index]

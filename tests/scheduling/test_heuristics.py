"""What each scheduler without learning promises, and the mean delays on the paper's setting."""

from dataclasses import replace

import numpy as np
import pytest

from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling import HEURISTICS, Scheduler, heuristics_for, make_heuristic, play
from lad_rllib.scheduling.heuristics import water_filling_shares
from lad_rllib.simulator import (
    EdgeNetwork,
    EdgeSimulator,
    PoissonFields,
    SyntheticArrivals,
    UniformFields,
    draw_network,
    published_network,
    stack_arrivals,
)
from tests.literal_loop import least_own_delay, play_literally
from tests.parity import published_episode


def slot_tasks(network, task_counts, queue_gcycles):
    """The tasks of one slot of one episode, with given counts and queues."""
    source = SyntheticArrivals(UniformFields(max_tasks=max(task_counts), attributes="per_task"), network.num_stations)
    arrivals = source.draw(np.random.default_rng(0), 1)
    simulator = EdgeSimulator(network, stack_arrivals([replace(arrivals, task_counts=np.array([task_counts]))]))
    return replace(simulator.tasks, queue_gcycles=np.array([queue_gcycles]))


@pytest.mark.parametrize("setting", ["small", "paper"])
def test_the_greedy_oracle_decides_as_the_published_one(setting):
    published = published_episode(setting, "greedy")
    rng = np.random.default_rng(0)
    record = play(make_heuristic("greedy-oracle"), published.network, published.arrivals, rng, published.num_slots)
    np.testing.assert_array_equal(record.action[0], published.actions)


@pytest.mark.parametrize("seed", range(10))
def test_the_greedy_oracle_gives_each_task_in_turn_its_least_own_delay(seed):
    rng = np.random.default_rng(seed)
    stations, servers = rng.integers(1, 6, size=2)
    network = draw_network(rng, num_stations=stations, num_servers=servers, capacity_range=(1, 5))
    episode = SyntheticArrivals(PoissonFields(max_tasks=6, mean_tasks=2.0, attributes="per_task"), stations).draw(
        rng, 5
    )
    record = play(make_heuristic("greedy-oracle"), network, stack_arrivals([episode]), rng)
    actions, _, queues = play_literally(network, episode, least_own_delay, 5)
    np.testing.assert_array_equal(record.action[0], actions)
    np.testing.assert_allclose(record.queue_gcycles[0], queues, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "figure_s"),
    [("greedy-oracle", 7.59), ("water-filling", 7.65), ("capacity-proportional", 7.71), ("random", 16.5)],
)
def test_mean_delay_on_the_papers_setting_is_near_its_figure(name, figure_s):
    # The figures come from other arrivals. Single episodes scatter by about 0.9 s, means of 20 by about 0.2 s.
    source = SyntheticArrivals(UniformFields())
    arrivals = stack_arrivals([source.draw(np.random.default_rng([1, episode]), 60) for episode in range(20)])
    record = play(make_heuristic(name), published_network(), arrivals, np.random.default_rng(0), num_slots=59)
    assert record.mean_delay_s == pytest.approx(figure_s, abs=0.6)


@pytest.mark.parametrize("seed", range(5))
def test_water_filling_levels_the_waiting_times_of_all_servers_that_receive_work(seed):
    rng = np.random.default_rng(seed)
    capacity, queue = rng.uniform(1, 50, 6), rng.uniform(0, 100, (4, 6))
    work = rng.uniform(1, 200, 4)
    shares = water_filling_shares(queue, capacity, work)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    waiting_after = (queue + shares * work[:, None]) / capacity
    for e in range(4):
        level = waiting_after[e][shares[e] > 0]
        np.testing.assert_allclose(level, level[0])
        assert (waiting_after[e][shares[e] == 0] >= level[0]).all()


def test_water_filling_without_work_or_queues_is_in_proportion_to_capacity():
    capacity = np.array([10.0, 30.0])
    for work in (0.0, 100.0):
        np.testing.assert_allclose(water_filling_shares(np.zeros((1, 2)), capacity, np.array([work])), [[0.25, 0.75]])


@pytest.mark.parametrize(
    ("name", "queue_gcycles", "probability"),
    [
        ("random", [0.0, 100.0], [0.5, 0.5]),
        ("capacity-proportional", [0.0, 100.0], [0.25, 0.75]),
        ("water-filling", [0.0, 0.0], [0.25, 0.75]),
        ("water-filling", [0.0, 1e6], [1.0, 0.0]),
    ],
)
def test_random_schedulers_choose_servers_with_their_probabilities(name, queue_gcycles, probability):
    network = EdgeNetwork(4, [10.0, 30.0], [400.0, 400.0])
    tasks = slot_tasks(network, [2500] * 4, queue_gcycles)
    action = make_heuristic(name).decide(tasks, np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(action.ravel(), minlength=2) / action.size, probability, atol=0.02)


def test_least_loaded_sends_the_whole_slot_to_the_server_that_is_free_first():
    network = EdgeNetwork(2, [10.0, 50.0, 20.0], [400.0] * 3)
    scheduler, rng = make_heuristic("least-loaded"), np.random.default_rng(0)
    assert (scheduler.decide(slot_tasks(network, [3, 1], [20.0, 60.0, 50.0]), rng) == 1).all()
    assert (scheduler.decide(slot_tasks(network, [3, 1], [0.0, 60.0, 0.0]), rng) == 2).all(), "the faster idle one"


@pytest.mark.parametrize("seed", range(5))
def test_least_loaded_exact_gives_each_task_in_turn_the_server_that_is_idle_first(seed):
    rng = np.random.default_rng(seed)
    network = EdgeNetwork(3, rng.uniform(10, 50, 4), [400.0] * 4)
    tasks = slot_tasks(network, [6, 2, 5], rng.uniform(0, 100, 4))
    action = make_heuristic("least-loaded-exact").decide(tasks, rng)
    idle_s = tasks.queue_gcycles[0] / network.capacity_gcycles_per_s
    for server, workload in zip(action[tasks.mask], tasks.workload_gcycles[tasks.mask], strict=True):
        assert server == idle_s.argmin()
        idle_s[server] += workload / network.capacity_gcycles_per_s[server]


def test_least_loaded_exact_takes_the_fastest_of_the_idle_servers_first():
    network = EdgeNetwork(1, [10.0, 50.0, 20.0], [400.0] * 3)
    action = make_heuristic("least-loaded-exact").decide(slot_tasks(network, [3], [0.0] * 3), np.random.default_rng(0))
    assert action[0, 0].tolist() == [1, 2, 0]


def test_round_robin_visits_the_servers_in_turn_from_each_stations_own_number():
    network = EdgeNetwork(2, [10.0] * 3, [400.0] * 3)
    scheduler, rng = make_heuristic("round-robin"), np.random.default_rng(0)
    scheduler.reset(1)
    tasks = slot_tasks(network, [4, 2], [0.0] * 3)
    first, second = (scheduler.decide(tasks, rng)[0] for _ in range(2))
    assert (first[0].tolist(), first[1, :2].tolist()) == ([0, 1, 2, 0], [1, 2])
    assert (second[0].tolist(), second[1, :2].tolist()) == ([1, 2, 0, 1], [0, 1])
    scheduler.reset(1)
    np.testing.assert_array_equal(scheduler.decide(tasks, rng)[0], first)


def test_local_only_keeps_tasks_at_home_and_says_which_station_has_none():
    at_home = EdgeNetwork(2, [10.0] * 2, [400.0] * 2, [1, 0])
    action = make_heuristic("local-only").decide(slot_tasks(at_home, [2, 2], [0.0] * 2), np.random.default_rng(0))
    assert action[0].tolist() == [[1, 1], [0, 0]]
    homeless = replace(at_home, home_server=[0, -1])
    with pytest.raises(ConfigurationError, match="station 1 has none"):
        make_heuristic("local-only").decide(slot_tasks(homeless, [2, 2], [0.0] * 2), np.random.default_rng(0))
    told: list[str] = []
    assert heuristics_for(homeless.home_server, ["local-only", "random"], told.append) == ["random"]
    assert told == ["left out: local-only needs an edge server at every base station; station 1 has none"]


@pytest.mark.parametrize("name", HEURISTICS)
def test_every_heuristic_is_a_scheduler_and_repeats_with_the_seed(name):
    network = draw_network(np.random.default_rng(0), num_stations=4, num_servers=4)
    arrivals = stack_arrivals(
        [SyntheticArrivals(UniformFields(attributes="per_task"), 4).draw(np.random.default_rng(1), 5) for _ in range(2)]
    )
    scheduler = make_heuristic(name)
    assert isinstance(scheduler, Scheduler)
    first, second = (play(scheduler, network, arrivals, np.random.default_rng(2)).action for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_an_unknown_heuristic_is_refused_with_the_list_of_known_ones():
    with pytest.raises(
        ConfigurationError, match=r"unknown scheduler 'greedy'; choose from greedy-oracle, shortest-expected-delay, "
    ):
        make_heuristic("greedy")

"""The simulator against the published code's numbers, a literal loop, and properties that any network has."""

from dataclasses import replace

import numpy as np
import pytest

from lad_rllib.scheduling import play
from lad_rllib.simulator import (
    EdgeNetwork,
    EdgeSimulator,
    PoissonFields,
    SyntheticArrivals,
    UniformFields,
    draw_network,
    stack_arrivals,
)
from lad_rllib.simulator.tasks import ARRAYS
from tests.literal_loop import play_literally
from tests.parity import GivenActions, published_episode

RNG = np.random.default_rng(0)  # for schedulers that draw nothing


def random_setting(seed, num_slots=6, episodes=1):
    """A random network, with as many servers as stations or not, with arrivals and decisions."""
    rng = np.random.default_rng(seed)
    stations, servers = rng.integers(1, 6, size=2)
    network = draw_network(
        rng, num_stations=stations, num_servers=servers, capacity_range=(1, 5), slot_s=rng.uniform(0.5, 2)
    )
    network = replace(network, home_server=rng.integers(-1, servers, size=stations))
    means = {"mean_tasks": rng.uniform(1, 4), "overhead_steps": rng.uniform(0, 4)}
    source = SyntheticArrivals(PoissonFields(max_tasks=6, **means, attributes="per_task"), stations)
    arrivals = stack_arrivals([source.draw(rng, num_slots) for _ in range(episodes)])
    return network, arrivals, rng.integers(servers, size=arrivals.mask.shape)


def apply_to_arrays(arrivals, function):
    """Arrivals with ``function`` applied to each of their arrays."""
    return replace(arrivals, **{name: function(getattr(arrivals, name)) for name in ARRAYS})


@pytest.mark.parametrize("setting", ["small", "paper"])
@pytest.mark.parametrize("decided_by", ["random", "greedy"])
def test_delays_and_queues_equal_those_of_the_published_code(setting, decided_by):
    published = published_episode(setting, decided_by)
    record = play(
        GivenActions(published.actions[None]), published.network, published.arrivals, RNG, published.num_slots
    )
    np.testing.assert_array_equal(record.mask[0], published.actions >= 0)
    delay_s = np.where(record.mask, record.delay_s, np.nan)[0]
    np.testing.assert_allclose(delay_s, published.delays_s, rtol=1e-9)
    np.testing.assert_allclose(record.queue_gcycles[0, :-1], published.queue_gcycles, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_the_simulator_equals_a_literal_loop_over_tasks(seed):
    network, arrivals, actions = random_setting(seed)
    record = play(GivenActions(actions), network, arrivals, RNG)
    single = apply_to_arrays(arrivals, lambda array: array[0])
    expected_actions, delays_s, queues = play_literally(
        network, single, lambda t, b, n, options: actions[0, t, b, n], arrivals.num_slots
    )
    np.testing.assert_array_equal(record.action[0], expected_actions)
    np.testing.assert_allclose(record.delay_s[0], np.nan_to_num(delays_s), rtol=1e-9)
    np.testing.assert_allclose(record.queue_gcycles[0], queues, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_episodes_in_lockstep_equal_single_runs_exactly(seed):
    network, arrivals, actions = random_setting(seed, episodes=4)
    together = play(GivenActions(actions), network, arrivals, RNG)
    for e in range(4):
        one = apply_to_arrays(arrivals, lambda array, e=e: array[e : e + 1])
        alone = play(GivenActions(actions[e : e + 1]), network, one, RNG)
        np.testing.assert_array_equal(alone.delay_s[0], together.delay_s[e])
        np.testing.assert_array_equal(alone.queue_gcycles[0], together.queue_gcycles[e])


@pytest.mark.parametrize("seed", range(5))
def test_relabelling_servers_relabels_queues_and_leaves_delays(seed):
    network, arrivals, actions = random_setting(seed)
    old_of_new = np.random.default_rng(seed).permutation(network.num_servers)
    new_of_old = np.append(np.argsort(old_of_new), -1)  # the last entry maps -1 to -1
    relabelled = EdgeNetwork(
        network.num_stations,
        network.capacity_gcycles_per_s[old_of_new],
        network.link_rate_mbit_per_s[old_of_new],
        new_of_old[network.home_server],
        network.slot_s,
    )
    before = play(GivenActions(actions), network, arrivals, RNG)
    after = play(GivenActions(new_of_old[actions]), relabelled, arrivals, RNG)
    np.testing.assert_array_equal(after.delay_s, before.delay_s)
    np.testing.assert_array_equal(after.queue_gcycles, before.queue_gcycles[..., old_of_new])


@pytest.mark.parametrize("seed", range(5))
def test_work_sent_is_work_done_or_still_queued(seed):
    network, arrivals, actions = random_setting(seed, episodes=2)
    record = play(GivenActions(actions), network, arrivals, RNG)
    could_gcycles = network.capacity_gcycles_per_s * network.slot_s
    sent = np.stack(
        [(record.workload_gcycles * (record.action == a)).sum(axis=(2, 3)) for a in range(network.num_servers)], -1
    )
    available = record.queue_gcycles[:, :-1] + sent
    done = np.minimum(available, could_gcycles)
    np.testing.assert_allclose(record.queue_gcycles[:, 1:], available - done, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(sent.sum(axis=(1, 2)), done.sum(axis=(1, 2)) + record.queue_gcycles[:, -1].sum(axis=-1))
    np.testing.assert_allclose(record.utilisation, (done / could_gcycles).mean(axis=(0, 1)), atol=1e-9)


def test_padding_has_no_influence_even_if_it_is_not_a_number():
    network, arrivals, actions = random_setting(0)
    holes = apply_to_arrays(
        arrivals, lambda array: np.where(arrivals.mask, array, np.nan) if array.ndim == 4 else array
    )
    clean = play(GivenActions(actions), network, arrivals, RNG)
    padded = play(GivenActions(actions), network, holes, RNG)
    np.testing.assert_array_equal(padded.delay_s, clean.delay_s)
    assert (clean.delay_s[~clean.mask] == 0).all()


@pytest.mark.parametrize("server", [-1, 2])
def test_a_task_cannot_be_sent_to_a_server_that_does_not_exist(server):
    arrivals = stack_arrivals(
        [SyntheticArrivals(UniformFields(max_tasks=1, attributes="per_task"), 1).draw(np.random.default_rng(0), 1)]
    )
    simulator = EdgeSimulator(EdgeNetwork(1, [10.0, 10.0], [400.0, 400.0]), arrivals)
    with pytest.raises(IndexError, match=f"server {server}; servers are 0..1"):
        simulator.step(np.array([[[server]]]))


def test_arrivals_and_network_must_agree_on_the_number_of_stations():
    arrivals = SyntheticArrivals(UniformFields(attributes="per_task"), 3).draw(np.random.default_rng(0), 1)
    network = draw_network(np.random.default_rng(0), num_stations=2)
    with pytest.raises(ValueError, match="leading episode axis"):
        EdgeSimulator(network, arrivals)
    with pytest.raises(ValueError, match="3 base stations, the network 2"):
        EdgeSimulator(network, stack_arrivals([arrivals]))

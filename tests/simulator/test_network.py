"""The edge network: published draws, defaults, and settings that cannot be."""

import numpy as np
import pytest

from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator import EdgeNetwork, draw_network, published_network
from tests.parity import published_episode


def test_published_network_equals_the_published_draws():
    expected, network = published_episode("paper", "random").network, published_network()
    np.testing.assert_array_equal(network.capacity_gcycles_per_s, expected.capacity_gcycles_per_s)
    np.testing.assert_array_equal(network.link_rate_mbit_per_s, expected.link_rate_mbit_per_s)
    assert network.total_capacity_gcycles_per_s == 656.0


def test_server_b_stands_at_station_b_and_stations_beyond_the_last_server_have_none():
    network = EdgeNetwork(4, [10.0, 20.0], [400.0, 500.0])
    np.testing.assert_array_equal(network.home_server, [0, 1, -1, -1])


def test_drawn_networks_stay_in_their_ranges_and_repeat_with_the_seed():
    draws = [draw_network(np.random.default_rng(7), num_servers=2000) for _ in range(2)]
    assert (draws[0].capacity_gcycles_per_s == draws[1].capacity_gcycles_per_s).all()
    assert (draws[0].capacity_gcycles_per_s.min(), draws[0].capacity_gcycles_per_s.max()) == (10.0, 50.0)
    assert (draws[0].link_rate_mbit_per_s.min(), draws[0].link_rate_mbit_per_s.max()) == (400.0, 500.0)


def test_a_network_neither_freezes_nor_follows_the_arrays_it_was_given():
    capacity, home = np.array([10.0, 20.0]), np.array([1, 0])
    network = EdgeNetwork(2, capacity, np.array([400.0, 500.0]), home)
    capacity[0], home[0] = 99.0, -1
    assert network.capacity_gcycles_per_s[0] == 10.0
    assert network.home_server[0] == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"capacity_gcycles_per_s": [10.0, -1.0]}, "edge server 1 has -1.0"),
        ({"capacity_gcycles_per_s": [10.0, np.nan]}, "edge server 1 has nan"),
        ({"link_rate_mbit_per_s": [0.0, 400.0]}, "edge server 0 has 0.0"),
        ({"capacity_gcycles_per_s": [], "link_rate_mbit_per_s": []}, "at least one"),
        ({"capacity_gcycles_per_s": [10.0]}, "same length"),
        ({"num_stations": 0}, "num_stations must be at least 1"),
        ({"slot_s": 0.0}, "slot_s must be positive"),
        ({"home_server": [0, 2]}, "between -1 and 1"),
        ({"home_server": [0]}, "needs 2 values"),
    ],
)
def test_an_impossible_network_is_refused_in_one_line(settings, message):
    possible = {"num_stations": 2, "capacity_gcycles_per_s": [10.0, 20.0], "link_rate_mbit_per_s": [400.0, 500.0]}
    with pytest.raises(ConfigurationError, match=message) as error:
        EdgeNetwork(**(possible | settings))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("settings", [{"num_servers": 0}, {"capacity_range": (50, 10)}, {"link_rate_range": (0, 10)}])
def test_a_network_cannot_be_drawn_from_impossible_ranges(settings):
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        draw_network(np.random.default_rng(0), **settings)

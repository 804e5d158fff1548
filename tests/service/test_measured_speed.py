"""A server that is slower than the fleet's model says: named, and from then on believed."""

import contextlib
import logging

import numpy as np
import pytest

from lad_rllib.edge import ImageTask
from lad_rllib.scheduling import make_heuristic
from lad_rllib.service import Dispatcher, serve
from lad_rllib.service.measured_speed import MIN_IMAGES, WINDOW, MeasuredSpeed
from tests.service.fleets import WORK, Fixed, emulated, network

pytestmark = pytest.mark.serial  # compares times on the wall clock


@contextlib.contextmanager
def slow_first_server(scheduler, expected=(100, 100), actual=(33.3, 100)):
    """Two servers of which the first is three times slower than the network says."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(emulated(f"s{i}", speed)) for i, speed in enumerate(actual)]
        yield stack.enter_context(Dispatcher(servers, network(expected), WORK, scheduler))


def batch(number, name, steps=5):
    return [ImageTask(f"{name}-{i}", "x", steps) for i in range(number)]


def test_a_server_that_became_three_times_slower_is_named_once_and_its_measured_speed_is_used(caplog):
    scheduler = Fixed(0)
    with caplog.at_level(logging.WARNING), slow_first_server(scheduler) as dispatcher:
        run = serve(dispatcher, [batch(8, "a")])
        speed, other = (load.speed for load in dispatcher.loads)
        assert speed.has_drifted and speed.over_expected == pytest.approx(3.0, rel=0.2)
        assert not other.has_drifted and other.over_expected == 1.0
        futures = dispatcher.submit(batch(4, "b"))
        assert dispatcher.queue_s[0] == pytest.approx(4 * 5 / 33.3, rel=0.3)
        assert all(future.result(20).error is None for future in futures)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1 and "edge server s0 takes 3" in said[0] and "times as long as expected" in said[0]
    assert run.over_expected["s0"] == pytest.approx(3.0, rel=0.2)
    capacities = [seen.network.capacity_gcycles_per_s for seen in scheduler.seen]
    assert capacities[0].tolist() == [100, 100]
    np.testing.assert_allclose(capacities[-1], [33.3, 100], rtol=0.2)


def test_the_greedy_oracle_sends_less_to_a_server_once_it_is_known_to_be_slower():
    with slow_first_server(make_heuristic("greedy-oracle")) as dispatcher:
        first = [d.server for d in dispatcher.run(batch(20, "a"), 60)]
        second = [d.server for d in dispatcher.run(batch(20, "b"), 60)]
    assert first.count("s0") == 10
    assert second.count("s0") == pytest.approx(5, abs=1)


def test_a_server_as_fast_as_expected_is_not_talked_of(caplog):
    with caplog.at_level(logging.WARNING), slow_first_server(Fixed(0), actual=(100, 100)) as dispatcher:
        run = serve(dispatcher, [batch(8, "a")])
    assert not caplog.records and run.over_expected["s0"] == pytest.approx(1.0, abs=0.3)


def test_few_images_say_nothing_and_old_ones_are_forgotten():
    speed = MeasuredSpeed()
    for _ in range(MIN_IMAGES - 1):
        speed.add(9.0, 1.0)
    assert speed.over_expected == 1.0 and not speed.has_drifted
    speed.add(9.0, 1.0)
    assert speed.over_expected == 9.0
    for _ in range(WINDOW):
        speed.add(0.5, 1.0)
    assert speed.over_expected == 0.5 and speed.has_drifted

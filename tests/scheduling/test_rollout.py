"""The record of played episodes: its parts, means and percentiles by hand."""

import numpy as np
import pytest

from lad_rllib.scheduling import play
from lad_rllib.simulator import Arrivals, EdgeNetwork
from tests.parity import GivenActions


@pytest.fixture
def record():
    """Two tasks at station 0 in slot 0 and one at station 1 in slot 1, all sent to server 1."""
    shape = (1, 2, 2, 2)
    arrivals = Arrivals(
        task_counts=np.array([[[2, 0], [0, 1]]]),
        task_mbit=np.full(shape, 4.0),
        denoising_steps=np.full(shape, 10.0),
        density_gcycles_per_step=np.full(shape, 1.5),
        result_mbit=np.full(shape, 1.0),
    )
    network = EdgeNetwork(2, [10.0, 20.0], [400.0, 400.0])
    return play(GivenActions(np.ones(shape, dtype=int)), network, arrivals, np.random.default_rng(0))


def test_a_record_holds_every_part_of_the_service_delay(record):
    np.testing.assert_array_equal(record.action[0], [[[1, 1], [-1, -1]], [[-1, -1], [1, -1]]])
    np.testing.assert_allclose(record.upload_s[0], [[[0.01, 0.01], [0, 0]], [[0, 0], [0, 0]]])
    np.testing.assert_allclose(record.waiting_s[0], [[[0, 0.75], [0, 0]], [[0, 0], [0.5, 0]]])
    np.testing.assert_allclose(record.computing_s[0], [[[0.75, 0.75], [0, 0]], [[0, 0], [0.75, 0]]])
    np.testing.assert_allclose(record.download_s[0], [[[0.0025, 0.0025], [0, 0]], [[0, 0], [0.0025, 0]]])
    np.testing.assert_allclose(record.queue_gcycles[0], [[0, 0], [0, 10], [0, 5]])


def test_means_and_percentiles_count_tasks_and_not_padding(record):
    delays_s = [0.7625, 1.5125, 1.2525]
    assert record.mean_delay_s == pytest.approx(np.mean(delays_s))
    assert record.episode_mean_delay_s == pytest.approx([np.mean(delays_s)])
    assert record.percentile_s(50) == pytest.approx(1.2525)
    assert record.percentile_s(100) == pytest.approx(1.5125)


def test_utilisation_is_the_share_of_time_that_a_server_was_busy(record):
    np.testing.assert_allclose(record.utilisation, [0.0, 1.0])


def test_an_episode_without_tasks_has_no_delay():
    zeros = np.zeros((1, 3, 2, 2))
    arrivals = Arrivals(np.zeros((1, 3, 2), dtype=int), zeros, zeros, zeros, zeros)
    network = EdgeNetwork(2, [10.0, 20.0], [400.0, 400.0])
    empty = play(GivenActions(zeros.astype(int)), network, arrivals, np.random.default_rng(0))
    assert (empty.mean_delay_s, empty.percentile_s(95)) == (0.0, 0.0)


def test_progress_is_told_after_every_slot_played():
    told = []
    zeros = np.zeros((1, 3, 2, 2))
    arrivals = Arrivals(np.zeros((1, 3, 2), dtype=int), zeros, zeros, zeros, zeros)
    network = EdgeNetwork(2, [10.0, 20.0], [400.0, 400.0])
    play(
        GivenActions(zeros.astype(int)), network, arrivals, np.random.default_rng(0), num_slots=2, progress=told.append
    )
    assert told == [1, 2]

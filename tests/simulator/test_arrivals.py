"""Arrivals: published draws, mean work against simulation, and settings that cannot be."""

import numpy as np
import pytest

from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator import (
    ArrivalSource,
    PoissonFields,
    SyntheticArrivals,
    UniformFields,
    draw_network,
    published_task_attributes,
    stack_arrivals,
)
from tests.parity import published_episode

SOURCES = {
    "the paper's": SyntheticArrivals(UniformFields()),
    "uniform, new properties for every task": SyntheticArrivals(
        UniformFields(max_tasks=9, min_tasks=3, attributes="per_task"), 7
    ),
    "poisson": SyntheticArrivals(PoissonFields(mean_tasks=25.0)),
    "poisson, cut at the maximum": SyntheticArrivals(
        PoissonFields(max_tasks=6, mean_tasks=5.0, attributes="per_task"), 5
    ),
    "poisson, one mean per station": SyntheticArrivals(
        PoissonFields(max_tasks=12, mean_tasks=(0.0, 2.0, 9.0), attributes="per_task"), 3
    ),
}


@pytest.mark.parametrize("name", ["denoising_steps", "density_gcycles_per_step", "result_mbit"])
def test_published_task_attributes_equal_the_published_draws(name):
    expected = getattr(published_episode("paper", "random").attributes, name)
    np.testing.assert_array_equal(getattr(published_task_attributes(), name), expected)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", SOURCES)
def test_mean_work_per_slot_is_the_mean_of_many_slots(name):
    source = SOURCES[name]
    per_slot = source.draw(np.random.default_rng(0), 4000).workload_gcycles.sum(axis=(1, 2))
    standard_error = per_slot.std() / np.sqrt(len(per_slot))
    assert abs(source.mean_work_per_slot_gcycles() - per_slot.mean()) < 4 * standard_error


def test_the_papers_setting_brings_a_quarter_more_work_than_its_servers_can_do():
    assert SOURCES["the paper's"].mean_work_per_slot_gcycles() == pytest.approx(812, abs=0.5)


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_draws_the_same_episode_from_the_same_seed(name):
    source = SOURCES[name]
    assert isinstance(source, ArrivalSource)
    first, second = (source.draw(np.random.default_rng(3), 5) for _ in range(2))
    for field in ("task_counts", "task_mbit", "workload_gcycles", "result_mbit"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))
    assert first.task_counts.max() <= source.max_tasks
    assert first.num_tasks == first.mask.sum() == (first.workload_gcycles > 0).sum()


def test_drawn_tasks_stay_in_the_papers_ranges():
    arrivals = SyntheticArrivals(UniformFields(attributes="per_task")).draw(np.random.default_rng(0), 60)
    assert set(np.unique(arrivals.denoising_steps)) == set(range(1, 15))
    assert set(np.unique(arrivals.task_counts)) == set(range(1, 51))
    for values, low, high in (
        (arrivals.task_mbit, 2.0, 5.0),
        (arrivals.density_gcycles_per_step, 0.1024, 0.3072),
        (arrivals.result_mbit, 0.6, 1.0),
    ):
        assert low <= values.min() < low + 0.01 * (high - low) < high - 0.01 * (high - low) < values.max() <= high


def test_stacked_episodes_are_the_single_ones_side_by_side():
    episodes = [SOURCES["poisson"].draw(np.random.default_rng(seed), 4) for seed in range(3)]
    stacked = stack_arrivals(episodes)
    assert (stacked.num_slots, stacked.max_tasks) == (4, 50)
    for e, episode in enumerate(episodes):
        np.testing.assert_array_equal(stacked.mask[e], episode.mask)
        np.testing.assert_array_equal(stacked.workload_gcycles[e], episode.workload_gcycles)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: UniformFields(denoising_steps=(0, 14)), r"denoising_steps\[0\] must be .* of at least 1 .*, got 0"),
        (lambda: UniformFields(task_mbit=(5.0, 2.0)), "task_mbit must be a range .* got .5.0, 2.0."),
        (
            lambda: UniformFields(attributes="per_task", density_gcycles_per_step=(0.0, 1.0)),
            r"density_gcycles_per_step\[0\] must be a number above 0 .*, got 0.0",
        ),
        (lambda: UniformFields(max_tasks=0), "max_tasks must be a whole number of at least 1 .*, got 0"),
        (lambda: UniformFields(max_tasks=5, min_tasks=6), "min_tasks 6 is above max_tasks 5"),
        (lambda: PoissonFields(mean_tasks=-1.0), "mean_tasks must be a number of at least 0 .*, got -1.0"),
        (lambda: PoissonFields(mean_tasks=(1.0, 2.0)).build(draw_network(np.random.default_rng(0))), "one value or 20"),
    ],
)
def test_impossible_arrivals_are_refused_in_one_line(build, message):
    with pytest.raises(ConfigurationError, match=message) as error:
        build()
    assert "\n" not in str(error.value)

"""Sizes by hand, and requests that no machine can hold are refused before memory is taken."""

import numpy as np
import pytest

from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator import build_setting, sizes
from lad_rllib.simulator.sizes import GIB, Learner, check_fits, machine_bytes, training_bytes


@pytest.fixture(autouse=True)
def sixteen_gib(monkeypatch):
    monkeypatch.setattr(sizes, "machine_bytes", lambda: 16 * GIB)


def test_the_arrays_of_arrivals_have_the_size_that_is_told():
    setting = build_setting({"preset": "small"})
    arrivals = setting.arrivals.draw(np.random.default_rng(0), 8)
    names = ("task_mbit", "denoising_steps", "density_gcycles_per_step", "result_mbit", "workload_gcycles", "mask")
    assert sizes.arrivals_bytes(1, 8, 4, 6) == sum(getattr(arrivals, name).nbytes for name in names)


def test_the_parts_of_training_are_those_computed_by_hand():
    learner = Learner((20, 10), agents=3, latent_size=4, latent_by_slot=True, replay_capacity=100, batch=8)
    parts = training_bytes(learner, episodes=2, slots=5, stations=3, servers=4, tasks=7)
    entries = 2 * 3 * 7
    assert parts == {
        "arrivals": entries * 5 * 41,
        "decisions": 4 * entries * (6 + 4 + 20),
        "latent memory": 4 * entries * 4 * 5,
        "networks": 4 * 3 * (11 * 20 + 21 * 10 + 11 * 4) * 14,
        "replay buffers": 4 * 3 * (100 * 22 + 8 * (22 + 30)),
    }


def test_what_does_not_fit_is_refused_with_what_it_would_take():
    check_fits("a thing", 16 * GIB, "it")
    told = "^two things would take at least 30 GiB .large: 28 GiB., this machine has 16 GiB; lower them$"
    with pytest.raises(ConfigurationError, match=told):
        check_fits("two things", {"small": 2 * GIB, "large": 28 * GIB}, "them")


def test_what_a_node_of_a_cluster_takes_is_held_against_that_node():
    check_fits("a thing", 64 * GIB, "it", node_bytes=64 * GIB)
    with pytest.raises(
        ConfigurationError, match="a thing would .* 8.0 GiB, the largest node of the cluster has 4.0 GiB"
    ):
        check_fits("a thing", 8 * GIB, "it", node_bytes=4 * GIB)


@pytest.mark.parametrize(
    ("limits", "least"), [({}, None), ({"memory.max": "max\n"}, None), ({"memory.max": "1048576\n"}, 2**20)]
)
def test_a_containers_limit_counts_as_the_machines_memory(tmp_path, monkeypatch, limits, least):
    for name, text in limits.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(sizes, "_CGROUP_LIMITS", (str(tmp_path / "memory.max"),))
    assert machine_bytes() == least or (least is None and machine_bytes() > GIB // 4)


@pytest.mark.parametrize(
    "spec",
    [
        {"slots": 10**9},
        {"network": {"stations": 10**9}},
        {"network": {"servers": 10**9}},
        {"network": {"servers": 10**9, "capacity_gcycles_per_s": {"range": [1, 9]}}},
        {"arrivals": {"max_tasks": 10**9}},
        {"arrivals": {"max_tasks": 10**9, "attributes": {"per_index": 1}}},
        {"arrivals": {"source": "poisson", "max_tasks": 10**9}},
        {"preset": "sample-trace", "network": {"stations": 10**9}},
        {"preset": "sample-trace", "arrivals": {"max_tasks": 10_000}, "slots": 100_000_000},
    ],
)
def test_a_setting_that_no_machine_can_hold_is_refused_before_memory_is_taken(spec):
    with pytest.raises(ConfigurationError, match=r"would take at least .* GiB, this machine has 16 GiB; lower slots"):
        build_setting(spec)

"""Settings: presets, what can be changed on top of them, and what is refused."""

import json

import numpy as np
import pytest

from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator import (
    PRESETS,
    TraceArrivals,
    UniformFields,
    build_setting,
    draw_network,
    load_setting,
    load_spec,
    override_spec,
    published_network,
    published_task_attributes,
    sample_trace_path,
)


def drawn(setting):
    return setting.arrivals.draw(np.random.default_rng(0), setting.num_slots)


def test_the_paper_preset_is_the_published_setting():
    setting = build_setting({})
    assert (setting.name, setting.num_slots, setting.network.num_stations) == ("paper", 60, 20)
    assert np.array_equal(setting.network.capacity_gcycles_per_s, published_network().capacity_gcycles_per_s)
    assert isinstance(setting.arrivals.fields, UniformFields) and setting.arrivals.max_tasks == 50
    published = published_task_attributes()
    assert np.array_equal(setting.arrivals.attributes.density_gcycles_per_step, published.density_gcycles_per_step)
    # 812 Gcycle per slot against 656 of capacity.
    assert setting.load == pytest.approx(1.24, abs=0.005)


def test_the_small_preset_is_small_and_overloaded():
    setting = build_setting({"preset": "small"})
    assert drawn(setting).task_mbit.shape == (8, 4, 6)
    assert setting.network.num_servers == 4 and setting.load > 1


@pytest.mark.parametrize("preset", PRESETS)
def test_the_filled_in_dictionary_builds_the_same_setting_again(preset):
    first = build_setting({"preset": preset})
    again = build_setting(json.loads(json.dumps(first.spec)))
    assert again.spec == first.spec
    assert np.array_equal(again.network.capacity_gcycles_per_s, first.network.capacity_gcycles_per_s)
    assert np.array_equal(drawn(again).workload_gcycles, drawn(first).workload_gcycles)
    assert first.load == again.load and first.name in first.summary()


def test_building_changes_neither_presets_nor_the_given_dictionary():
    before = json.dumps(PRESETS)
    spec = {"preset": "small", "network": {"stations": 3}}
    build_setting(spec)
    assert json.dumps(PRESETS) == before and spec == {"preset": "small", "network": {"stations": 3}}


def test_a_seed_draws_another_network():
    one, two = (build_setting({"preset": "paper-random", "network": {"seed": seed}}).network for seed in (1, 2))
    expected = draw_network(np.random.default_rng(1))
    assert np.array_equal(one.capacity_gcycles_per_s, expected.capacity_gcycles_per_s)
    assert np.array_equal(one.link_rate_mbit_per_s, expected.link_rate_mbit_per_s)
    assert not np.array_equal(one.capacity_gcycles_per_s, two.capacity_gcycles_per_s)


def test_single_fields_change_on_top_of_a_preset():
    setting = build_setting(
        {
            "name": "mine",
            "slots": 5,
            "slot_s": 2.0,
            "network": {"stations": 3, "capacity_gcycles_per_s": [10, 20], "home_server": [0, 1, -1]},
            "arrivals": {"max_tasks": 7, "min_tasks": 7, "task_mbit": [1, 1]},
        }
    )
    assert (setting.name, setting.network.slot_s, setting.network.num_servers) == ("mine", 2.0, 2)
    assert setting.network.home_server.tolist() == [0, 1, -1]
    arrivals = drawn(setting)
    assert (arrivals.task_counts == 7).all() and (arrivals.task_mbit == 1).all()
    published = published_task_attributes(7)
    work = (published.density_gcycles_per_step * published.denoising_steps).sum()
    assert setting.load == pytest.approx(3 * work / (30 * 2.0))


def test_quality_demand_can_be_swept_with_published_or_own_attributes():
    published = build_setting({"arrivals": {"denoising_steps": [1, 20]}}).arrivals.attributes
    assert published.denoising_steps.max() > 14
    own = {"attributes": {"per_index": 4}, "denoising_steps": [9, 9], "density_gcycles_per_step": [0.5, 0.5]}
    attributes = build_setting({"arrivals": own}).arrivals.attributes
    assert (attributes.denoising_steps == 9).all() and (attributes.density_gcycles_per_step == 0.5).all()
    per_task = drawn(build_setting({"preset": "small", "arrivals": {"attributes": "per_task"}}))
    assert not np.array_equal(per_task.denoising_steps[0], per_task.denoising_steps[1])


def test_poisson_arrivals_have_their_mean():
    setting = build_setting({"arrivals": {"source": "poisson", "mean_tasks": 5.0}, "slots": 200})
    assert drawn(setting).task_counts.mean() == pytest.approx(5.0, abs=0.15)  # 4 standard errors of 4000 counts


def test_another_synthetic_source_keeps_what_the_tasks_are():
    tasks = {
        "max_tasks": 4,
        "attributes": "per_task",
        "task_mbit": [1.0, 2.0],
        "denoising_steps": [10, 20],
        "density_gcycles_per_step": [0.5, 0.5],
        "result_mbit": [3.0, 3.0],
        "overhead_steps": 5.0,
    }
    base = {"preset": "small", "arrivals": {"min_tasks": 2, **tasks}}
    for spec in (base, build_setting(base).spec):
        poisson = override_spec(spec, {"arrivals": {"source": "poisson", "mean_tasks": 0.1}})
        setting = build_setting(poisson)
        assert {key: setting.spec["arrivals"][key] for key in tasks} == tasks
        # 4 stations, 0.1 tasks of 0.5 Gcycle/step and 15 + 5 steps, over 17 Gcycle/s of capacity
        assert setting.load == pytest.approx(4 * 0.1 * 0.5 * 20 / 17, rel=1e-3)
        back = build_setting(override_spec(setting.spec, {"arrivals": {"source": "uniform"}}))
        assert {key: back.spec["arrivals"][key] for key in tasks} == tasks


def test_a_request_log_takes_over_no_tasks_of_a_synthetic_source():
    spec = override_spec(build_setting({"preset": "small"}).spec, {"arrivals": {"source": "trace", "path": "sample"}})
    assert spec["arrivals"] == {"source": "trace", "path": "sample"}
    assert build_setting(override_spec(build_setting(spec | {"slot_s": 20}).spec, {"arrivals": {"source": "uniform"}}))


def test_a_request_log_starts_from_its_own_defaults():
    setting = build_setting({"slots": 10, "arrivals": {"source": "trace", "path": "sample", "part": [0.5, 1]}})
    assert isinstance(setting.arrivals, TraceArrivals)
    assert setting.arrivals.part == (0.5, 1.0) and setting.arrivals.max_tasks < 50
    assert setting.network.slot_s == 20.0 and setting.name == "paper-trace"
    assert setting.load == setting.arrivals.timetable.load(setting.arrivals.first_slot, setting.arrivals.end_slot)


def test_a_trace_can_be_given_a_load_and_another_slot_length():
    arrivals = {"source": "trace", "path": "sample", "load": 0.6}
    setting = build_setting({"preset": "sample-trace", "slot_s": 10, "arrivals": arrivals})
    assert setting.load == pytest.approx(0.6, rel=0.01) and setting.network.slot_s == 10.0


def test_the_summary_says_the_load_and_what_it_means():
    lines = build_setting({"preset": "small"}).summary().splitlines()
    assert lines[0].endswith("at most 6 tasks per station and slot, load 1.397")
    assert "1 to 6 tasks, each number equally likely, of 1 to 14 denoising steps" in lines[1]
    assert "asked for 23.75 Gcycle/s, more than they can do: queues grow" in lines[2]
    quiet = build_setting({"preset": "small", "arrivals": {"source": "poisson", "mean_tasks": 0.5}}).summary()
    assert "a Poisson number of tasks, mean 0.5" in quiet and "which they can do on average" in quiet


def test_numbers_of_numpy_and_paths_are_what_they_are():
    network = {"stations": np.int64(2), "capacity_gcycles_per_s": np.array([1.0, 2.0])}
    arrivals = {"source": "trace", "path": sample_trace_path(), "load": np.float32(0.5), "part": (0.0, 1.0)}
    setting = build_setting({"slots": np.int16(3), "network": network, "arrivals": arrivals})
    assert json.loads(json.dumps(setting.spec)) == setting.spec
    assert setting.spec["network"]["capacity_gcycles_per_s"] == [1.0, 2.0]
    assert setting.spec["arrivals"]["path"] == str(sample_trace_path())


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_a_settings_file_finds_its_trace_beside_itself(tmp_path, suffix, monkeypatch):
    (tmp_path / "log.csv").write_text(sample_trace_path().read_text())
    spec = {"preset": "sample-trace", "arrivals": {"path": "log.csv"}}
    path = tmp_path / f"setting.{suffix}"
    path.write_text(json.dumps(spec))
    monkeypatch.chdir("/")
    assert load_spec(path)["arrivals"]["path"] == str(tmp_path / "log.csv")
    assert len(load_setting(path).arrivals.timetable.slot) == 528


def test_overrides_merge_group_by_group():
    base = {"preset": "small", "network": {"stations": 3, "seed": 1}, "arrivals": {"source": "uniform", "max_tasks": 4}}
    merged = override_spec(base, {"slots": 9, "network": {"seed": 2}, "arrivals": {"source": "poisson"}})
    assert merged == {
        "preset": "small",
        "slots": 9,
        "network": {"stations": 3, "seed": 2},
        "arrivals": {"source": "poisson", "max_tasks": 4},
    }


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"preset": "papper"}, "unknown preset 'papper'; choose from paper"),
        ({"slot": 3}, "unknown key 'slot'; did you mean 'slots'"),
        ({"network": {"capacity": 3}}, "unknown key 'network.capacity'; valid: capacity_gcycles_per_s, home_server"),
        (
            {"arrivals": {"mean_tasks": 3}},
            "arrivals.mean_tasks belongs to source poisson, and arrivals.source is uniform",
        ),
        ({"arrivals": {"sorce": "poisson"}}, "unknown key 'arrivals.sorce'; did you mean 'source'"),
        ({"netwrok": {"stations": 3}}, "unknown key 'netwrok'; did you mean 'network'"),
        ({"arrivals": {"source": "log"}}, "unknown arrivals.source 'log'; choose from uniform, poisson, trace"),
        ({"network": 3}, "network must be a group"),
        ({"slots": 0}, "slots"),
        ({"slots": True}, "slots"),
        ({"slot_s": -1}, "slot_s must be a number above 0.*, got -1"),
        ({"slot_s": "long"}, "slot_s must be a number above 0.*, got 'long'"),
        ({"network": {"servers": 0}}, "network.servers must be a whole number of at least 1 .*, got 0"),
        (
            {"network": {"capacity_gcycles_per_s": []}},
            "capacity_gcycles_per_s must be .* a list of at least 1, .*got ..",
        ),
        ({"network": {"stations": 0}}, "network.stations"),
        ({"network": {"capacity_gcycles_per_s": -5}}, "network.capacity_gcycles_per_s must be .*a number above 0 .*-5"),
        (
            {"network": {"capacity_gcycles_per_s": [10, -5]}},
            "network.capacity_gcycles_per_s.1. must be a number above 0 .*got -5",
        ),
        (
            {"network": {"capacity_gcycles_per_s": [10, float("nan")]}},
            "capacity_gcycles_per_s.1. must be a number .*got nan",
        ),
        ({"network": {"capacity_gcycles_per_s": "fast"}}, "'fast'"),
        (
            {"network": {"capacity_gcycles_per_s": {"range": [50, 10]}}},
            "capacity_gcycles_per_s.range must be a range .low, high.*got .50, 10.",
        ),
        (
            {"network": {"capacity_gcycles_per_s": {"between": [10, 50]}}},
            "unknown key 'network.capacity_gcycles_per_s.between'; valid: range, seed",
        ),
        ({"network": {"capacity_gcycles_per_s": [1, 2], "servers": 3}}, "names 2 edge servers, servers is 3"),
        ({"network": {"capacity_gcycles_per_s": [1, 2], "link_rate_mbit_per_s": [1]}}, "names 1 edge servers.* 2"),
        ({"network": {"seed": 3}}, "network.seed 3 has no effect.*preset paper-random"),
        ({"network": {"home_server": [0]}}, "home_server needs 20 values"),
        ({"arrivals": {"denoising_steps": [0, 5]}}, "denoising_steps.*at least 1"),
        (
            {"arrivals": {"denoising_steps": [3, 5]}},
            "arrivals.denoising_steps .3, 5. does not fit attributes 'published'",
        ),
        ({"arrivals": {"result_mbit": [3, 5]}}, "arrivals.result_mbit .3.0, 5.0. has no effect.*per_task"),
        ({"arrivals": {"attributes": "all"}}, "attributes must be"),
        ({"arrivals": {"max_tasks": 5, "min_tasks": 6}}, "arrivals.min_tasks 6 is above max_tasks 5"),
        ({"arrivals": {"source": "poisson", "mean_tasks": [1.0, 2.0]}}, "mean_tasks must be one value or 20"),
        ({"arrivals": {"source": "trace"}}, "arrivals.path must name a request log"),
        ({"arrivals": {"source": "trace", "path": "/absent.csv"}}, "/absent.csv does not exist"),
        ({"preset": "sample-trace", "arrivals": {"load": 1, "time_compression": 2}}, "load 1 and time_compression 2"),
        ({"preset": "sample-trace", "arrivals": {"part": [0.9, 1.0]}}, "20 slots, part 0.9..1.*use fewer slots"),
        ({"preset": "sample-trace", "arrivals": {"strict": True}}, "row 61: prompt_length is missing"),
        ({"name": object()}, "name must be a text of 0 to 200 characters or null, got <object"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_in_one_line(spec, expected):
    with pytest.raises(ConfigurationError, match=expected) as error:
        build_setting(spec)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["{", "- 1", "a: [", ""])
def test_a_settings_file_that_is_not_a_dictionary_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "setting.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="setting.yaml") as error:
        load_setting(path)
    assert "\n" not in str(error.value)

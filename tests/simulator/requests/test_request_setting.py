"""Settings of requests that come one by one: rates, mixes, realised times, and what is refused."""

import json

import numpy as np
import pytest

from lad_rllib.envs.episodes import read_any_setting, read_setting
from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator.order import Aged
from lad_rllib.simulator.requests import (
    REQUEST_PRESETS,
    BurstyFields,
    DailyFields,
    PoissonFields,
    SlottedFields,
    build_request_setting,
    override_request_spec,
    request_setting_schema,
)

RATE = 0.5


def rng():
    return np.random.default_rng(3)


def arrivals_s(fields, number=200_000):
    return fields.build().draw(rng(), number, RATE).requests.arrival_s


def dispersion(arrival_s, window_s=60.0):
    counts = np.bincount((arrival_s / window_s).astype(int))[:-1]
    return counts.var() / counts.mean()


@pytest.mark.parametrize(
    "fields",
    [
        PoissonFields(rate_per_s=RATE),
        BurstyFields(rate_per_s=RATE),
        DailyFields(rate_per_s=RATE, period_s=999.0),
        SlottedFields(rate_per_s=RATE, slot_s=30.0),
    ],
)
def test_every_process_has_its_mean_rate(fields):
    arrival_s = arrivals_s(fields)
    assert (np.diff(arrival_s) >= 0).all()
    assert len(arrival_s) / arrival_s[-1] == pytest.approx(RATE, rel=0.02)


def test_counts_are_dispersed_as_the_closed_forms_say():
    bursty = BurstyFields(rate_per_s=RATE, rate_ratio=4.0, burst_s=40.0, calm_s=120.0)
    assert dispersion(arrivals_s(PoissonFields(rate_per_s=RATE))) == pytest.approx(1.0, rel=0.03)
    assert dispersion(arrivals_s(bursty)) == pytest.approx(bursty.dispersion(RATE, 60.0), rel=0.05)


def test_the_rate_of_a_day_is_a_sine_wave():
    fields = DailyFields(rate_per_s=RATE, period_s=1000.0, depth=0.6, phase=0.0)
    share = np.histogram(arrivals_s(fields) % 1000.0, bins=4, range=(0.0, 1000.0))[0] / 200_000
    quarter = 0.25 + 0.6 / (2 * np.pi) * np.array([1.0, 1.0, -1.0, -1.0])  # integral of 1 + depth * sin over each
    assert share == pytest.approx(quarter, abs=0.005)


def test_all_requests_of_a_slot_come_at_once_and_their_numbers_are_poisson():
    arrival_s = arrivals_s(SlottedFields(rate_per_s=RATE, slot_s=40.0))
    starts, counts = np.unique(arrival_s, return_counts=True)
    assert (starts % 40.0 == 0).all() and starts[0] == 0
    assert counts[:-1].mean() == pytest.approx(20.0, rel=0.02) == pytest.approx(counts[:-1].var(), rel=0.05)


@pytest.mark.parametrize("preset", [name for name in REQUEST_PRESETS if name != "gentd26"])
def test_presets_have_their_load_and_build_again_from_their_dictionary(preset):
    setting = build_request_setting({"preset": preset})
    again = build_request_setting(json.loads(json.dumps(setting.spec)))
    one, other = setting.draw(rng()), again.draw(rng())
    assert again.spec == setting.spec and setting.name == preset and preset in setting.summary()
    assert (one.arrival_s == other.arrival_s).all() and (one.actual_over_predicted == other.actual_over_predicted).all()
    assert len(one) == setting.num_requests
    work_s = setting.world.service_s(one) * one.actual_over_predicted[:, None]
    offered = setting.rate_per_s / (1.0 / work_s.mean(axis=0)).sum()
    assert offered == pytest.approx(setting.load, rel=0.02)
    assert setting.load == pytest.approx(REQUEST_PRESETS[preset]["traffic"]["load"], rel=1e-9)


def test_the_size_mix_is_that_of_the_benchmark():
    requests = build_request_setting({"preset": "unequal-8"}).history()
    # 0.15 * 20 + 0.25 * 20 * 2.25 + 0.45 * 25 * 4 + 0.15 * 35 * 9
    assert requests.declared_cost.mean() == pytest.approx(106.5, rel=0.01)
    assert {*zip(requests.width.tolist(), requests.steps.tolist(), strict=True)} == {
        (512, 20.0),
        (768, 20.0),
        (1024, 25.0),
        (1536, 35.0),
    }


def test_shares_ranges_and_popularity_are_as_stated():
    mix = {
        "images": [{"share": 3, "steps": [4, 6]}, {"share": 1, "steps": 9, "images": 2, "guided": True}],
        "models": {"a": 3.0, "b": 1.0},
        "lora_sets": 2,
        "lora_share": 0.3,
        "zipf": 1.0,
        "tenants": {"x": 9.0, "y": 1.0},
        "priorities": [0.8, 0.2],
        "stations": 4,
    }
    spec = {"servers": [1.0], "requests": 50_000, "traffic": {"kind": "poisson", "load": 0.5, "mix": mix}}
    requests = build_request_setting(spec).draw(np.random.default_rng(0))
    share = {value: (requests.steps == value).mean() for value in (4, 5, 6, 9)}
    assert share == pytest.approx({4: 0.25, 5: 0.25, 6: 0.25, 9: 0.25}, abs=0.01)
    assert ((requests.images == 2) == requests.guided).all()
    assert np.bincount(requests.model) / len(requests) == pytest.approx([0.75, 0.25], abs=0.01)
    assert np.bincount(requests.loras) / len(requests) == pytest.approx([0.7, 0.2, 0.1], abs=0.01)
    assert np.bincount(requests.tenant) / len(requests) == pytest.approx([0.9, 0.1], abs=0.01)
    assert np.bincount(requests.priority) / len(requests) == pytest.approx([0.8, 0.2], abs=0.01)
    assert np.bincount(requests.station) / len(requests) == pytest.approx([0.25] * 4, abs=0.01)
    assert (requests.models, requests.lora_sets, requests.tenants) == (
        ("a", "b"),
        ("", "loras-1", "loras-2"),
        ("x", "y"),
    )


def test_what_requests_take_is_spread_around_the_prediction():
    requests = build_request_setting(
        {"servers": [1.0], "service": {"spread": 0.5}, "requests": 50_000, "traffic": {"kind": "poisson", "load": 0.5}}
    ).draw(rng())
    assert requests.actual_over_predicted.mean() == pytest.approx(1.0, rel=0.02)
    assert np.log(requests.actual_over_predicted).std() == pytest.approx(0.5, rel=0.02)


def test_a_deadline_is_a_multiple_of_the_delay_on_the_fastest_idle_server():
    spec = {"preset": "unequal-8", "traffic": {"deadline_over_solo": 3.0}}
    setting = build_request_setting(spec)
    requests = setting.draw(rng())
    assert requests.deadline_s == pytest.approx(3.0 * setting.world.service_s(requests).min(axis=1))


def test_servers_have_what_the_setting_says_for_all_and_their_own():
    setting = build_request_setting(
        {
            "servers": [2.0, {"name": "b", "service": {"per_step_s": 3.0}, "swap_s": {"m": 5.0}, "stations": [1]}],
            "service": {"per_step_s": 1.0},
            "service_of_model": {"slow": {"per_step_s": 10.0}},
            "models_in_memory": 2,
            "swap_s": 7.0,
            "order": "aged:service_weight=10",
            "traffic": {"kind": "poisson", "load": 0.5, "mix": {"images": [{"steps": 4}], "models": {"slow": 1.0}}},
        }
    )
    fast, own = setting.world.servers
    assert (fast.name, own.name, fast.swap_s, own.swap_s, own.models_in_memory) == (
        "server0",
        "b",
        {"": 7.0},
        {"m": 5.0},
        2,
    )
    requests = setting.draw(rng())
    assert setting.world.service_s(requests)[0].tolist() == [20.0, 40.0]
    assert own.service_model("other").per_step_s == 3.0 and setting.world.order == Aged(service_weight=10.0)


def test_a_duration_takes_the_place_of_a_number_of_requests():
    setting = build_request_setting({"preset": "unequal-8", "duration_s": 3600.0})
    assert setting.num_requests == round(setting.rate_per_s * 3600.0)


def test_another_kind_of_traffic_keeps_what_both_kinds_have():
    spec = override_request_spec(
        REQUEST_PRESETS["unequal-8-bursty"], {"traffic": {"burst_s": 9.0, "mix": {"models": 3}}}
    )
    changed = override_request_spec(spec, {"traffic": {"kind": "daily", "rate_per_s": 1.0}})
    assert changed["traffic"] == {"kind": "daily", "rate_per_s": 1.0, "mix": {"models": 3}}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"traffic": {"lod": 0.7}}, "unknown key 'traffic.lod'; did you mean 'load'?"),
        ({"traffic": {"kind": "posson"}}, "unknown traffic.kind 'posson'"),
        ({"traffic": {"load": None}}, "load and rate_per_s are both null"),
        ({"traffic": {"load": 0.5, "rate_per_s": 1.0}}, "exclude each other"),
        ({"traffic": {"mix": {"images": "big"}}}, "traffic.mix.images must be one of vllm-omni, paper or a list"),
        ({"traffic": {"mix": {"images": [{"steps": [9, 2]}]}}}, "low at most high"),
        ({"servers": [1.0, {"sped": 2.0}]}, r"unknown key 'servers\[1\].sped'; did you mean 'speed'?"),
        ({"servers": [1.0, {"name": "server0"}]}, r"servers\[1\].name 'server0' stands twice"),
        ({"servers": [0.0]}, r"servers\[0\] must be a number above 0"),
        ({"service": {"kind": "fitted"}}, "no measured service times"),
        ({"service": {"per_stp_s": 1.0}}, "unknown key 'service.per_stp_s'"),
        ({"order": "agd"}, "unknown order of service 'agd'"),
        ({"swap_s": float("nan")}, "^swap_s must be a number of at least 0"),
        ({"swap_s": {"a": -1.0}}, "^swap_s.a must be a number of at least 0"),
        ({"requests": 10**9}, "would take at least"),
        ({"slots": 60}, "unknown key 'slots'"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(changes, told):
    with pytest.raises(ConfigurationError, match=told) as caught:
        build_request_setting(override_request_spec({"preset": "unequal-8"}, changes) | {"preset": "unequal-8"})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        BurstyFields(rate_per_s=1, burst_s=1e-9, calm_s=1e-9),
        DailyFields(rate_per_s=1, period_s=1e-5),
        SlottedFields(rate_per_s=1, slot_s=1e-6),
    ],
)
def test_a_rate_that_changes_too_often_for_memory_is_refused(fields):
    with pytest.raises(ConfigurationError, match="lower requests, or raise traffic"):
        arrivals_s(fields)


def test_service_times_of_any_fitted_model_are_finite_and_positive():
    for intercept in (-1000.0, 1000.0):
        setting = build_request_setting({"preset": "equal-3", "service": {"kind": "fitted", "intercept": intercept}})
        times_s = setting.world.service_s(setting.history())
        assert np.isfinite(times_s).all() and (times_s > 0).all()


def test_settings_are_read_by_their_kind(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("servers: [1.0, 0.5]\ntraffic: {kind: poisson, load: 0.4}\n")
    assert read_any_setting(str(file)).load == pytest.approx(0.4)
    assert read_any_setting("unequal-8").name == "unequal-8" and read_any_setting("small").num_slots == 8
    with pytest.raises(ConfigurationError, match="setting unequal-8 has requests that come one by one"):
        read_setting("unequal-8")
    with pytest.raises(ConfigurationError, match="unknown preset 'big'; choose from paper.*unequal-8"):
        read_setting("big")


def test_the_schema_has_every_kind():
    properties = request_setting_schema()["properties"]
    kinds = {one["properties"]["kind"]["const"] for one in properties["traffic"]["anyOf"]}
    assert {"poisson", "bursty", "daily"} <= kinds and "unequal-8" in properties["preset"]["enum"]

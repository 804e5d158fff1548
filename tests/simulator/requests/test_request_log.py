"""Request logs as traffic: which rows, models and LoRAs are read, when they arrive, and what they take."""

import json

import numpy as np
import pytest

from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator import read_trace, sample_trace_path
from lad_rllib.simulator.requests import (
    build_request_setting,
    fit_service,
    override_request_spec,
    plain_requests,
    read_log,
    read_requests,
    write_requests,
)
from lad_rllib.simulator.requests.requests import ARRAYS

SAMPLE = {"preset": "gentd26", "requests": 50, "traffic": {"path": "sample"}}
GENTD26 = (
    "gmt_create,predict_type,predict_status,exec_time_seconds,groupId,num_images_per_prompt,num_inference_steps,"
    "checkpoint_model_version_id,num_lora\n"
)


def sample(**traffic):
    return build_request_setting(override_request_spec(SAMPLE, {"traffic": traffic}) | {"preset": "gentd26"})


def mixed_requests(number=300):
    rng = np.random.default_rng(5)
    return plain_requests(
        np.cumsum(rng.exponential(size=number)).round(6) - 0.0,
        rng.integers(1, 50, number).astype(float),
        width=rng.choice([512, 1024], number),
        images=rng.integers(1, 5, number),
        guided=rng.random(number) < 0.5,
        model=np.arange(number) % 3,
        loras=np.arange(number) % 2,
        tenant=np.arange(number) % 4,
        priority=rng.integers(0, 3, number),
        deadline_s=np.where(rng.random(number) < 0.5, 30.0, np.inf),
        models=("a", "b", "c"),
        lora_sets=("", "x+y"),
        tenants=("t0", "t1", "t2", "t3"),
    )


def test_models_and_loras_of_the_public_format_are_read(tmp_path):
    file = tmp_path / "log.csv"
    file.write_text(
        GENTD26
        + "2024-01-01 00:00:09,TXT_2_IMG,SUCCEED,30,g1,1,20,M2,2\n"
        + "2024-01-01 00:00:00,TXT_2_IMG,SUCCEED,10,g1,4,30,M1,0\n"
        + "2024-01-01 00:00:04,IMG_2_IMG,SUCCEED,10,g1,4,30,M1,0\n"
        + "2024-01-01 00:00:05,TXT_2_IMG,SUCCEED,20,g1,1,30,,0\n"
        + "2024-01-01 00:00:06,TXT_2_IMG,SUCCEED,0,g1,1,30,M1,0\n"
        + "2024-01-01 00:00:07,TXT_2_IMG,SUCCEED,40,g2,1,30,M2,2\n"
        + "later,TXT_2_IMG,SUCCEED,40,g2,1,30,M2,2\n"
    )
    log = read_log(file, "gentd26")
    requests = log.sent.requests
    assert requests.arrival_s.tolist() == [0.0, 7.0, 9.0] and log.sent.measured_s.tolist() == [10.0, 40.0, 30.0]
    assert [requests.models[model] for model in requests.model] == ["M1", "M2", "M2"]
    assert requests.images.tolist() == [4, 1, 1] and requests.steps.tolist() == [30.0, 30.0, 20.0]
    # The log says how many LoRAs, not which: two groups' are taken for two sets.
    assert requests.loras.tolist()[0] == 0 and len({*requests.loras.tolist()}) == 3
    assert log.rows_read == 7 and sum(log.not_used.values()) == 4
    assert set(log.not_used) == {
        "predict_type is IMG_2_IMG",
        "checkpoint_model_version_id is missing",
        "exec_time_seconds is below 1e-09",
        "gmt_create is not a time",
    }


def test_both_readers_of_the_public_format_use_the_same_rows():
    slots, one_by_one = read_trace(sample_trace_path()), read_log(sample_trace_path(), "gentd26")
    # 5 rows lack a prompt length, which only the slotted world needs.
    assert len(one_by_one.sent.requests) - len(slots.exec_s) == slots.not_used["prompt_length is missing"]
    assert one_by_one.sent.measured_s.sum() >= slots.exec_s.sum()


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
def test_what_is_written_is_read_again(tmp_path, ending):
    requests, file = mixed_requests(), tmp_path / f"log.{ending}"
    write_requests(file, requests, service_s=requests.steps * 0.1)
    again, measured_s = read_requests(file)
    assert measured_s == pytest.approx(requests.steps * 0.1)
    first = requests.arrival_s[0]
    for name in ARRAYS:
        expected = getattr(requests, name) - (first if name == "arrival_s" else 0)
        assert np.allclose(getattr(again, name), expected, rtol=1e-12), name
    assert (again.models, again.lora_sets, again.tenants) == (requests.models, requests.lora_sets, requests.tenants)


def test_json_logs_of_katz_and_lines_of_vllm_omni_are_read(tmp_path):
    katz = tmp_path / "katz.json"
    rows = [
        {"timestamp": 5, "ip": "x", "scene_id": "A", "base_model_id": "m1", "controlnets": ["c"], "loras": ["b", "a"]},
        {"timestamp": 2, "ip": "x", "scene_id": "B", "base_model_id": "m2", "controlnets": None, "loras": None},
    ]
    katz.write_text(json.dumps(rows))
    requests, measured_s = read_log(katz, "katz", constants={"steps": 30, "width": 1024}).sent
    assert measured_s is None and requests.arrival_s.tolist() == [0.0, 3.0]
    assert [requests.lora_sets[loras] for loras in requests.loras] == ["", "a+b"]
    assert [requests.models[model] for model in requests.model] == ["m2", "m1"]
    assert requests.steps.tolist() == [30.0, 30.0] and requests.width.tolist() == [1024, 1024]
    lines = tmp_path / "trace.txt"
    lines.write_text(
        "Request(request_id='a', prompt='x (y)', width=1536, height=768, num_inference_steps=70, slo_ms=1500)\n"
        "Request(request_id='b', prompt='z', width=512, height=512, num_inference_steps=20)\n"
    )
    log = read_log(lines, "vllm-omni")
    assert not log.has_arrivals and log.sent.requests.deadline_s.tolist() == [1.5, np.inf]
    assert log.sent.requests.declared_cost.tolist() == [70 * 1536 * 768 / 512**2, 20.0]
    with pytest.raises(ConfigurationError, match="does not say when requests arrived; give traffic.load"):
        traffic = {"kind": "recorded", "format": "vllm-omni", "path": str(lines)}
        build_request_setting({"servers": [1.0], "requests": 2, "traffic": traffic})
    setting = build_request_setting({"servers": [1.0], "requests": 2, "traffic": {**traffic, "rate_per_s": 0.5}})
    assert setting.draw(np.random.default_rng(0)).arrival_s[1] > 0


def test_any_log_is_read_whose_columns_are_named(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("when,n,who\n0.5,10,a\n2.5,20,b\nx,20,b\n3,-1,b\n")
    log = read_log(file, columns={"arrival_s": "when", "steps": "n", "tenant": "who"})
    assert log.sent.requests.arrival_s.tolist() == [0.0, 2.0] and log.sent.requests.tenants == ("a", "b")
    assert log.not_used == {"when is not a time": 1, "n is below 1": 1}


@pytest.mark.parametrize(
    ("name", "text", "arguments", "told"),
    [
        ("a.csv", "x\n1\n", {}, "has none of the columns arrival_s"),
        ("a.csv", "x\n1\n", {"columns": {"steps": "n"}}, "lacks the column n; it has x"),
        ("a.csv", "x\n1\n", {"columns": {"stps": "x"}}, "unknown key 'stps'; did you mean 'steps'?"),
        ("a.csv", "steps\n0\n", {}, r"no usable rows \(steps is below 1: 1\)"),
        ("a.csv", "steps\n", {}, "no usable rows"),
        ("a.json", "[1]", {}, "must hold objects, found 1"),
        ("a.json", "{", {}, "cannot be read"),
        ("a.txt", "Request(width=open('x'))", {}, r"must hold lines as Request\(width=512"),
        ("a.xml", "", {}, "must end in .csv"),
    ],
)
def test_a_log_that_cannot_be_used_is_refused_in_one_line(tmp_path, name, text, arguments, told):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationError, match=told) as caught:
        read_log(tmp_path / name, **arguments)
    assert "\n" not in str(caught.value)


def test_a_fit_recovers_planted_coefficients_and_spread():
    rng, number = np.random.default_rng(0), 30_000
    model = rng.integers(0, 40, number)
    effect = rng.normal(0.0, 0.4, 40)
    requests = plain_requests(
        np.zeros(number),
        rng.integers(10, 60, number).astype(float),
        width=rng.choice([512, 768, 1024], number),
        images=rng.integers(1, 9, number),
        loras=rng.integers(0, 2, number),
        model=model,
        models=tuple(f"m{index}" for index in range(40)),
    )
    mean = 0.5 + 0.8 * np.log(requests.steps) + 0.3 * np.log(requests.images) + 0.9 * np.log(requests.pixels)
    measured_s = np.exp(mean + 0.2 * requests.loras + effect[model] + rng.normal(0.0, 0.25, number))
    service = fit_service(requests, measured_s)
    found = (service.steps, service.images, service.pixels, service.loras, service.spread)
    assert found == pytest.approx((0.8, 0.3, 0.9, 0.2, 0.25), abs=0.02)
    fitted = np.array([service.of_model[f"m{index}"] for index in range(40)])
    assert fitted - fitted.mean() == pytest.approx(effect - effect.mean(), abs=0.05)
    assert (measured_s / service.seconds(requests)).mean() == pytest.approx(1.0, rel=0.01)


def test_a_model_of_few_requests_is_drawn_towards_the_ordinary_one():
    model = np.array([0] * 200 + [1] * 200 + [2])
    rng = np.random.default_rng(1)
    log_s = np.array([0.5, -0.5, 2.0])[model] + rng.normal(0.0, 0.5, len(model))
    requests = plain_requests(np.zeros(len(model)), model=model, models=("a", "b", "rare"))
    service = fit_service(requests, np.exp(log_s))
    own = log_s[-1] - service.intercept - service.steps * np.log(20.0)
    assert 0 < service.of_model["rare"] < 0.95 * own
    unknown = plain_requests(np.zeros(1), model=0, models=("unknown",))
    assert service.seconds(unknown) < service.seconds(requests[-1:])


def test_no_request_of_the_test_part_is_used_in_the_fit(tmp_path):
    text = sample_trace_path().read_text().splitlines(keepends=True)
    log, file = read_log(sample_trace_path(), "gentd26"), tmp_path / "log.csv"
    number = round(0.7 * len(log.sent.requests))
    cut = [line for line in text[1:] if ",TXT_2_IMG,SUCCEED," in line][number:]
    changed = [line.replace(line.split(",")[3], "999.0", 1) if line in set(cut) else line for line in text]
    file.write_text("".join(changed))
    assert sample(path=str(file)).spec["service"] == sample().spec["service"]
    assert sample(path=str(file)).traffic.log.sent.measured_s.max() == 999.0


def test_a_log_is_replayed_with_the_times_that_were_measured():
    setting = sample(part=[0.7, 1.0])
    [*windows] = setting.windows()
    first = round(0.7 * len(setting.traffic.log.sent.requests))
    measured_s = setting.traffic.log.sent.measured_s[first:]
    taken_s = np.concatenate([setting.reference.service_s(w) * w.actual_over_predicted for w in windows])
    assert taken_s == pytest.approx(measured_s[: len(taken_s)]) and len(windows) == len(measured_s) // 50
    history, log = setting.history(), setting.traffic.log.sent.requests
    assert len(history) == first and (history.steps == log.steps[:first]).all()  # the past alone, on the same clock
    pace = setting.traffic.own_rate_per_s / setting.rate_per_s
    assert history.arrival_s[:9] == pytest.approx(
        np.minimum(np.diff(log.arrival_s[:9], prepend=0), 300).cumsum() * pace
    )


def test_the_logs_own_times_are_kept_and_a_load_stretches_them():
    own, loaded = sample(load=None), sample(load=0.9, part=[0.5, 1.0])
    log = own.traffic.log.sent.requests
    window = next(own.windows())
    assert window.arrival_s == pytest.approx(log.arrival_s[:50] - log.arrival_s[0])
    assert loaded.load == pytest.approx(0.9)
    first = round(0.5 * len(log))
    gaps, kept = np.diff(next(loaded.windows()).arrival_s), np.diff(log.arrival_s[first : first + 50])
    assert gaps == pytest.approx(kept * (gaps.sum() / kept.sum())) and own.load < 0.9
    pauses = np.diff(next(sample(load=None, max_gap_s=10.0).windows()).arrival_s)
    assert pauses.max() == pytest.approx(10.0)


def test_a_part_is_taken_without_reading_the_log_again_and_is_checked():
    setting = sample()
    part = setting.with_part((0.7, 1.0))
    assert part.traffic.log is setting.traffic.log and part.load == pytest.approx(setting.load)
    assert build_request_setting(part.spec).rate_per_s == pytest.approx(part.rate_per_s)
    with pytest.raises(ConfigurationError, match="an episode has 50 requests, part 0.99..1 of the log only 5"):
        setting.with_part((0.99, 1.0))
    with pytest.raises(ConfigurationError, match="come from no log"):
        build_request_setting({"preset": "equal-3"}).with_part((0.0, 0.7))


def test_the_same_dictionary_replays_the_same_requests():
    setting = sample()
    again = build_request_setting(json.loads(json.dumps(setting.spec)))
    one, other = (each.draw(np.random.default_rng(2)) for each in (setting, again))
    assert all((getattr(one, name) == getattr(other, name)).all() for name in ARRAYS) and again.spec == setting.spec


@pytest.mark.parametrize(
    ("traffic", "told"),
    [
        ({"path": None}, "path must name a request log"),
        (
            {"format": "katze"},
            "traffic.format must be one of requests, deliveries, decisions, gentd26, katz, vllm-omni",
        ),
        ({"constants": {"stps": 1.0}}, "constants must name one of steps"),
        ({"constants": {"steps": -1.0}}, "constants.steps must be from 1 to 100000, got -1"),
        ({"fit_part": [0.0, 0.01]}, "only 5 requests of traffic.fit_part have a measured time"),
        ({"part": [0.5, 0.5]}, "holds 0 of the log's 533 requests"),
    ],
)
def test_wrong_fields_of_a_log_are_refused(traffic, told):
    with pytest.raises(ConfigurationError, match=told):
        sample(**traffic)

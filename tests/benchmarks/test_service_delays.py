"""Delays over HTTP beside simulated ones: the same servers and requests for both, and honest verdicts."""

import contextlib

import numpy as np
import pandas as pd
import pytest

from benchmarks import service_delays
from benchmarks.service_clients import Answer
from benchmarks.service_delays import Run, bodies, http_ms, keys_of, row_of, setting_of
from benchmarks.service_verdicts import YARDSTICK, verdicts
from lad_rllib.api.wire import ImageRequest
from lad_rllib.edge.engines.emulated import EmulatedEngine
from lad_rllib.edge.fit import delay_line
from lad_rllib.fleet import load_fleet
from lad_rllib.service import tasks_of_requests


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.extended
def test_a_smoke_run_of_a_service_leaves_a_row_for_each_scheduler(tmp_path):
    assert service_delays.main(["--smoke", "--output", str(tmp_path)]) in (0, 1)
    rows = pd.read_csv(tmp_path / "service_delays.csv")
    assert rows["scheduler"].tolist() == [YARDSTICK, "any-fleet"] and rows["failed"].tolist() == [0, 0]
    assert (rows["mean_s"] > 0).all() and "| 0.7 | any-fleet |" in (tmp_path / "service_delays.md").read_text()


def test_servers_take_as_long_in_the_simulator_as_the_fleets_do():
    setting = setting_of(0.7, "fifo", 50)
    requests = setting.draw(np.random.default_rng(0))
    simulated_s = setting.world.service_s(requests)
    for index, server in enumerate(load_fleet(service_delays.FLEET).servers):
        engine = EmulatedEngine(server.profile)
        assert server.profile.jitter == setting.reference.spread(requests)[0]
        for number, task in enumerate(tasks_of_requests(requests, ["x"])):
            line = delay_line(server.profile.service, engine.describe().kind_of(task))
            emulated_s = line.overhead_s + line.per_step_s * task.denoising_steps
            assert simulated_s[number, index] == pytest.approx(emulated_s)


def test_clients_ask_for_what_the_simulated_requests_are():
    requests = setting_of(0.7, "fifo", 20).draw(np.random.default_rng(0))
    asked = [ImageRequest.model_validate(body) for body in bodies(requests)]
    assert [one.num_inference_steps for one in asked] == requests.steps.tolist()
    assert [one.size for one in asked] == [f"{w}x{h}" for w, h in zip(requests.width, requests.height, strict=True)]


def played(scheduler, scale, late_ms=1.0, shadow=1.0, busy=0.4, episode=0):
    """A run at load 0.7 whose simulated delays are 1 to 100 s, and its measured ones so many times that."""
    delay_s = np.arange(1.0, 101.0)
    simulated_s = np.stack([delay_s, delay_s])
    return Run(0.7, episode, scheduler, scale * delay_s, simulated_s, late_ms, 10.0, busy, 0, shadow)


def test_what_was_sent_is_not_sent_again_by_a_resumed_run(monkeypatch, tmp_path):
    sent = []

    def measure(url, options, kept):
        for key in keys_of(options):
            if not kept.has(**key):
                if len(sent) == 3:
                    raise KeyboardInterrupt
                sent.append(key)
                figures = {"late_ms": 1.0, "http_ms": 10.0, "busy": 0.4, "failed": 0, "shadow": 1.0}
                kept.add(key | figures | {"delays_s": " ".join(["9.5"] * options.requests)})

    monkeypatch.setattr(service_delays, "serving", lambda *arguments: contextlib.nullcontext("no service"))
    monkeypatch.setattr(service_delays, "measure", measure)
    words = ["--smoke", "--episodes", "2", "--output", str(tmp_path)]
    assert service_delays.main(words) == 130 and not (tmp_path / "service_delays.md").exists()
    del sent[:2]
    assert service_delays.main([*words, "--resume"]) in (0, 1)
    rows = pd.read_csv(tmp_path / "service_delays.csv")
    assert [one["scheduler"] for one in sent] == ["any-fleet", YARDSTICK] and set(rows["requests"]) == {60}
    assert set(rows["mean_s"]) == {9.5}


def test_ratios_are_to_the_simulator_and_to_the_yardstick_over_all_episodes():
    runs = [played(name, scale, episode=k) for k in (0, 1) for name, scale in ((YARDSTICK, 1.1), ("p", 0.88))]
    row = row_of(runs, 0.7, "p")
    assert row["requests"] == 200 and row["over_simulated"] == pytest.approx(0.88)
    assert [row["mean_ratio"], row["p99_ratio"]] == pytest.approx([0.8, 0.8])
    assert [row["mean_low"], row["mean_high"]] == pytest.approx([0.8, 0.8])


def test_what_http_adds_is_the_clients_delay_less_the_dispatchers_and_the_time_before_it_was_sent():
    answers = [Answer(0, 200, 0.002, 0.5, {"delay_s": 9.0}), Answer(1, 503, 0.0, 9.0)]
    assert http_ms(answers, 0.05) == pytest.approx(48.0)
    assert np.isnan(http_ms(answers[1:], 0.05))


def test_a_goal_is_reached_or_missed():
    runs = [played(YARDSTICK, 1.12, shadow=1.02), played("p", 0.95, shadow=0.9)]
    found = verdicts([row_of(runs, 0.7, name) for name in (YARDSTICK, "p")], late_ms=25.0, busy=0.8)
    assert [line.partition(":")[0] for line in found] == [
        "missed",
        "reached",
        "reached",
        "missed",
        "reached",
        "reached",
    ]


@pytest.mark.parametrize("what", [{"late_ms": 80.0}, {"busy": 0.97}])
def test_rows_of_an_overloaded_machine_are_not_judged(what):
    found = verdicts([row_of([played(YARDSTICK, 1.0, **what)], 0.7, YARDSTICK)], late_ms=25.0, busy=0.8)
    assert len(found) == 1 and found[0].startswith("not judged")

"""The decision log: what stands in it, that a crash leaves whole files, and that it is traffic again."""

import threading

import numpy as np
import pandas as pd
import pytest
import yaml

from lad_rllib.edge import InvalidRequest, QueueFull
from lad_rllib.edge.record import TaskRecord
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.configuration import resolve
from lad_rllib.runs.options import TrainOptions
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.service import DecisionLog, Delivery, Dispatcher, RequestModel, serve, tasks_of_requests
from lad_rllib.simulator.requests import build_request_setting, read_log
from tests.service.fleets import WORK, emulated, network, tasks

RATES = (200.0, 400.0)
SETTING = {
    "servers": [
        {
            "name": f"s{index}",
            "service": {"kind": "linear", "per_step_s": 1 / rate, "pixel_exponent": 1.0, "guidance_factor": 1.0},
        }
        for index, rate in enumerate(RATES)
    ],
    "traffic": {
        "kind": "poisson",
        "load": 0.5,
        "mix": {"images": [{"steps": [1, 4], "width": 512, "height": 512}], "stations": 3},
    },
    "requests": 60,
}


def delivery(task_id="a", error=None, **others):
    [task] = tasks(1)
    record = TaskRecord(
        task_id=task_id, server="s0", seed=0, steps_asked=2, cold_start=False, predicted_delay_s=0.5, upload_s=0.0,
        waiting_s=0.25, load_s=0.0, per_step_s=0.5, computing_s=1.0, download_s=0.0, total_s=1.25, started=0.0,
        finished=0.0, width=768, height=512, steps_done=2, dtype="none",
    )  # fmt: skip
    own = {"record": None if error else record, "png": None if error else b"png!" * 250, "error": error}
    return Delivery(task, 0, "s0", 1, 1.3, **own | others)


def parts(folder):
    return sorted(folder.glob("*.parquet"))


def read(folder):
    return pd.concat([pd.read_parquet(part) for part in parts(folder)], ignore_index=True)


def test_a_row_says_what_was_asked_decided_and_measured(tmp_path):
    model = RequestModel(build_request_setting(SETTING).world)
    with DecisionLog(tmp_path, model=model) as log:
        log(delivery(arrival_s=12.0))
        log(delivery(arrival_s=15.0, error=QueueFull("no room")))
    served, failed = read(tmp_path).to_dict("records")
    assert (served["width"], served["height"], served["steps"], served["guided"]) == (768, 512, 2, 1)
    assert (served["server"], served["model"], served["outcome"]) == ("s0", "default", "served")
    assert served["predicted_service_s"] == pytest.approx(2 / RATES[0])
    assert (served["waiting_s"], served["computing_s"], served["result_mbit"]) == (0.25, 1.0, 0.008)
    assert served["dispatch_s"] == pytest.approx(0.05)
    assert failed["outcome"] == "queue_full" and np.isnan(failed["computing_s"]) and failed["width"] == 512
    assert failed["arrival_s"] - served["arrival_s"] == pytest.approx(3.0, abs=1e-5)
    assert (failed["arrived"] - served["arrived"]).total_seconds() == pytest.approx(3.0, abs=1e-5)


def test_times_of_a_fleet_that_runs_faster_are_its_own(tmp_path):
    with DecisionLog(tmp_path, time_scale=0.01) as log:
        log(delivery(arrival_s=1000.0))
        log(delivery(arrival_s=1500.0))
    first, second = read(tmp_path).to_dict("records")
    assert second["arrival_s"] - first["arrival_s"] == pytest.approx(500.0, abs=1e-3)
    assert (second["arrived"] - first["arrived"]).total_seconds() == pytest.approx(5.0, abs=1e-3)


@pytest.mark.parametrize("prompts", [False, True])
def test_prompts_are_written_only_where_that_is_wanted(tmp_path, prompts):
    with DecisionLog(tmp_path, prompts=prompts) as log:
        log(delivery())
    [part] = parts(tmp_path)
    assert (b"a red seven" in part.read_bytes()) == prompts


def test_what_was_flushed_survives_and_files_are_whole_at_any_time(tmp_path):
    log = DecisionLog(tmp_path, flush_s=3600, rows_per_part=8)
    for count in (3, 9, 20):
        while sum(len(pd.read_parquet(part)) for part in parts(tmp_path)) < count:
            log(delivery())
            log.flush()
    assert [len(pd.read_parquet(part)) for part in parts(tmp_path)] == [8, 8, 4]
    log.close()
    assert len(read(tmp_path)) == 20


def test_the_thread_writes_by_itself(tmp_path):
    with DecisionLog(tmp_path, flush_s=0.02) as log:
        log(delivery())
        written = threading.Event()
        for _ in range(1500):
            if parts(tmp_path) or written.wait(0.02):
                break
        assert len(read(tmp_path)) == 1


def test_the_latest_files_are_kept(tmp_path):
    with DecisionLog(tmp_path, rows_per_part=2, max_parts=3) as log:
        for index in range(20):
            log(delivery(arrival_s=float(index)))
            log.flush()
    kept = read(tmp_path)["arrival_s"]
    assert len(parts(tmp_path)) <= 3 and kept.max() - kept.min() < 6


def test_a_disk_that_takes_nothing_stops_nobody_and_rows_come_later(tmp_path, monkeypatch, caplog):
    def full(path, data):
        raise OSError(28, "No space left on device")

    log = DecisionLog(tmp_path, flush_s=3600, rows_per_part=2)
    with monkeypatch.context() as patch:
        patch.setattr("lad_rllib.durable.write_file", full)
        for index in range(40):
            log(delivery(arrival_s=float(index)))
        log.flush()
    assert log.rows_dropped == 8 and "No space left on device" in caplog.text
    log.close()
    assert len(read(tmp_path)) == 32


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot make the folder"):
        DecisionLog(tmp_path / "file" / "log")
    with pytest.raises(ConfigurationError, match="flush_s must be"):
        DecisionLog(tmp_path, flush_s=0)


def test_what_a_service_did_is_traffic_again(tmp_path):
    setting = build_request_setting(SETTING)
    requests = setting.draw(np.random.default_rng(0))
    asked = tasks_of_requests(requests, ["a cat"])
    model = RequestModel(setting.world, setting.history())
    servers = [emulated(f"s{index}", rate) for index, rate in enumerate(RATES)]
    scheduler = make_scheduler("least-work-left", one_by_one=True)
    with (
        DecisionLog(tmp_path, model=model, rows_per_part=25) as log,
        Dispatcher(servers, network(RATES), WORK, scheduler, seed=0, requests=model) as dispatcher,
    ):
        serve(dispatcher, [[task] for task in asked], on_delivery=log, starts_s=requests.arrival_s.tolist())
        log(delivery(error=InvalidRequest("no such model"), arrival_s=0.0))
    for server in servers:
        server.close()
    assert len(parts(tmp_path)) == 3
    read_again = read_log(tmp_path, "decisions")
    assert read_again.rows_read == 61 and read_again.not_used == {"outcome is invalid_request": 1}
    again = read_again.sent.requests
    assert again.steps.tolist() == requests.steps.tolist() and again.station.tolist() == requests.station.tolist()
    assert not again.guided.any() and again.models == ("default",)
    assert np.diff(again.arrival_s) == pytest.approx(np.diff(requests.arrival_s), abs=0.05)
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(SETTING | {"requests": 20}))
    where = {"setting": str(tmp_path / "fleet.yaml"), "arrivals": str(tmp_path)}
    options = TrainOptions(algorithm="lad-dispatch", load=0.7, **where)
    traffic = resolve(options)["setting"]["traffic"]
    assert (traffic["kind"], traffic["format"], traffic["load"]) == ("recorded", "decisions", 0.7)


def test_a_folder_without_a_log_is_one_line(tmp_path):
    with pytest.raises(ConfigurationError, match="holds no .parquet file"):
        read_log(tmp_path, "decisions")

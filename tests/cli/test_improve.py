"""``lad-rllib improve``: a shift of traffic and speeds in a simulated log, a bad policy, and the record."""

import contextlib
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import load, save

from experiments.improve_loop import AFTER, NAMES, SLOWER, LoopOptions, fleet_file, learn_before, world
from lad_rllib.algorithms.lad_dispatch import load_request_scheduler
from lad_rllib.cli import main
from lad_rllib.durable import SEAL
from lad_rllib.fleet import load_fleet
from lad_rllib.runs import improve as improving
from lad_rllib.runs.improve_options import ImproveOptions
from lad_rllib.runs.recalibration import measure_servers, read_decisions
from lad_rllib.runs.simulated_log import write_simulated_log
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.scheduling.judgement import Replayed
from lad_rllib.scheduling.request_scheduler import player
from lad_rllib.simulator.requests import build_request_setting, plain_requests
from tests.scheduling.test_judgement import replayed

REQUESTS = 700


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A fleet's file and the decision log of a service after a shift, decided by least work left."""
    folder = tmp_path_factory.mktemp("service")
    after = world(AFTER, SLOWER, 0.8, REQUESTS)
    play = player(make_scheduler("least-work-left", one_by_one=True), after.world, after.history())
    served = play(after.draw(np.random.default_rng(0)), np.random.default_rng(1))
    write_simulated_log(served, after, folder / "decisions")
    return ["--log", str(folder / "decisions"), "--fleet", fleet_file(folder / "five.yaml"), "--hours", "9999"]


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """Checkpoint of a policy that learned before the shift."""
    options = LoopOptions(iterations=2, hidden=8, requests=300)
    return learn_before(options, tmp_path_factory.mktemp("before"), 0)


@pytest.fixture
def bad(before, tmp_path):
    """The same, all weights turned round, and without the range of what it has seen, beyond which a rule decides."""
    folder = tmp_path / "bad" / "policy"
    folder.mkdir(parents=True)
    description = json.loads((before / "policy" / "policy.json").read_text())
    arrays = load((before / "policy" / "policy.safetensors").read_bytes())
    data = save({name: -5 * value for name, value in arrays.items() if name.startswith("networks.")})
    description["weights"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "policy.safetensors").write_bytes(data)
    (folder / "policy.json").write_text(json.dumps(description))
    assert not (folder.parent / SEAL).exists() and load_request_scheduler(folder.parent)
    return folder.parent


def improved(capsys, service, folder, *words):
    """Exit status and record."""
    status = main(["improve", *service, *words, "--output", str(folder / "improved"), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_a_record_a_setting_a_picture_and_a_policy_come_of_a_log(service, before, tmp_path, capsys):
    words = ["--checkpoint", str(before), "--iterations", "2", "--requests", "200", "--rounds", "2", "--episodes", "5"]
    status, record = improved(capsys, service, tmp_path, *words)
    assert status == {"better": 0, "heuristic": 0, "keep": 3}[record["verdict"]]
    assert record["log"]["rows"] == REQUESTS and record["log"]["windows"] == 10 and record["why"]
    folder = tmp_path / "improved"
    assert record == json.loads((folder / "improve.json").read_text())
    assert (folder / "improve.png").stat().st_size > 0
    page = (folder / "improve.md").read_text()
    assert "| new policy |" in page and "| present policy |" in page and "measured mean" in page
    rows = {row["scheduler"]: row for row in record["replay"]}
    assert rows["present policy"]["mean_ratio"] == 1.0 and {"least-work-left", "any-fleet"} < rows.keys()
    assert load_request_scheduler(folder / "training-1").actor.hidden_size == 8
    spec = yaml.safe_load((folder / "setting.yaml").read_text())
    assert spec["traffic"]["part"] == [0.0, 0.7] and build_request_setting(spec).num_requests == 200
    assert main(["improve", *service, *words, "--output", str(folder)]) == 2
    assert "holds an improvement already" in capsys.readouterr().err


def trained_in_no_time(monkeypatch, checkpoint):
    monkeypatch.setattr(improving, "_train", lambda *arguments: checkpoint)


def test_servers_are_as_slow_as_they_were_measured(service, before, tmp_path, capsys, monkeypatch):
    trained_in_no_time(monkeypatch, before)
    _, record = improved(capsys, service, tmp_path)
    assert [server["name"] for server in record["servers"]] == list(NAMES)
    spec = {name: record["servers"][index]["service"] for index, name in enumerate(NAMES)}
    fitted = build_request_setting(
        {
            "servers": [{"name": name, "service": {"kind": "fitted", **spec[name]}} for name in NAMES],
            "traffic": {"kind": "poisson", "rate_per_s": 1.0},
        }
    )
    true = world(AFTER, SLOWER, 0.8, REQUESTS)
    requests = plain_requests(
        np.zeros(3), np.array([6.0, 20.0, 40.0]), width=[512, 1024, 1024], height=[512, 1024, 1024]
    )
    ratio = fitted.world.service_s(requests) / true.world.service_s(requests)
    assert ratio == pytest.approx(np.ones((3, 5)), rel=0.25)
    assert record["model"]["replayed_mean_s"] == pytest.approx(record["model"]["measured_mean_s"], rel=0.5)


def test_a_bad_policy_is_never_recommended(service, bad, tmp_path, capsys, monkeypatch):
    trained_in_no_time(monkeypatch, bad)
    status, record = improved(capsys, service, tmp_path)
    assert (status, record["verdict"], record["recommended"]) == (3, "keep", None)
    assert record["replay"][0]["mean_ratio"] > 1 and any("new policy: mean" in reason for reason in record["why"])


@pytest.mark.parametrize(("tail", "verdict", "why"), [(1.0, "better", "no worse than"), (2.0, "keep", "p99")])
def test_what_is_better_in_the_log_must_be_so_in_busier_hours(tail, verdict, why, monkeypatch):
    def fares(name, tail=1.0):
        one = replayed(name, 0.8 if name == improving.NEW else 1.0, tail)
        return Replayed(name, one.windows_s * 4)

    def again(name, *arguments, busier, **more):
        return fares(name, tail if name == improving.NEW and busier == improving.BUSIER else 1.0)

    monkeypatch.setattr(improving, "replay", lambda name, *arguments: fares(name))
    monkeypatch.setattr(improving, "replay_resampled", again)
    monkeypatch.setattr(improving.Contest, "_percentile_in_training_s", lambda contest, scheduler: 1.0)
    setting = build_request_setting({"servers": [1.0], "requests": 2, "traffic": {"kind": "poisson", "load": 0.5}})
    contest = improving.Contest(setting, range(400), ImproveOptions(), ("old", None))
    assert contest.training.load == pytest.approx(0.55)
    found, reasons, episodes = contest.verdict(None)
    assert (found, episodes) == (verdict, 20) and all(why in reason for reason in reasons)
    is_of_busy_hours = [reason.startswith("with 1.1 times the traffic, ") for reason in reasons]
    assert is_of_busy_hours == ([False] if verdict == "better" else [True, True])


@contextlib.contextmanager
def listening(answers):
    """Something that answers as a service; gives its address and what it was told."""
    told = []

    class Service(BaseHTTPRequestHandler):
        def answer(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            told.append((self.command, self.path, self.headers["Authorization"], body))
            answer = json.dumps(answers.get(self.path, body)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_PUT = do_POST = answer

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_bad_policy_that_decides_at_present_is_left_for_the_heuristic_and_the_service_is_told(
    service, bad, tmp_path, capsys, monkeypatch
):
    trained_in_no_time(monkeypatch, bad)
    monkeypatch.setenv("LAD_RLLIB_API_KEY", "s3cret")
    with listening({}) as (url, told):
        status, record = improved(capsys, service, tmp_path, "--checkpoint", str(bad), "--swap", url)
    assert (status, record["verdict"], record["recommended"], record["swapped"]) == (
        0,
        "heuristic",
        *["least-work-left"] * 2,
    )
    assert told == [("PUT", "/v1/fleet/policy", "Bearer s3cret", {"policy": "least-work-left"})]


def test_a_service_says_its_fleet_and_who_decides_and_tries_what_is_recommended(
    service, bad, tmp_path, capsys, monkeypatch
):
    trained_in_no_time(monkeypatch, bad)
    fleet = load_fleet(service[3]).to_dict()
    words = [*service[:2], *service[4:]]
    with listening({"/v1/fleet/file": fleet, "/v1/fleet/policies": {"policy": str(bad)}}) as (url, told):
        status, record = improved(capsys, words, tmp_path, "--serve", url)
    assert (status, record["present"], record["recommended"]) == (0, str(bad), "least-work-left")
    method, path, _, asked = told[-1]
    assert (method, path, asked["policy"]) == ("POST", "/v1/fleet/trial", "least-work-left")
    assert asked["why"].startswith("heuristic: ")
    answers = {"/v1/fleet/file": fleet, "/v1/fleet/policies": {"policy": "least-work-left"}}
    with listening(answers) as (url, told):
        status, record = improved(capsys, words, tmp_path, "--serve", url, "--overwrite")
    assert (status, record["present"], told[-1][-1]["policy"]) == (3, "least-work-left", None)
    assert told[-1][-1]["why"].startswith("keep: ")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--swap", "http://127.0.0.1:1", "--serve", "http://127.0.0.1:1"], "contradict each other"),
        (["--serve", "http://127.0.0.1:1"], "no service answers at http://127.0.0.1:1"),
        (["--log", "nowhere"], "cannot be read"),
        (["--fleet", "jetson"], "no image of the log is of a server of fleet jetson"),
        (["--held-out", "0.01"], "7 of them held out, and a verdict takes 100"),
        (["--scheduler", "greedy-oracle"], "scheduler greedy-oracle decides slot by slot"),
        (["--scheduler", "fastest"], "unknown scheduler 'fastest'"),
        (["--checkpoint", "nowhere"], "there is no checkpoint nowhere"),
    ],
)
def test_what_cannot_be_improved_is_one_line(service, words, told, tmp_path, capsys):
    assert main(["improve", *service, *words, "--output", str(tmp_path / "improved")]) == 2
    said = capsys.readouterr().err.strip()
    assert told in said and "\n" not in said


def test_a_server_of_few_images_takes_the_model_of_all_at_its_own_speed(service, tmp_path):
    rows = read_decisions(service[1], 9999.0)
    few = rows[(rows["server"] != "b") | (rows[rows["server"] == "b"].groupby("server").cumcount() < 8)]
    few.loc[few["server"] == "b", "drawing_s"] *= 2
    few.to_parquet(tmp_path / "few.parquet", index=False)
    servers = {one.name: one for one in measure_servers(tmp_path / "few.parquet", few, load_fleet(service[3]), 256)}
    assert servers["b"].images == 8 and servers["c"].images > 20
    request = plain_requests(np.zeros(1), 6.0)
    slow, own = (servers[name].service.seconds(request)[0] for name in ("b", "c"))
    assert slow == pytest.approx(2 * 0.8, rel=0.3) and own == pytest.approx(1.6, rel=0.25)
    assert pd.notna(servers["b"].over_predicted)

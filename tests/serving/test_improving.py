"""``lad-rllib serve --improve-every``: from the decision log to another policy in charge, without a hand on it."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys

import httpx
import pandas as pd
import psutil
import pytest
import yaml

from lad_rllib.cli import main
from lad_rllib.runs.service_client import ServiceClient
from tests.service.fleets import until
from tests.serving.running import Load, entry, free_port

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.serial]  # improving gets what others leave

SLOW = {"overhead_s": 0.1, "per_step_s": 0.02}
AMOUNTS = {"iterations": 1, "rounds": 1, "requests": 200, "episodes": 5}
API = {"shadow_requests": 60, "canary_requests": 40, "canary_share": 0.5, "look_s": 0.3}
LOGGED, PATIENCE_S = 380, 400


def written(path, content):
    """A YAML file."""
    path.write_text(yaml.safe_dump(content))
    return str(path)


def rows_of(folder):
    """The rows of a decision log so far."""
    files = sorted(folder.glob("*.parquet"))
    return pd.concat([pd.read_parquet(file) for file in files]) if files else pd.DataFrame()


def processes_of(parent):
    """Processes of `lad-rllib improve` below one."""
    found = []
    for one in psutil.Process(parent).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended
            found += [one] * ("improve" in one.cmdline())
    return found


def is_tried(client, parent):
    """Whether a policy is tried; until then an improvement gets time beside other programs, too, where one may say so.

    It takes what nobody else wants, which on a busy machine is nothing.
    """
    for process in processes_of(parent):
        with contextlib.suppress(OSError, psutil.Error):
            os.sched_setscheduler(process.pid, os.SCHED_OTHER, os.sched_param(0))
            process.nice(0)
    return client.policies()["trial"] is not None


@pytest.fixture
def serving(tmp_path):
    """A service of five servers, one of them slow, whose present scheduler heeds nothing; process, address, output."""
    servers = [entry(name) for name in "abcd"] + [entry("slow", profile=SLOW)]
    decisions, port = tmp_path / "decisions", free_port()
    words = ["--fleet", written(tmp_path / "fleet.yaml", {"name": "five", "servers": servers})]
    words += ["--scheduler", "random", "--decisions", str(decisions), "--improve-every", "4s"]
    words += ["--improve-settings", written(tmp_path / "improve.yaml", AMOUNTS), "--go-back-after", "1h"]
    words += ["--api-settings", written(tmp_path / "api.yaml", API), "--port", str(port)]
    with (tmp_path / "said").open("w+") as said:
        command = [sys.executable, "-m", "lad_rllib.cli", "serve", *words]
        running = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            until(lambda: "Ctrl-C" in (tmp_path / "said").read_text() or running.poll() is not None, PATIENCE_S)
            assert running.poll() is None, (tmp_path / "said").read_text()
            yield running, f"http://127.0.0.1:{port}", tmp_path
        finally:
            if running.poll() is None:
                children = psutil.Process(running.pid).children(recursive=True)
                for process in (running, *children):
                    process.kill()
                running.wait()


@pytest.mark.extended
def test_a_service_learns_from_its_log_tries_what_it_learned_and_puts_it_in_charge(serving, capsys):
    running, url, folder = serving
    client, decisions = ServiceClient(url), folder / "decisions"
    with Load(url, clients=12) as load:
        until(lambda: len(load.answers) > LOGGED, PATIENCE_S)
    until(lambda: is_tried(client, running.pid), PATIENCE_S)  # recalibrated, trained, judged, recommended
    tried = client.policies()["trial"]["policy"]
    with Load(url, clients=12) as load:
        until(lambda: client.policies()["policy"] == tried, PATIENCE_S)
    assert set(load.answers) == {200}
    events = [record["event"] for record in client.policies()["records"] if record["event"] not in ("worse", "kept")]
    assert events[:4] == ["began", "shadow", "canary", "swapped"]

    # What a person reads: the command, the file of records, the page of the improvement, and what was printed.
    assert main(["serve", "history", "--url", url]) == 0
    assert "swapped" in capsys.readouterr().out
    records = [json.loads(line) for line in (decisions / "policies.jsonl").read_text().splitlines()]
    shadow, swapped = (next(one for one in records if one["event"] == event) for event in ("shadow", "swapped"))
    assert shadow["policy"] == swapped["policy"] == tried and swapped["previous"] == "random"
    assert swapped["figures"]["ratios"]["random"]["mean_high"] < 1 and "not surely worse" in swapped["why"]
    improvement = next((decisions / "improvements").glob("*/improve.json")).parent
    record = json.loads((improvement / "improve.json").read_text())
    assert record["verdict"] in ("better", "heuristic") and shadow["why"].startswith(record["verdict"])
    assert record["recommended"] == tried and record["present"] == "random" and record["training"]["iterations"] == 1
    slow, *others = sorted(record["servers"], key=lambda one: -one["service"]["intercept"])
    assert slow["name"] == "slow" and len(others) == 4
    assert "| random |" in (improvement / "improve.md").read_text()
    assert re.search(rf"improve: {record['verdict']} ", (folder / "said").read_text())

    # The decision log says who decided each request, the new policy at first for its share alone.
    until(lambda: tried in set(rows_of(decisions)["policy"][-20:]), 30)
    by = rows_of(decisions)["policy"].tolist()
    first, last = by.index(tried), len(by) - by[::-1].index("random") - 1
    assert first >= LOGGED and 0.25 < by[first:last].count(tried) / len(by[first:last]) < 0.75

    # The end of the service ends the improvement that goes on.
    until(lambda: processes_of(running.pid), PATIENCE_S)
    improving = processes_of(running.pid)
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 130
    until(lambda: not [one for one in improving if one.is_running() and one.status() != "zombie"], 30)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz")

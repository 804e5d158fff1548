"""A service on Ray Serve: images over HTTP while servers come, go and die, policies change, and the ingress is lost."""

import contextlib
import json
import os
import signal
from collections import Counter
from pathlib import Path

import httpx
import pytest
import ray
from ray.serve import schema
from ray.serve._private.constants import DEFAULT_TRACING_EXPORTER_IMPORT_PATH

from lad_rllib.api import ApiSettings
from lad_rllib.cli import main
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import load_fleet
from lad_rllib.runs.service_client import ServiceClient
from lad_rllib.serving import Service, ServiceFiles, named_policy
from tests.service.fleets import until
from tests.serving.running import Load, entry, free_port, replicas_of, servers_of

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def service(ray_cluster, tmp_path_factory):
    """A service over two servers, with a log; its folder."""
    folder = tmp_path_factory.mktemp("service")
    spec = load_fleet({"name": "quick", "servers": [entry("a"), entry("b")]})
    files = ServiceFiles(log=str(folder / "log.jsonl"), decisions=str(folder / "decisions"))
    policy, said, settings = "least-work-left", [], ApiSettings(policies_file=str(folder / "policies.jsonl"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH", DEFAULT_TRACING_EXPORTER_IMPORT_PATH)
        patch.setattr(schema, "RAY_SERVE_TRACING_SAMPLING_RATIO", 1.0)
        running = Service(spec, policy, named_policy(policy), settings, files=files, port=free_port(), say=said.append)
    with running:
        running.folder, running.said = folder, said
        yield running


def process_of(server):
    """Id of a server's process."""
    return ray.get(server.client.actor.__ray_call__.remote(lambda actor: os.getpid()))


def test_an_image_comes_over_http_and_its_request_is_logged(service):
    answer = httpx.post(f"{service.url}/v1/images/generations", json={"prompt": "a red seven"}, timeout=60)
    assert answer.status_code == 200 and answer.json()["data"][0]["b64_json"]
    until(lambda: "request ended" in (service.folder / "log.jsonl").read_text())
    lines = [json.loads(line) for line in (service.folder / "log.jsonl").read_text().splitlines()]
    ended = next(line for line in lines if line["message"] == "request ended")
    assert ended["server"] in "ab" and ended["error"] is None and ended["delay_s"] > 0.05
    assert ended["request_id"] == answer.headers["x-request-id"]
    until(lambda: list((service.folder / "decisions").glob("*.parquet")))


def test_a_start_says_how_its_servers_are(service):
    assert service.said[0] == "starting the servers of fleet quick, and Ray Serve"
    states = [line for line in service.said if line.startswith(("a", "b"))]
    assert states[0] == "a, b: placed" and states[-1].endswith("ready (2 of 2)")
    assert service.said[-1] == "the servers are there; the HTTP API starts"


def test_spans_of_a_request_are_in_the_trace_of_serve(service):
    headers = {"x-request-id": "traced"}
    httpx.post(f"{service.url}/v1/images/generations", json={"prompt": "x"}, headers=headers, timeout=60)
    folder = Path(ray._private.worker.global_worker.node.get_logs_dir_path()) / "serve" / "spans"

    def spans():
        texts = [file.read_text() for file in folder.glob("*ingress*")]
        return [span for text in texts for span in concatenated(text)]

    until(lambda: any(span["attributes"].get("lad.request_id") == "traced" for span in spans()))
    [whole] = [span for span in spans() if span["attributes"].get("lad.request_id") == "traced"]
    parts = {span["name"]: span for span in spans() if span["parent_id"] == whole["context"]["span_id"]}
    assert parts.keys() == {"admission", "decision", "wait", "service"}
    above = [span["name"] for span in spans() if span["context"]["span_id"] == whole["parent_id"]]
    assert above and above[0] != "image request"


def concatenated(text):
    """The JSON objects of a text, one after the other."""
    decoder, found = json.JSONDecoder(), []
    while text := text.lstrip():
        try:
            one, end = decoder.raw_decode(text)
        except ValueError:  # it is being written
            break
        found.append(one)
        text = text[end:]
    return found


def test_servers_join_drain_and_leave_and_policies_are_swapped_under_load(service, tmp_path, capsys):
    client, url = ServiceClient(service.url), ["--url", service.url]
    more = tmp_path / "more.yaml"
    more.write_text(json.dumps({"servers": [entry("c")]}))
    with Load(service.url) as load:
        assert main(["serve", "add", str(more), *url]) == 0
        assert servers_of(client) == {"a": "up", "b": "up", "c": "up"}
        assert main(["serve", "swap", "join-shortest-queue", *url]) == 0
        assert main(["serve", "drain", "a", *url]) == 0
        assert main(["serve", "status", *url]) == 1
        assert servers_of(client)["a"] == "draining" and client.fleet()["policy"] == "join-shortest-queue"
        assert main(["serve", "remove", "a", *url]) == 0
        assert main(["serve", "remove", "b", *url]) == 0
        assert servers_of(client) == {"c": "up"}
    assert set(load.answers) == {200}
    assert "join-shortest-queue decides" in capsys.readouterr().out


def test_no_request_fails_when_a_server_is_killed(service):
    client = ServiceClient(service.url)
    client.add(entry("d", max_restarts=2))
    state = ray.get(ray.get_actor("service", namespace="lad_rllib").state.remote())
    victim = process_of(next(server for server in state.servers if server.name == "d"))
    with Load(service.url) as load:
        os.kill(victim, signal.SIGKILL)
        until(lambda: servers_of(client)["d"] == "down")
        until(lambda: servers_of(client)["d"] == "up", 60)
    assert Counter(load.answers).keys() == {200}


def test_an_ingress_that_is_killed_is_back_with_its_fleet_and_its_policy_and_a_trial_is_over(service, capsys):
    client, url = ServiceClient(service.url), ["--url", service.url]
    assert main(["serve", "try", "round-robin", *url]) == 0
    main(["serve", "status", *url])
    assert "tried: round-robin, shadow" in capsys.readouterr().out
    client.drain("c")
    before = client.fleet()
    [killed] = replicas_of("lad_rllib")
    os.kill(killed, signal.SIGKILL)
    until(lambda: replicas_of("lad_rllib") - {killed}, 60)

    def is_back():
        with contextlib.suppress(ConfigurationError):
            return client.fleet()["policy"] == before["policy"]

    until(is_back, 60)
    assert servers_of(client) == {server["name"]: server["state"] for server in before["servers"]}  # one drains
    policies = client.policies()
    assert policies["trial"] is None and policies["shares"] == {before["policy"]: 1.0}
    assert [record["event"] for record in policies["records"][-3:]] == ["shadow", "stopped", "began"]
    assert client.fleet_file()["servers"][0]["name"] in servers_of(client)
    assert main(["serve", "history", *url]) == 0 and "round-robin" in capsys.readouterr().out
    assert httpx.post(f"{service.url}/v1/images/generations", json={"prompt": "x"}, timeout=60).status_code == 200


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (["drain", "nobody"], "nobody"),
        (["remove", "nobody"], "nobody"),
        (["swap", "nothing"], "no policy 'nothing'"),
        (["drain"], "NAME is missing"),
    ],
)
def test_mistakes_are_one_line(service, action, message, capsys):
    assert main(["serve", *action, "--url", service.url]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_a_cluster_has_one_service_and_a_port_one_listener(service):
    spec, policy = load_fleet("emulated"), named_policy("least-work-left")
    with pytest.raises(ConfigurationError, match="runs on this Ray cluster already"):
        Service(spec, "least-work-left", policy, ApiSettings(), port=free_port())
    taken = int(service.url.rpartition(":")[2])
    with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1, port {taken}"):
        Service(spec, "least-work-left", policy, ApiSettings(), port=taken)


def test_other_machines_are_let_in_with_keys_alone(capsys):
    assert main(["serve", "--host", "0.0.0.0"]) == 2
    assert "give --keys" in capsys.readouterr().err

"""A service whose edge servers are applications of Serve: they join, leave and die without the others' notice."""

import json
import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import ray
from ray import cloudpickle, serve

from lad_rllib.api import ApiSettings
from lad_rllib.cli import main
from lad_rllib.edge import ImageTask, InvalidRequest, ServerUnavailable, TaskCancelled
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import Fleet, load_fleet
from lad_rllib.runs.service_client import ServiceClient
from lad_rllib.serving import Service, named_policy
from lad_rllib.serving.applications import PREFIX, ApplicationHost
from tests.service.fleets import until
from tests.serving.running import Load, entry, free_port, replicas_of, servers_of

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

POLICY = "least-work-left"


@pytest.fixture(scope="module")
def service(ray_cluster):
    """A service over two servers; nothing of it is left after it."""
    spec = load_fleet({"name": "apps", "servers": [entry("a"), entry("b", resources={"node:__internal_head__": 0.01})]})
    with Service(
        spec, POLICY, named_policy(POLICY), ApiSettings(), port=free_port(), servers="applications"
    ) as running:
        yield running
    assert not any(replicas_of(PREFIX + name) for name in "abc")


def client_of(service, name):
    """A client of one of the service's servers, with time for a busy machine."""
    client = next(server.client for server in service.state.servers if server.name == name)
    client = cloudpickle.loads(cloudpickle.dumps(client))
    client.control_timeout_s = 30.0
    return client


def test_each_server_is_an_application_with_its_own_resources_and_no_route(service):
    applications = serve.status().applications
    assert {"lad_rllib", f"{PREFIX}a", f"{PREFIX}b"} <= applications.keys()
    assert ray.available_resources()["node:__internal_head__"] == pytest.approx(0.99, abs=0.002)
    assert httpx.get(f"{service.url}/{PREFIX}a").status_code == 404
    assert len({client_of(service, name).status().since for name in "ab"}) == 2


def test_tasks_are_served_in_order_with_progress_and_are_cancelled(service):
    server = client_of(service, "a")
    futures = [server.submit(ImageTask(f"t{number:02}", "x", 2)) for number in range(30)]
    records = [future.result(60).record for future in futures]
    assert [one.task_id for one in sorted(records, key=lambda one: one.started)] == [one.task_id for one in records]
    long = server.submit(ImageTask("long", "x", 100))
    until(lambda: server.progress("long").step >= 1)
    assert type(server.submit(ImageTask("long", "x", 1)).exception(30)) is InvalidRequest
    assert server.progress("long").steps == 100 and server.cancel("long")
    assert type(long.exception(30)) is TaskCancelled
    call = server.call("serve", "a client", 0, ImageTask("call", "x", 100))
    until(lambda: server.progress("call").step >= 1)
    call.cancel()
    until(lambda: server.progress("call").state == "failed")
    assert server.health().healthy and server.node() == ray.nodes()[0]["NodeID"]
    server.disconnect()


def test_servers_join_and_leave_under_load_and_the_others_go_on(service, tmp_path):
    client, url = ServiceClient(service.url), ["--url", service.url]
    more = tmp_path / "more.yaml"
    more.write_text(json.dumps({"servers": [entry("c")]}))
    before = replicas_of(f"{PREFIX}a") | replicas_of(f"{PREFIX}b")
    with Load(service.url) as load:
        assert main(["serve", "add", str(more), *url]) == 0
        until(lambda: servers_of(client) == {"a": "up", "b": "up", "c": "up"})
        assert main(["serve", "drain", "c", *url]) == 0
        assert main(["serve", "remove", "c", *url]) == 0
    assert set(load.answers) == {200}
    assert before == replicas_of(f"{PREFIX}a") | replicas_of(f"{PREFIX}b")
    assert f"{PREFIX}c" not in serve.status().applications


def test_no_request_fails_when_a_server_is_killed_and_serve_brings_it_back(service):
    client = ServiceClient(service.url)
    [killed] = replicas_of(f"{PREFIX}b")
    with Load(service.url) as load:
        os.kill(killed, signal.SIGKILL)
        until(lambda: servers_of(client)["b"] == "down")
        until(lambda: servers_of(client)["b"] == "up", 60)
    assert Counter(load.answers).keys() == {200}
    assert replicas_of(f"{PREFIX}b") - {killed}


def test_a_server_that_waited_for_its_process_refuses_what_was_meant_for_the_one_before(service):
    server = client_of(service, "b")
    assert server.health().healthy
    [killed] = replicas_of(f"{PREFIX}b")
    os.kill(killed, signal.SIGKILL)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(lambda: server.submit(ImageTask("late", "x", 1)).exception(60))
        assert type(late.result(60)) is ServerUnavailable
    until(lambda: server.health().healthy, 60)
    assert server.generate(ImageTask("again", "x", 1)).record.task_id == "again"


def test_what_cannot_be_started_is_named_and_nothing_is_left_of_it(service, tmp_path):
    broken = {"name": "broken", "kind": "diffusers", "model": str(tmp_path), "device": "cpu", "num_cpus": 0.5}
    with pytest.raises(
        ConfigurationError, match=f"server broken: {tmp_path} is not the folder of .*no model_index.json"
    ):
        ServiceClient(service.url).add(broken)
    assert f"{PREFIX}broken" not in serve.status().applications
    nowhere = {"name": "n", "placement_timeout_s": 0.3, "servers": [entry("x", labels={"region": "nowhere"})]}
    with pytest.raises(ConfigurationError, match="server x: no node offers label region: nowhere"):
        Fleet.start(nowhere, host=ApplicationHost())
    with pytest.raises(ConfigurationError, match="strict_pack is not for applications"):
        Fleet.start({"name": "s", "placement": "strict_pack", "servers": [entry("x")]}, host=ApplicationHost())

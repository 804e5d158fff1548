"""A fleet of Ray actors: placed, shared, found again, ended; and one line when that cannot be."""

import json
import os
import time

import pytest
import ray

from lad_rllib.cli import main
from lad_rllib.edge import ImageTask, ModelLoadFailed, RemoteEdgeServer
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import EmulatedServer, Fleet, load_fleet
from lad_rllib.fleet.fleet import end_shared

pytestmark = pytest.mark.cluster

QUICK = {"overhead_s": 0.02, "per_step_s": 0.01, "width": 64, "height": 64}
HEAD = "node:__internal_head__"
"""A custom resource that Ray gives to the first node of every cluster."""


def entry(name, **others):
    """A small emulated server."""
    return {"name": name, "kind": "emulated", "profile": QUICK, **others}


def fleet(name, *servers, **others):
    """A fleet that does not wait long for nodes."""
    return {"name": name, "placement_timeout_s": 2.0, "servers": list(servers), **others}


def pid_of(server):
    """Process of an actor."""
    return ray.get(server.actor.__ray_call__.remote(lambda actor: os.getpid()))


def wait_for(condition, limit_s=60):
    """Until it holds."""
    limit = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def reserved_cpus():
    """CPUs that are reserved."""
    return ray.cluster_resources()["CPU"] - ray.available_resources().get("CPU", 0.0)


@pytest.fixture
def nothing_is_left(ray_cluster):
    """What a test reserves is free again after it."""
    before = reserved_cpus()
    yield
    wait_for(lambda: reserved_cpus() <= before + 1e-6)


@pytest.mark.serial  # compares times on the wall clock
def test_servers_run_where_resources_and_labels_say_and_end_with_the_fleet(nothing_is_left):
    node = ray.nodes()[0]["NodeID"]
    servers = [entry("a", resources={HEAD: 0.01}), entry("b", labels={"ray.io/node-id": node}), entry("c")]
    seen = []
    with Fleet.start(fleet("f1", *servers, time_scale=0.5), report=lambda *state: seen.append(state)) as running:
        assert [type(server) for server in running.servers] == [RemoteEdgeServer] * 3
        assert {server.control_timeout_s for server in running.servers} == {0.7}
        assert {name for name, state in seen if state == "ready"} == {"a", "b", "c"}
        assert ray.available_resources()[HEAD] == pytest.approx(1 - 0.01)
        record = running.servers[0].generate(ImageTask("t", "a red seven", 4)).record
        assert record.server == "a" and record.computing_s == pytest.approx(0.06, rel=0.5)
        fits = running.profile(step_counts=(1, 4, 8), repeats=1)
        assert [fit.num_points for fit in fits] == [3, 3, 3]
        pids = [pid_of(server) for server in running.servers]
    wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
    running.close()


def test_an_emulated_server_loads_neither_torch_nor_diffusers(nothing_is_left):
    heavy = ("torch", "diffusers", "transformers", "gymnasium")
    with Fleet.start(fleet("f2", entry("a"))) as running:
        running.servers[0].generate(ImageTask("t", "a red seven", 1))
        actor = running.servers[0].actor
        loaded = ray.get(actor.__ray_call__.remote(lambda self: sorted(set(heavy) & set(__import__("sys").modules))))
    assert loaded == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"resources": {"edge-nowhere": 1}}, "no node offers edge-nowhere 1"),
        ({"labels": {"region": "nowhere"}}, "no node offers label region: nowhere"),
        ({"num_gpus": 1}, "no node offers GPU 1"),
        ({"num_cpus": 1000}, "no node offers CPU 1000"),
        ({"resources": {HEAD: 0.6}, "labels": {"region": "nowhere"}}, "no node offers label region: nowhere"),
    ],
)
def test_a_server_that_no_node_can_take_is_named_with_what_is_missing(nothing_is_left, change, words):
    spec = fleet("f3", entry("good"), entry("bad", **change), placement_timeout_s=0.3)
    begin = time.monotonic()
    with pytest.raises(ConfigurationError) as caught:
        Fleet.start(spec)
    assert time.monotonic() - begin < 10
    assert str(caught.value) == f"fleet f3, server bad: {words} (after 0.3 s)"


def test_servers_that_fit_alone_but_not_together_are_told_so(nothing_is_left):
    spec = fleet("f4", entry("a", resources={HEAD: 0.6}), entry("b", resources={HEAD: 0.6}), placement_timeout_s=0.3)
    with pytest.raises(ConfigurationError, match=rf"no room for [ab] .*{HEAD} 0.6 \(free: 0.4\)"):
        Fleet.start(spec)
    spread = fleet("f5", entry("a", count=2), placement="strict_spread", placement_timeout_s=0.3)
    with pytest.raises(ConfigurationError, match="strict_spread needs 2 nodes for a-0, a-1, Ray has 1"):
        Fleet.start(spread)


def test_a_server_that_cannot_load_its_model_ends_the_whole_start(nothing_is_left, tmp_path):
    broken = {"name": "broken", "kind": "diffusers", "model": str(tmp_path), "device": "cpu", "num_cpus": 0.5}
    with pytest.raises(ModelLoadFailed, match="fleet f6, server broken: .*no model_index.json") as caught:
        Fleet.start(fleet("f6", entry("good"), broken), timeout_s=120)
    assert caught.value.server == "broken"


def test_a_server_whose_process_is_lost_for_good_ends_the_start(nothing_is_left, monkeypatch):
    monkeypatch.setattr(EmulatedServer, "make_engine", property(lambda server: lambda time_scale: os._exit(1)))
    with pytest.raises(Exception, match="a does not answer") as caught:
        Fleet.start(fleet("f7", entry("a", max_restarts=0)), timeout_s=60)
    assert caught.value.name == "server_unavailable"


def test_a_shared_fleet_is_found_by_others_and_outlives_them(nothing_is_left):
    spec = load_fleet(fleet("f8", entry("a", count=2)))
    owner = Fleet.start(spec, shared=True)
    try:
        with Fleet.attach(spec.to_dict()) as guest:
            assert [server.name for server in guest.servers] == ["a-0", "a-1"]
            guest.wait_until_ready(10)
            assert guest.servers[0].generate(ImageTask("t", "a red seven", 1)).record.server == "a-0"
        assert owner.servers[0].status().tasks_served == 1
        with pytest.raises(ConfigurationError, match="f8 runs already: server a-0"):
            Fleet.start(spec, shared=True)
        changed = {**spec.to_dict(), "time_scale": 0.5}
        with pytest.raises(ConfigurationError, match="f8 runs, but was started from another description"):
            Fleet.attach(changed)
    finally:
        owner.close()
    with pytest.raises(ConfigurationError, match="f8 does not run here: no server a-0"):
        Fleet.attach(spec)


def test_a_shared_fleet_of_which_a_server_is_lost_can_still_be_ended(nothing_is_left):
    spec = load_fleet(fleet("f9", entry("a", count=2)))
    owner = Fleet.start(spec, shared=True)
    ray.kill(owner.servers[0].actor)
    wait_for(lambda: "server a-0" in attach_error(spec))
    assert end_shared(spec) == ["a-1"] and end_shared(spec) == []


def attach_error(spec):
    """Why attaching fails, or None."""
    try:
        Fleet.attach(spec)
    except ConfigurationError as error:
        return str(error)
    return ""


def test_the_command_starts_shows_and_ends_a_fleet(nothing_is_left, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    file = tmp_path / "small.json"
    file.write_text('{"servers": [{"name": "a", "kind": "emulated", "profile": "digits-cpu", "count": 2}]}')
    assert main(["fleet", "status", str(file)]) == 1
    assert capsys.readouterr().out.count("not running") == 2  # once for each server
    assert main(["fleet", "up", str(file)]) == 0
    out = capsys.readouterr().out
    assert "a-1: ready" in out and "fleet small is up: 2 servers" in out
    assert main(["fleet", "up", str(file)]) == 2 and "small runs already" in capsys.readouterr().err
    assert main(["fleet", "status", str(file)]) == 0
    assert capsys.readouterr().out.count("healthy") == 2
    assert main(["fleet", "status", str(file), "--json"]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert [(server["server"], server["tasks_queued"], server["queue_limit"]) for server in seen] == [
        ("a-0", 0, 64),
        ("a-1", 0, 64),
    ]
    assert main(["fleet", "list"]) == 0 and "those that run: small (2 servers)" in capsys.readouterr().out
    assert main(["fleet", "down", str(file)]) == 0 and "ended a-0, a-1" in capsys.readouterr().out
    assert main(["fleet", "down", str(file)]) == 2 and "does not run here" in capsys.readouterr().err

"""A fleet in this process, without Ray."""

import threading
import time

import pytest

from lad_rllib.edge import EdgeServer, ImageTask, ModelLoadFailed, ServerUnavailable
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import Fleet

pytestmark = pytest.mark.serial  # compares times on the wall clock

QUICK = {"overhead_s": 0.02, "per_step_s": 0.01, "width": 64, "height": 64}
SLOW = {"overhead_s": 0.04, "per_step_s": 0.03, "width": 64, "height": 64}


def fleet(*servers, **others):
    """A fleet of small emulated servers."""
    entries = [{"name": name, "kind": "emulated", "profile": profile} for name, profile in servers]
    return {"name": "here", "servers": entries, **others}


@pytest.fixture(autouse=True)
def no_server_is_left():
    """Every fleet ends its threads."""
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("edge-server-")] == []


def test_servers_get_what_the_file_says():
    spec = fleet(("a", QUICK), ("b", SLOW), stations=3, home_server=[1, -1, 0], time_scale=0.5)
    spec["servers"][0] |= {"queue_limit": 3, "link_rate_mbit_per_s": 8.0, "allowed_sizes": [[64, 64]], "stall_s": 9}
    spec["order"] = "deadline"
    with Fleet.start(spec, in_process=True) as running:
        a, b = running.servers
        assert isinstance(a, EdgeServer) and (a.name, b.name) == ("a", "b")
        assert (a.settings.queue_limit, a.settings.link_rate_mbit_per_s, a.settings.stall_s) == (3, 8.0, 9.0)
        assert (b.settings.queue_limit, b.settings.link_rate_mbit_per_s) == (64, None)
        assert (a.home_station, b.home_station) == (2, 0) and a.status().order == b.status().order == "deadline"
        assert a.settings.allowed_sizes == [[64, 64]] and a.engine.time_scale == b.engine.time_scale == 0.5
        record = a.generate(ImageTask("t", "a red seven", 2, station=0, input_mbit=0.8)).record
        assert record.upload_s == pytest.approx(0.1, abs=0.05) and record.download_s >= 0.1


def test_every_state_of_a_server_is_reported_until_all_are_ready():
    seen = []
    with Fleet.start(fleet(("a", QUICK), ("b", QUICK)), in_process=True, report=lambda *state: seen.append(state)):
        assert {name for name, state in seen if state == "placed"} == {"a", "b"}
        assert {name for name, state in seen if state == "ready"} == {"a", "b"}


def test_the_measured_delays_are_those_of_the_profiles_in_the_servers_own_order():
    with Fleet.start(fleet(("slow", SLOW), ("quick", QUICK)), in_process=True) as running:
        slow, quick = running.profile(step_counts=(1, 4, 8), repeats=2)
    assert slow.origin == quick.origin == "fitted" and slow.num_points == 6
    assert slow.per_step_s == pytest.approx(0.03, rel=0.25) and quick.per_step_s == pytest.approx(0.01, rel=0.25)


@pytest.mark.slow
def test_real_servers_of_one_machine_are_measured_one_after_the_other_and_emulated_ones_together(monkeypatch):
    spans = {}
    profile = EdgeServer.profile

    def timed(server, *arguments):
        begin_s = time.perf_counter()
        fit = profile(server, *arguments)
        spans[server.name] = (begin_s, time.perf_counter())
        return fit

    monkeypatch.setattr(EdgeServer, "profile", timed)
    with Fleet.start("mixed", in_process=True) as running:
        fits = dict(zip([server.name for server in running.spec.servers], running.profile(repeats=2), strict=True))
    first, second = sorted([spans["digits-20ms"], spans["digits-40ms"]])
    emulated = [spans[name] for name in ("quick", "medium", "slow")]
    assert first[1] <= second[0]
    assert max(begin for begin, _ in emulated) < min(end for _, end in emulated)
    assert max(end for _, end in emulated) <= first[0]
    assert 0 < fits["quick"].per_step_s < fits["slow"].per_step_s and fits["digits-20ms"].per_step_s > 0


def test_a_model_that_cannot_be_loaded_ends_the_start_with_the_servers_name(tmp_path):
    spec = fleet(("a", QUICK))
    spec["servers"].append({"name": "broken", "kind": "diffusers", "model": str(tmp_path), "device": "cpu"})
    with pytest.raises(ModelLoadFailed, match=r"here, server broken: .*no model_index.json"):
        Fleet.start(spec, in_process=True)


def test_a_server_that_is_not_ready_in_time_is_named():
    spec = fleet(("a", QUICK), ("late", {**QUICK, "cold_start_s": 60.0}), time_scale=0.05)
    spec["servers"][1]["cold_start"] = True
    with pytest.raises(ServerUnavailable, match=r"after 0.3 s: late \(starting\)$"):
        Fleet.start(spec, in_process=True, timeout_s=0.3)


def test_servers_join_and_leave_a_fleet_that_runs():
    with Fleet.start(fleet(("a", QUICK)), in_process=True) as running:
        joined = running.add({"name": "b", "kind": "emulated", "profile": SLOW})
        assert running.servers[-1] is joined and running.spec.servers[-1].name == "b"
        first = running.servers[0]
        running.remove("a")
        assert [server.name for server in running.servers] == ["b"] and first.status().state == "closed"
        assert joined.generate(ImageTask("one", "x", 1)).record.server == "b"


def test_closing_twice_does_no_harm_and_ends_the_servers():
    running = Fleet.start(fleet(("a", QUICK)), in_process=True)
    server = running.servers[0]
    running.close()
    running.close()
    assert server.status().state == "closed" and running.servers == []


def test_what_needs_a_cluster_says_so(monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(ConfigurationError, match=r"ray.init\(\)"):
        Fleet.start(fleet(("a", QUICK)))
    with pytest.raises(ConfigurationError, match=r"ray.init\(\)"):
        Fleet.attach(fleet(("a", QUICK)))
    with pytest.raises(ConfigurationError, match="cannot be shared"):
        Fleet.start(fleet(("a", QUICK)), in_process=True, shared=True)

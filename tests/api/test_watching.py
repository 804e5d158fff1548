"""What is seen of the service: the fleet, its changes, the feed of events, and the page."""

import asyncio
import contextlib
import io
import json
import threading

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from lad_rllib.api.feed import MAX_BEHIND, Watch
from lad_rllib.api.routes.page import mount_page
from lad_rllib.api.telling import small
from lad_rllib.api.wire import Fleet
from tests.api.running import Slow, refused, service
from tests.api.steering import Steering
from tests.service.fleets import until


class Watching:
    """Reads the feed of events in a thread."""

    def __init__(self, running):
        self.events = []
        self._answer = running.client.stream("GET", "/events")

    def __enter__(self):
        answer = self._answer.__enter__()
        assert answer.headers["content-type"].startswith("text/event-stream")
        self._thread = threading.Thread(target=self._read, args=(answer,), daemon=True)
        self._thread.start()
        until(lambda: self.of("state"))
        return self

    def __exit__(self, *error):
        with contextlib.suppress(Exception):
            self._answer.__exit__(None, None, None)

    def _read(self, answer):
        name = ""
        with contextlib.suppress(Exception):  # closed
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    self.events.append((name, json.loads(line.removeprefix("data: "))))

    def of(self, name):
        """Events of one name."""
        return [data for event, data in list(self.events) if event == name]


def test_a_request_is_seen_where_it_goes_why_and_what_becomes_of_it():
    with service([100, 400]) as running, Watching(running) as watching:
        served = running.draw(num_inference_steps=20, size="640x320", station=1).json()["served"]
        until(lambda: watching.of("done"))
        [request], [done] = watching.of("request"), watching.of("done")
        thumb = running.client.get(done["thumb"])
    assert request["id"] == done["id"] == served["id"] and request["server"] == done["server"] == "s1"
    assert (request["steps"], request["size"], request["station"]) == (20, "640x320", 1)
    assert request["predicted_s"] == pytest.approx({"s0": 0.2, "s1": 0.05}, rel=0.01)
    assert request["added_s"] == {"s0": 0.0, "s1": 0.0} and request["why"] == "done there first"
    assert done["delay_s"] == pytest.approx(served["delay_s"], abs=1e-3) and done["attempts"] == 1
    assert done["error"] is None and thumb.headers["content-type"] == "image/png"


def test_a_request_that_goes_before_others_is_told_with_what_they_lose():
    with service([20, 10], order="shortest_first") as running, Watching(running) as watching:
        slow = [Slow(running, 60) for _ in range(4)]
        until(lambda: sum(server.inner.status().tasks_queued for server in running.servers) >= 2)
        until(lambda: len(watching.of("request")) == 4)
        quick = Slow(running, 20)
        until(lambda: len(watching.of("request")) == 5)
        for one in (*slow, quick):
            one.leave()
    told = watching.of("request")[-1]
    overtaken = {server: round(added / {"s0": 1.0, "s1": 2.0}[server]) for server, added in told["added_s"].items()}
    assert sum(overtaken.values()) >= 1 and told["predicted_s"].keys() == {"s0", "s1"}
    assert told["why"].startswith("done there first") or " later than with " in told["why"]


def test_the_state_is_told_at_once_and_twice_a_second_and_a_lost_server_when_it_is_noticed():
    with service([100, 200]) as running, Watching(running) as watching:
        state = watching.of("state")[0]
        assert [(server["name"], server["state"]) for server in state["servers"]] == [("s0", "up"), ("s1", "up")]
        assert {"t", "policy", "load", "in_flight", "p50_s", "p95_s", "p99_s", "slo"} < state.keys()
        assert {"queue_s", "tasks", "running", "speed", "served"} < state["servers"][0].keys()
        running.draw(num_inference_steps=50)
        until(lambda: watching.of("state")[-1]["p50_s"] is not None)
        last = watching.of("state")[-1]
        assert last["slo"] == 1.0 and last["load"] > 0 and sum(one["served"] for one in last["servers"]) == 1
        running.servers[0].dead = True
        assert until(lambda: watching.of("server")) < 3.0
        assert watching.of("server")[0] == {"name": "s0", "state": "down", "reason": "s0 does not answer"}


def test_so_many_watch_and_no_more_and_those_who_leave_make_room():
    with service([1000], max_watchers=2) as running:
        with Watching(running), Watching(running):
            refused(running.client.get("/events"), 429, "busy")
        until(lambda: not running.gateway.feed.is_watched)
        with Watching(running):
            assert running.gateway.feed.is_watched


def test_nothing_is_kept_for_the_page_where_images_are_not_shown_or_nobody_watches():
    with service([1000], show_images=False) as running:
        running.draw(num_inference_steps=1)
        with Watching(running) as watching:
            running.draw(num_inference_steps=1)
            until(lambda: watching.of("done"))
            assert watching.of("done")[0]["thumb"] is None
        assert len(running.gateway.pictures) == 0


def test_a_watcher_that_does_not_follow_is_sent_away():
    with service([1000]) as running:
        with running.client.stream("GET", "/events") as answer:
            until(lambda: running.gateway.feed.is_watched)
            text = "x" * 10_000
            for _ in range(MAX_BEHIND * 3):
                running.gateway.feed.publish("noise", {"text": text})
            with contextlib.suppress(Exception):
                for _ in answer.iter_bytes():
                    pass
        until(lambda: not running.gateway.feed.is_watched)
        assert running.draw().status_code == 200


def test_a_watch_keeps_so_many_events_and_then_ends():
    async def seen():
        watch = Watch(lambda watch: None)
        for number in range(3 * MAX_BEHIND):
            watch.put(b"%d" % number)
        return [one async for one in watch]

    assert asyncio.run(seen()) == [b"%d" % number for number in range(MAX_BEHIND)]


def test_an_image_that_is_large_is_shown_small():
    buffer = io.BytesIO()
    Image.new("RGB", (1000, 500), "red").save(buffer, "PNG")
    assert Image.open(io.BytesIO(small(buffer.getvalue()))).size == (256, 128)


def test_the_fleet_is_shown_and_changed():
    steering = Steering()
    with service([1000, 1000], control=steering) as running:
        client = running.client
        fleet = Fleet.model_validate(client.get("/v1/fleet").json())
        assert fleet.policy == "any-fleet" and fleet.servers[0].over_expected == 1.25 and fleet.p50_s is None
        added = client.post("/v1/fleet/servers", json={"kind": "emulated", "name": "s2"})
        assert added.json() == {"name": "s2", "state": "up"}
        message = refused(client.post("/v1/fleet/servers", json={"name": "s3"}), 422, "invalid_request")
        assert message.startswith("server number 2: kind must be one of")
        assert client.post("/v1/fleet/servers/s0/drain").json() == {"name": "s0", "state": "draining"}
        assert client.delete("/v1/fleet/servers/s1").json() == {"name": "s1", "state": "removed"}
        assert steering.states == {"s0": "draining", "s2": "up"}
        refused(client.delete("/v1/fleet/servers/s1"), 404, "server_not_found")
        refused(client.post("/v1/fleet/servers/s9/drain"), 404, "server_not_found")
        assert client.put("/v1/fleet/policy", json={"policy": "round-robin"}).json() == {"policy": "round-robin"}
        refused(client.put("/v1/fleet/policy", json={"policy": "none"}), 422, "invalid_request")
        assert client.get("/v1/fleet").json()["policy"] == "round-robin"


def test_without_a_control_the_fleet_is_shown_and_cannot_be_changed():
    with service([1000, 1000]) as running:
        fleet = Fleet.model_validate(running.client.get("/v1/fleet").json())
        assert [(server.name, server.state, server.order) for server in fleet.servers] == [
            ("s0", "up", "fifo"),
            ("s1", "up", "fifo"),
        ]
        assert fleet.policy == "ShortestExpectedDelay"
        refused(running.client.put("/v1/fleet/policy", json={"policy": "random"}), 404, "not_found")


def test_a_page_is_shown_under_a_policy_that_lets_it_load_nothing_else(tmp_path):
    (tmp_path / "index.html").write_text("<!doctype html><title>Fleet</title>")
    (tmp_path / "page.js").write_text("export const one = 1;")
    (tmp_path.parent / "secret.txt").write_text("not for you")
    app = FastAPI()
    mount_page(app, tmp_path)
    client = TestClient(app)
    for path, kind in (("/", "text/html"), ("/page/page.js", "javascript")):
        answer = client.get(path)
        assert answer.status_code == 200 and kind in answer.headers["content-type"]
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
    for path in (
        "/page/../secret.txt",
        "/page/%2e%2e/secret.txt",
        "/page//etc/passwd",
        "/page/%2e%2e%2f%2e%2e%2fetc/passwd",
    ):
        assert client.get(path).status_code == 404
    empty = FastAPI()
    mount_page(empty, tmp_path / "none")
    assert TestClient(empty).get("/").status_code == 404

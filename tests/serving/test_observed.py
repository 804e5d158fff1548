"""What is seen of each request from outside: log lines, spans, and the dashboard of the metrics."""

import json
import logging
import re
import time

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from lad_rllib.api.gateway import Gateway
from lad_rllib.cli import main
from lad_rllib.serving import log
from lad_rllib.serving.dashboard import WIDTH, dashboard
from lad_rllib.serving.metrics import METRICS
from tests.api.running import refused, service
from tests.service.fleets import until

CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""A ``traceparent`` as clients send it: version, trace, span, sampled."""


@pytest.fixture
def lines():
    """What the package logs, as the service writes it."""
    written, package = [], logging.getLogger("lad_rllib")

    class Keep(logging.Handler):
        def emit(self, record):
            written.append(json.loads(self.format(record)))

    handler, level = Keep(), package.level
    handler.setFormatter(log.JsonLines())
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    yield written
    package.removeHandler(handler)
    package.setLevel(level)


@pytest.fixture
def spans(monkeypatch):
    """The spans that were made, in the order of their ends."""
    provider, kept = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return kept.get_finished_spans


def said(lines, message):
    """The lines of that message."""
    return [line for line in lines if re.fullmatch(message, line["message"])]


def test_lines_of_a_request_name_its_id_and_its_tasks(lines):
    with service([1000, 2000], observers=[log.delivered]) as running:
        served = running.draw(headers={"x-request-id": "mine-1"}, num_inference_steps=3).json()["served"]
        until(lambda: said(lines, "request ended"))
    [ended], [answered] = said(lines, "request ended"), said(lines, "POST .*: 200")
    assert ended["request_id"] == answered["request_id"] == "mine-1"
    assert ended["task"] == served["id"] and answered["tasks"] == [served["id"]]
    assert 0 <= ended["decision_s"] < ended["delay_s"]


def test_a_job_and_a_repeated_request_are_found_by_their_first_and_by_their_own_request_ids(lines):
    with service([1000], observers=[log.delivered]) as running:
        headers = {"x-request-id": "job-1"}
        job = running.client.post("/v1/images/jobs", json={"prompt": "a red seven"}, headers=headers).json()
        for name in ("first", "again"):
            running.draw(headers={"x-request-id": name, "idempotency-key": "k"})
        until(lambda: len(said(lines, "request ended")) == 2)
    by_job, by_first = said(lines, "request ended")
    assert (by_job["request_id"], by_job["task"]) == ("job-1", job["id"]) and by_first["request_id"] == "first"
    answers = {line["request_id"]: line["tasks"] for line in said(lines, "POST .*: 200")}
    assert answers == {"job-1": [job["id"]], "first": [by_first["task"]], "again": [by_first["task"]]}


def test_a_refusal_is_counted_and_said_with_its_reason(lines, spans):
    counted = []
    with service([1], on_refusal=counted.append, max_in_flight=1) as running:
        running.client.post("/v1/images/jobs", json={"prompt": "x", "num_inference_steps": 50})
        refused(running.draw(headers={"x-request-id": "late"}), 429, "busy")
    [line] = said(lines, "request refused")
    assert (line["request_id"], line["code"], counted) == ("late", "busy", ["busy"]) and "1 requests" in line["reason"]
    [span] = [span for span in spans() if span.attributes["lad.request_id"] == "late"]
    assert (span.name, span.status.status_code, span.status.description) == (
        "admission",
        trace.StatusCode.ERROR,
        "busy",
    )


@pytest.mark.serial  # compares a time
def test_spans_of_a_request_cover_its_delay_in_the_clients_trace(spans):
    with service([100]) as running:
        running.draw(headers={"traceparent": CLIENT, "x-request-id": "mine-2"}, num_inference_steps=20)
        until(lambda: any(span.name == "image request" for span in spans()))
    by_name = {span.name: span for span in spans()}
    whole = by_name.pop("image request")
    assert list(by_name) == ["admission", "decision", "wait", "service"]
    assert (
        f"{whole.context.trace_id:032x}" == CLIENT.split("-")[1]
        and f"{whole.parent.span_id:016x}" == CLIENT.split("-")[2]
    )
    assert whole.attributes["lad.request_id"] == "mine-2" and whole.attributes["lad.server"] == "s0"
    assert {span.parent.span_id for span in by_name.values()} == {whole.context.span_id}
    stages = list(by_name.values())
    assert (stages[0].start_time, stages[-1].end_time) == (whole.start_time, whole.end_time)
    for before, after in zip(stages, stages[1:], strict=False):
        assert abs(after.start_time - before.end_time) <= 1000  # [ns], rounded
    assert 0.2 <= (stages[-1].end_time - stages[-1].start_time) / 1e9 <= 0.4


def test_the_time_until_a_request_is_let_in_is_told_once(spans, monkeypatch):
    monkeypatch.setattr(Gateway, "_check_quota", lambda self, client: time.sleep(0.1))  # in the dispatcher's thread
    with service([100]) as running:
        running.draw(num_inference_steps=20)
        until(lambda: any(span.name == "image request" for span in spans()))
    took_s = {span.name: (span.end_time - span.start_time) / 1e9 for span in spans()}
    assert took_s["decision"] >= 0.09 and took_s["service"] >= 0.19


def test_a_request_that_fails_says_so_in_its_span(spans):
    with service([10]) as running:
        running.client.post("/v1/images/generations", json={"prompt": "x", "num_inference_steps": 5, "deadline_s": 0.6})
        running.servers[0].dead = True
        running.draw()
        until(lambda: any(span.status.status_code is trace.StatusCode.ERROR for span in spans()), 20)
    [failed] = [span for span in spans() if span.status.status_code is trace.StatusCode.ERROR]
    assert failed.status.description == "server_unavailable" and failed.name == "image request"


def queries():
    """Every query of the dashboard."""
    return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]


def test_the_dashboard_asks_for_declared_metrics_and_labels_and_leaves_none_out():
    asked = set()
    for query in queries():
        names = re.findall(r"ray_(\w+)", query)
        bare = [re.sub(r"_(bucket|count|sum)$", "", name) for name in names]
        assert bare and set(bare) <= METRICS.keys(), query
        assert all((METRICS[one].kind == "histogram") == (one != name) for one, name in zip(bare, names, strict=True))
        labels = {word for found in re.findall(r"by \(([\w, ]+)\)|\{(\w+)", query) for word in found if word}
        assert labels <= {label for one in bare for label in METRICS[one].labels} | {"le"}, query
        asked |= set(bare)
    assert asked == METRICS.keys()


def test_panels_of_the_dashboard_lie_side_by_side(capsys):
    assert main(["serve", "grafana"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == dashboard() and len({panel["id"] for panel in printed["panels"]}) == len(printed["panels"])
    taken = set()
    for panel in printed["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= WIDTH and not cells & taken
        taken |= cells

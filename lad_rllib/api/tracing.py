"""Spans of OpenTelemetry: what became of each request, and when."""

from __future__ import annotations

import time
from collections.abc import Mapping

from opentelemetry import trace

from lad_rllib.api.jobs import Job
from lad_rllib.api.origin import Origin
from lad_rllib.service.delivery import Delivery

TRACER = "lad_rllib.api"
"""Name under which spans are made; without a provider of OpenTelemetry, as Serve sets one up, they cost nothing."""


def tell_spans(job: Job, delivery: Delivery, time_scale: float) -> None:
    """Make the spans of a job that has ended: all of it, its admission, decision, wait and service.

    Args:
        job: The job.
        delivery: What became of it.
        time_scale: Wall seconds per second of the fleet.
    """
    tracer, origin = trace.get_tracer(TRACER), job.origin
    record, error, end = delivery.record, delivery.error, job.ended or time.time()
    about: dict[str, str | int | float] = {
        "lad.request_id": origin.request_id,
        "lad.task": job.name,
        "lad.server": delivery.server,
        "lad.attempts": delivery.attempts,
        "lad.steps": job.task.denoising_steps,
        "lad.images": job.task.images,
        "lad.delay_s": delivery.service_delay_s,
    }
    whole = tracer.start_span("image request", origin.context, start_time=_ns(origin.came), attributes=about)
    if not whole.is_recording():
        return
    inside = trace.set_span_in_context(whole, origin.context)

    def stage(name: str, begin: float, end: float, about: Mapping[str, str | float] | None = None) -> None:
        span = tracer.start_span(name, inside, start_time=_ns(begin), attributes=about)
        span.end(_ns(max(begin, end)))

    stage("admission", origin.came, job.created)
    if delivery.decision_s is not None:
        decided = job.created + delivery.decision_s * time_scale
        begun = end if record is None else max(decided, end - (record.computing_s + record.download_s) * time_scale)
        stage("decision", job.created, decided, {"lad.server": delivery.server})
        stage("wait", decided, begun)
        if record is not None:
            stage("service", begun, end, {"lad.server": delivery.server, "lad.computing_s": record.computing_s})
    if error is not None:
        whole.set_status(trace.Status(trace.StatusCode.ERROR, error.name))
    whole.end(_ns(end))


def tell_refusal(origin: Origin, code: str) -> None:
    """Make the span of a request that was not let in."""
    span = trace.get_tracer(TRACER).start_span(
        "admission", origin.context, start_time=_ns(origin.came), attributes={"lad.request_id": origin.request_id}
    )
    span.set_status(trace.Status(trace.StatusCode.ERROR, code))
    span.end()


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)

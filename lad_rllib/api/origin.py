"""Which HTTP request something is done for: log lines, tasks and spans of OpenTelemetry."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from starlette.datastructures import Headers


@dataclass(frozen=True, eq=False)
class Origin:
    """The HTTP request that something is done for.

    Attributes:
        request_id: Its id, the ``x-request-id`` of its answer; empty: there is none, as for a job that is resumed.
        tasks: Names of the tasks that were made of it so far.
        context: Context of OpenTelemetry that it came in, with the span of Serve or of the client.
        came: When it came [s since 1970].
    """

    request_id: str = ""
    tasks: list[str] = field(default_factory=list)
    context: contexts.Context = field(default_factory=contexts.get_current)
    came: float = field(default_factory=time.time)

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """What is done in the ``with`` is done for it."""
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)


_CURRENT: ContextVar[Origin | None] = ContextVar("origin", default=None)


def current_origin() -> Origin:
    """What is being answered here and now; one without an id where that is nothing."""
    return _CURRENT.get() or Origin()


def origin_of(request_id: str, headers: Headers) -> Origin:
    """A request that has come: part of the trace that Serve has begun, or else of the client's (``traceparent``)."""
    context = contexts.get_current()
    if not trace.get_current_span(context).get_span_context().is_valid:
        context = propagate.extract(headers, context)
    return Origin(request_id, context=context)

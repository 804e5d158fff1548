"""The fleet: its servers, how it does, what others would have done, and changes of it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import RootModel

from lad_rllib.api.wire.base import Answer


class Health(Answer):
    """Whether the service works."""

    status: Literal["ok", "no server is up"]
    """What it is."""
    servers_up: int
    """Edge servers that are up."""


class ServerRow(Answer):
    """An edge server."""

    name: str
    """Its name."""
    kind: str
    """Kind of its engine; empty if not known here."""
    models: list[str]
    """Image models that it has; empty: it does not choose between models."""
    order: str
    """Order of service."""
    state: Literal["up", "down", "draining"]
    """Whether it gets requests, and why not."""
    reason: str
    """Why it is not up, one line."""
    queue_s: float
    """Predicted time until it is done with what it has [s]."""
    tasks: int
    """Requests that wait for it or run there."""
    over_expected: float
    """Measured over expected computing delay of its latest images."""


class Fleet(Answer):
    """The fleet, and how it does: figures of the last five minutes, null before the first request."""

    policy: str
    """What decides where requests go."""
    in_flight: int
    """Requests that have come and not ended."""
    load: float | None
    """Work that came over what the fleet could have done meanwhile."""
    p50_s: float | None
    """Median delay [s]."""
    p95_s: float | None
    """95th percentile of the delay [s]."""
    p99_s: float | None
    """99th percentile of the delay [s]."""
    slo: float | None
    """Share of the requests that were answered in time."""
    servers: list[ServerRow]
    """The servers."""


class Replay(Answer):
    """Delays of the latest requests, as they were or played again with a scheduler."""

    scheduler: str
    """``as it was``, ``the present one``, or the scheduler's name."""
    mean_s: float
    """Mean delay [s]."""
    p50_s: float
    """Median delay [s]."""
    p95_s: float
    """95th percentile of the delay [s]."""
    p99_s: float
    """99th percentile of the delay [s]."""
    slo: float
    """Share of the requests in time."""


class Replays(Answer):
    """What other schedulers would have done with the same requests and the same outages."""

    requests: int
    """Requests that were played again."""
    outages: int
    """Servers that were lost meanwhile."""
    rows: list[Replay]
    """Reality, the present scheduler played again (the difference is the simulator's error), and others; empty while
    there are too few requests."""


class FleetFile(RootModel[dict[str, Any]]):
    """A fleet as in a fleet file."""


class NewServer(RootModel[dict[str, Any]]):
    """A server to start: an entry as in a fleet file."""


class Changed(Answer):
    """A change of a server."""

    name: str
    """The server."""
    state: str
    """What it is now."""

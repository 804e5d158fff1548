"""Who asks: the holder of an API key, or anyone where there are none."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from lad_rllib.edge.task import MAX_PRIORITY


@dataclass(frozen=True)
class Client:
    """Who asks.

    Attributes:
        name: Name of the key; empty: there are no keys.
        is_admin: Whether it may change the service and watch it.
        max_priority: Greatest priority that its requests may have.
    """

    name: str = ""
    is_admin: bool = True
    max_priority: int = MAX_PRIORITY


ANYONE = Client()
"""Who asks where there are no keys."""


def client_of(request: Request) -> Client:
    """Who asks, as it was found before the request was read."""
    client: Client = getattr(request.state, "client", ANYONE)
    return client

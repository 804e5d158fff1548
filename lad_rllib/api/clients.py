"""Who asks: the holder of an API key, or anyone where there are none; and how much each may ask for."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from starlette.requests import Request

from lad_rllib.api.errors import ApiError
from lad_rllib.edge.task import MAX_PRIORITY


@dataclass(frozen=True)
class Client:
    """Who asks.

    Attributes:
        name: Name of the key; empty: there are no keys.
        is_admin: Whether it may change the service and watch it.
        max_priority: Greatest priority that its requests may have.
        requests_per_minute: Images requests that it may send [1/min]; None: any number.
        open_requests: Requests that it may have in flight; None: any number.
    """

    name: str = ""
    is_admin: bool = False
    max_priority: int = MAX_PRIORITY
    requests_per_minute: float | None = None
    open_requests: int | None = None


def client_of(request: Request) -> Client:
    """Who asks, as it was found before the request was read."""
    client: Client = request.state.client
    return client


def admin_of(request: Request) -> Client:
    """Who asks, if it may change the service.

    Raises:
        ApiError: if it may not.
    """
    client = client_of(request)
    if not client.is_admin:
        allowed = "an API key with 'admin: true'" if client.name else "a client on this machine, or an API key"
        raise ApiError(403, f"this needs {allowed}", "not_admin")
    return client


class Rates:
    """Counts requests of holders of keys: so many a minute, a minute's worth at once. May be used from any thread.

    >>> rates, client = Rates(), Client("a", requests_per_minute=2.0)
    >>> [rates.take(client, now) for now in (0.0, 0.0, 0.0, 30.0)]
    [0.0, 0.0, 30.0, 0.0]
    """

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, client: Client, now: float | None = None) -> float:
        """Count a request; returns how long to wait if it is too many [s], else 0.

        Args:
            client: Who asks.
            now: The time [s]; None: by the monotonic clock.
        """
        most = client.requests_per_minute
        if most is None:
            return 0.0
        now = time.monotonic() if now is None else now
        room = max(most, 1.0)
        with self._lock:
            left, before = self._left.get(client.name, (room, now))
            left = min(room, left + (now - before) * most / 60.0)
            wait_s = 0.0 if left >= 1.0 else (1.0 - left) * 60.0 / most
            self._left[client.name] = (left if wait_s else left - 1.0, now)
        return wait_s

"""Watches servers with timeouts of its own: Ray takes up to a minute to notice a cut link."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from lad_rllib.edge.errors import one_line
from lad_rllib.edge.status import ServerHealth
from lad_rllib.service.in_flight import Server

MAX_THREADS = 32


class HealthWatch:
    """Checks the health of every server again and again, and reports each reply.

    With the defaults, a server that stops answering is reported within 2 s if each ``health`` call times out after
    0.7 s: at most one period, and two calls.

    Args:
        servers: The servers by their numbers; their ``health`` must return in time by itself.
        report: Called with the server's number and its health, from threads of the watch.
        period_s: Time between two checks of a server [s, wall clock].
        misses: Bad replies in a row before one is reported; a busy machine misses one at times.
    """

    def __init__(
        self,
        servers: Mapping[int, Server],
        report: Callable[[int, ServerHealth], None],
        period_s: float = 0.3,
        misses: int = 2,
    ) -> None:
        self._servers, self._report, self._period_s, self._misses = dict(servers), report, period_s, misses
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="health")
        self._is_checking: set[int] = set()
        self._thread = threading.Thread(target=self._watch, name="health watch", daemon=True)
        self._thread.start()

    def add(self, number: int, server: Server) -> None:
        """Watch another server."""
        self._servers[number] = server

    def remove(self, number: int) -> None:
        """Watch a server no longer; a reply that is on its way may still be reported."""
        self._servers.pop(number, None)

    def close(self) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _watch(self) -> None:
        while not self._stop.is_set():
            for number, server in list(self._servers.items()):
                if number not in self._is_checking:  # calls to a slow server must not pile up
                    self._is_checking.add(number)
                    self._pool.submit(self._check, number, server)
            self._stop.wait(self._period_s)

    def _check(self, number: int, server: Server) -> None:
        try:
            for _ in range(self._misses):
                health = _health_of(server)
                if health.healthy or self._stop.is_set():
                    break
            if not self._stop.is_set():
                self._report(number, health)
        finally:
            self._is_checking.discard(number)


def _health_of(server: Server) -> ServerHealth:
    """What a server replies; one that raises, or replies anything else, is not healthy."""
    try:
        health: object = server.health()
        if isinstance(health, ServerHealth):
            return health
        reason = f"its health is {type(health).__name__}, not ServerHealth"
    except Exception as error:
        reason = one_line(error)
    return ServerHealth(False, f"a server does not report its health: {reason}", 0.0)

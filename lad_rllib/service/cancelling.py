"""Tells servers to drop tasks, from separate threads: a call may block, or fail."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait

from lad_rllib.service.in_flight import Attempt, Server

RETRY_S, RETRY_FOR_S = 0.05, 10.0
"""Time between two calls to a server that does not have the task yet, and longest time of all [s, wall clock]."""


class Canceller:
    """Cancels attempts at their servers.

    Args:
        servers: The servers by their numbers.
    """

    def __init__(self, servers: Mapping[int, Server]) -> None:
        self._servers = servers
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="cancel")

    def cancel(self, attempt: Attempt, *, retry: bool = False) -> None:
        """Have a server drop an attempt; never waits. Does nothing once closed.

        Args:
            attempt: The attempt.
            retry: Call until the server has the task or the task has ended: over a network, a cancellation may arrive
                before its task.
        """
        with contextlib.suppress(RuntimeError):  # the pool is shut down
            self._pool.submit(self._cancel, attempt, time.monotonic() + RETRY_FOR_S if retry else 0.0)

    def cancel_all(self, attempts: Iterable[Attempt], timeout_s: float) -> None:
        """Have servers drop attempts, wait at most ``timeout_s`` for their answers [s, wall clock], and close."""
        wait([self._pool.submit(self._cancel, attempt, 0.0) for attempt in attempts], timeout_s)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _cancel(self, attempt: Attempt, until: float) -> None:
        server = self._servers.get(attempt.server)
        while server is not None:
            with contextlib.suppress(Exception):
                if server.cancel(attempt.name):
                    return
            if attempt.entry.future.done() or time.monotonic() > until:
                return
            time.sleep(RETRY_S)

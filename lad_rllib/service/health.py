"""Watches servers with timeouts of its own: Ray takes up to a minute to notice a cut link."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from lad_rllib.edge.errors import one_line
from lad_rllib.edge.status import ServerHealth

MOST_THREADS = 32


class AnswersHealth(Protocol):
    """A server that says how it is, within a timeout that it knows."""

    def health(self) -> ServerHealth:
        """Whether it should get tasks."""
        ...


class HealthWatch:
    """Asks every server how it is, again and again, and reports each answer.

    With the defaults, a server that stops answering is reported within 2 s if each ``health`` call times out after
    0.7 s: at most one period, and two calls.

    Args:
        servers: Whom to ask; ``health`` must come back in time by itself.
        report: Called with the server's index and its health, from threads of the watch.
        period_s: Time between two questions to a server [s, wall clock].
        misses: Answers in a row that must be bad before a bad one is reported; a busy machine misses one at times.
    """

    def __init__(
        self,
        servers: Sequence[AnswersHealth],
        report: Callable[[int, ServerHealth], None],
        period_s: float = 0.3,
        misses: int = 2,
    ) -> None:
        self._servers, self._report, self._period_s, self._misses = servers, report, period_s, misses
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(min(len(servers), MOST_THREADS), thread_name_prefix="health")
        self._asking = [False] * len(servers)
        self._thread = threading.Thread(target=self._watch, name="health watch", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.is_set():
            for index in range(len(self._servers)):
                if not self._asking[index]:  # one that is slow to answer does not pile up questions
                    self._asking[index] = True
                    self._pool.submit(self._ask, index)
            self._stop.wait(self._period_s)

    def _ask(self, index: int) -> None:
        try:
            for _ in range(self._misses):
                health = _health_of(self._servers[index])
                if health.healthy or self._stop.is_set():
                    break
            if not self._stop.is_set():
                self._report(index, health)
        finally:
            self._asking[index] = False

    def close(self) -> None:
        """Stop asking."""
        self._stop.set()
        self._thread.join()
        self._pool.shutdown(wait=False, cancel_futures=True)


def _health_of(server: AnswersHealth) -> ServerHealth:
    """What a server says; one that raises, or answers anything else, is not healthy."""
    try:
        health = server.health()
        if isinstance(health, ServerHealth):
            return health
        reason = f"its health is {type(health).__name__}, not ServerHealth"
    except Exception as error:
        reason = one_line(error)
    return ServerHealth(False, f"a server does not say how it is: {reason}", 0.0)

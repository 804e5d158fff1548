"""A thread that makes one call after the other, as they are posted to it."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

Answer = TypeVar("Answer")

TICK_S = 0.1
"""Time between two ticks [s, wall clock]."""

_LOG = logging.getLogger("lad_rllib.service")


class EventThread(threading.Thread):
    """Makes the calls that are posted to it, in order. What a call raises is logged, and the thread goes on.

    Args:
        name: Name of the thread.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._events: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._is_closed = False

    def begin(self, tick: Callable[[], None], is_waiting: Callable[[], bool]) -> None:
        """Start; ``tick`` is called every :data:`TICK_S` while ``is_waiting()``, even if nothing is posted."""
        self._tick, self._is_waiting = tick, is_waiting
        self.start()

    def post(self, function: Callable[..., object], *arguments: object) -> None:
        """Have a call made; from any thread."""
        self._events.put(partial(function, *arguments))

    def ask(self, function: Callable[[], Answer]) -> Future[Answer]:
        """What a call returns that is made after those that were posted before, or at once in this thread.

        It is not made if the future is cancelled before.
        """
        answer: Future[Answer] = Future()

        def reply() -> None:
            if not answer.set_running_or_notify_cancel():
                return
            try:
                answer.set_result(function())
            except BaseException as error:
                answer.set_exception(error)

        if threading.current_thread() is self:
            reply()
        else:
            self.post(reply)
        return answer

    def close(self, timeout_s: float) -> None:
        """End after the calls that were posted before; wait at most ``timeout_s`` for that [s, wall clock]."""
        self.post(setattr, self, "_is_closed", True)
        if threading.current_thread() is not self:
            self.join(timeout_s)

    def run(self) -> None:
        """What the thread does."""
        ticked = time.monotonic()
        while not self._is_closed:
            with contextlib.suppress(queue.Empty):
                self.guarded(self._events.get(timeout=TICK_S if self._is_waiting() else None))
            if self._is_waiting() and time.monotonic() - ticked > TICK_S:
                self.guarded(self._tick)
                ticked = time.monotonic()

    def guarded(self, call: Callable[[], object]) -> None:
        """Make a call now, in this thread; what it raises is logged."""
        try:
            call()
        except BaseException:
            _LOG.exception("the dispatcher goes on after an error")

"""The feed of events: what happens in the service, as it happens, to everyone who watches."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

from lad_rllib.api.errors import ApiError

MAX_BEHIND = 2000
"""Events that a watcher may be behind; one that is slower is sent away."""


def event(kind: str, data: Mapping[str, Any]) -> bytes:
    r"""An event as a server sends it (``text/event-stream``).

    >>> event("done", {"id": "a"})
    b'event: done\ndata: {"id":"a"}\n\n'
    """
    return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


class Watch:
    """One who watches: an asynchronous iterator of events, in the loop that made it.

    Args:
        leave: Called when it is closed.
    """

    def __init__(self, leave: Callable[[Watch], None]) -> None:
        self._leave = leave
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[bytes | None] = asyncio.Queue()

    def put(self, event: bytes | None) -> None:
        """Pass an event on, from any thread; None ends the stream."""
        with contextlib.suppress(RuntimeError):  # its loop is closed
            self._loop.call_soon_threadsafe(self._put, event)

    def _put(self, event: bytes | None) -> None:
        behind = self._events.qsize()
        if behind <= MAX_BEHIND:
            self._events.put_nowait(None if behind == MAX_BEHIND else event)

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> bytes:
        event = await self._events.get()
        if event is None:
            raise StopAsyncIteration
        return event

    async def aclose(self) -> None:
        """Watch no longer."""
        self._leave(self)


class Feed:
    """Passes events to those who watch. Events may be published from any thread.

    Args:
        max_watchers: Who may watch at once.
    """

    def __init__(self, max_watchers: int) -> None:
        self._max_watchers = max_watchers
        self._watches: set[Watch] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Who watches at present."""
        return len(self._watches)

    @property
    def is_watched(self) -> bool:
        """Whether anyone watches."""
        return bool(self._watches)

    def watch(self) -> Watch:
        """Events from now on; close it in the end.

        Raises:
            ApiError: if there are too many who watch.
        """
        with self._lock:
            if len(self._watches) >= self._max_watchers:
                raise ApiError(429, "too many watch the events already; try again later", "busy", retry_after_s=10.0)
            watch = Watch(self._watches.discard)
            self._watches.add(watch)
        return watch

    def publish(self, kind: str, data: Mapping[str, Any]) -> None:
        """Tell everyone who watches."""
        if self._watches:
            self._put(event(kind, data))

    def close(self) -> None:
        """End all streams."""
        self._put(None)

    def _put(self, event: bytes | None) -> None:
        with self._lock:
            watches = list(self._watches)
        for watch in watches:
            watch.put(event)

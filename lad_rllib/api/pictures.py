"""Images that are kept for a while, under addresses that nobody guesses."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True)
class _Kept:
    png: bytes
    until: float


class Pictures:
    """Images in memory by unguessable names; each is forgotten when its time has come, the oldest early if need be.

    May be used from any thread.

    Args:
        max_bytes: All images together [byte].

    >>> pictures = Pictures(max_bytes=5)
    >>> first, second = pictures.keep(b"abc", 60.0), pictures.keep(b"def", 60.0)
    >>> pictures.get(first), pictures.get(second), len(second)
    (None, b'def', 32)
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Images that are kept."""
        return len(self._kept)

    def keep(self, png: bytes, seconds: float) -> str:
        """Keep an image for so long [s]; returns its name."""
        name = secrets.token_urlsafe(24)
        now = time.monotonic()
        with self._lock:
            self._kept[name] = _Kept(png, now + seconds)
            self._bytes += len(png)
            for old in [one for one, kept in self._kept.items() if kept.until <= now]:
                self._drop(old)
            while self._bytes > self._max_bytes and self._kept:
                self._drop(next(iter(self._kept)))
        return name

    def get(self, name: str) -> bytes | None:
        """The image of that name; None if there never was one, or it has been deleted."""
        with self._lock:
            kept = self._kept.get(name)
            if kept is not None and kept.until <= time.monotonic():
                self._drop(name)
                return None
        return None if kept is None else kept.png

    def forget(self, name: str) -> None:
        """Forget an image."""
        with self._lock:
            if name in self._kept:
                self._drop(name)

    def _drop(self, name: str) -> None:
        self._bytes -= len(self._kept.pop(name).png)

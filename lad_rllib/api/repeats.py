"""Requests that are sent again with the same ``Idempotency-Key``: they get the first one's job."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass

from lad_rllib.api.errors import ApiError
from lad_rllib.api.jobs import Job

MAX_KEYS = 10_000
"""Keys that are remembered; the oldest go first."""


@dataclass(frozen=True)
class _First:
    asked: str
    job: Future[Job]


class Repeats:
    """The first request of each key. May be used from any thread."""

    def __init__(self) -> None:
        self._first: OrderedDict[tuple[str, str], _First] = OrderedDict()
        self._lock = threading.Lock()

    def first(self, owner: str, key: str, asked: str) -> tuple[Future[Job], bool]:
        """The job of a key, and whether this request is to begin it.

        One that was left, refused or failed begins anew.

        Args:
            owner: Who asks.
            key: The key.
            asked: What is asked for, as a text.

        Raises:
            ApiError: if the key came with another request before.
        """
        asked, place = hashlib.sha256(asked.encode()).hexdigest(), (owner, key)
        with self._lock:
            known = self._first.get(place)
            if known is not None and known.asked != asked:
                message = "this Idempotency-Key came with another request before; take a new one for each"
                raise ApiError(422, message, "idempotency_key_reused", param="Idempotency-Key")
            if known is not None and _is_good(known.job):
                return known.job, False
            self._first[place] = _First(asked, Future())
            self._first.move_to_end(place)
            if len(self._first) > MAX_KEYS:
                self._first.popitem(last=False)
            return self._first[place].job, True


def _is_good(job: Future[Job]) -> bool:
    """Whether a job is on its way, or has come to its images."""
    if not job.done():
        return True
    if job.cancelled() or job.exception() is not None:
        return False
    return not job.result().is_left and job.result().is_kept and job.result().error is None

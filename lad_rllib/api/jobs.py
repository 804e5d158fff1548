"""Requests on their way and, for a while, what became of them."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass, field

from lad_rllib.api.admission import Prediction
from lad_rllib.api.origin import Origin
from lad_rllib.api.pictures import Pictures
from lad_rllib.edge.errors import EdgeError
from lad_rllib.edge.task import ImageTask
from lad_rllib.service.delivery import Delivery
from lad_rllib.service.in_flight import TaskHandle


@dataclass(eq=False)
class Job:
    """One request.

    Attributes:
        task: What was asked for; its name is the job's.
        owner: Name of the key that asked.
        handle: Future of its delivery; None after the end of one whose images are kept elsewhere.
        prediction: What was predicted of it when it came.
        is_job: Whether it goes on when nobody waits for it, and is known by its id.
        is_kept: Whether it and its images are remembered after its end.
        created: When it came [s since 1970].
        ended: When it ended [s since 1970]; None before.
        waiters: Clients that wait for it at present.
        is_left: Whether it was cancelled.
        pictures: Names of its kept images.
        delivery: What became of it, without the images; None before its end.
        origin: The HTTP request that asked for it.
    """

    task: ImageTask
    owner: str
    handle: TaskHandle | None
    prediction: Prediction
    is_job: bool
    is_kept: bool
    created: float = field(default_factory=time.time)
    ended: float | None = None
    waiters: int = 0
    is_left: bool = False
    pictures: tuple[str, ...] = ()
    delivery: Delivery | None = None
    origin: Origin = field(default_factory=Origin)

    @property
    def name(self) -> str:
        """Its id."""
        return self.task.task_id

    def cancel(self) -> None:
        """Have it stop, wherever it is."""
        self.is_left = True
        if self.handle is not None:
            self.handle.cancel()

    @property
    def error(self) -> EdgeError | None:
        """Why it failed; None if it did not, or has not ended."""
        return None if self.delivery is None else self.delivery.error


class Jobs:
    """Jobs by their ids. May be used from any thread.

    Args:
        pictures: Keeps their images.
        job_s: How long a kept job is remembered after its end [s].
        max_jobs: Kept jobs; of those that have ended, the oldest go first.
    """

    def __init__(self, pictures: Pictures, job_s: float, max_jobs: int) -> None:
        self._pictures, self._job_s, self._max_jobs = pictures, job_s, max_jobs
        self._open: dict[str, Job] = {}
        self._open_of: Counter[str] = Counter()
        self._ended: OrderedDict[str, Job] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Jobs in flight."""
        return len(self._open)

    @property
    def in_flight(self) -> list[Job]:
        """Jobs that have not ended."""
        with self._lock:
            return list(self._open.values())

    def open_of(self, owner: str) -> int:
        """Jobs of one owner in flight."""
        return self._open_of[owner]

    def begin(self, job: Job) -> None:
        """A job has come."""
        with self._lock:
            self._open[job.name] = job
            self._open_of[job.owner] += 1

    def end(self, job: Job) -> None:
        """A job has ended; it is remembered if it is kept."""
        with self._lock:
            if self._open.pop(job.name, None) is not None:
                self._open_of[job.owner] -= 1
            if job.is_kept:
                self._ended[job.name] = job
            self._forget_old()

    def get(self, name: str) -> Job | None:
        """The job of that id; None if it never was, or has been forgotten."""
        with self._lock:
            self._forget_old()
            return self._open.get(name) or self._ended.get(name)

    def forget(self, job: Job) -> None:
        """Forget a job and its images; one in flight is forgotten when it ends."""
        with self._lock:
            self._drop(job)

    def _forget_old(self) -> None:
        due = time.time() - self._job_s
        while self._ended:
            oldest = next(iter(self._ended.values()))
            if len(self._ended) <= self._max_jobs and (oldest.ended or 0.0) > due:
                return
            self._drop(oldest)

    def _drop(self, job: Job) -> None:
        self._ended.pop(job.name, None)
        job.is_kept = False
        for picture in job.pictures:
            self._pictures.forget(picture)

"""Jobs in a file, so that they survive the end of the process that serves them."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lad_rllib.edge.errors import EDGE_ERRORS, GenerationFailed
from lad_rllib.edge.record import TaskRecord
from lad_rllib.edge.task import ImageTask
from lad_rllib.errors import ConfigurationError
from lad_rllib.service.delivery import Delivery

_TABLES = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, created REAL NOT NULL, task TEXT NOT NULL, ended REAL, delivery TEXT
);
CREATE TABLE IF NOT EXISTS pictures (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE, number INTEGER NOT NULL, png BLOB NOT NULL,
    PRIMARY KEY (job, number)
);
PRAGMA foreign_keys = ON;
"""

_LOG = logging.getLogger("lad_rllib.api")


@dataclass(frozen=True)
class SavedJob:
    """A job as it was when the process before ended.

    Attributes:
        task: What was asked for.
        owner: Name of the key that asked.
        created: When it came [s since 1970].
        ended: When it ended [s since 1970]; None if it has not.
        delivery: What became of it, without images; None if it has not ended.
        pngs: Its images.
    """

    task: ImageTask
    owner: str
    created: float
    ended: float | None
    delivery: Delivery | None
    pngs: tuple[bytes, ...]


class JobStore:
    """Keeps jobs and their images in an SQLite file, for its owner's eyes. May be used from any thread.

    What was written survives the process; of a machine that loses power the last moments may be missing.

    Args:
        path: The file; made if it is not there.

    Raises:
        ConfigurationError: if it cannot be used; methods that write raise it, too.
    """

    def __init__(self, path: str | Path) -> None:
        self._path, self._lock = Path(path).expanduser(), threading.Lock()
        try:
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            self._file = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
            self._file.executescript(_TABLES)
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(f"jobs cannot be kept in {self._path}: {error}") from None

    def begin(self, task: ImageTask, owner: str, created: float) -> None:
        """A job has come."""
        self._write(
            "INSERT OR REPLACE INTO jobs (id, owner, created, task) VALUES (?, ?, ?, ?)",
            (task.task_id, owner, created, json.dumps(asdict(task))),
        )

    def end(self, delivery: Delivery, ended: float, pngs: Sequence[bytes]) -> None:
        """A job has ended; unknown ones, which were forgotten meanwhile, stay so."""
        with self._lock, self._file:
            self._file.execute("BEGIN")
            told = self._file.execute(
                "UPDATE jobs SET ended = ?, delivery = ? WHERE id = ?",
                (ended, json.dumps(_told(delivery)), delivery.task.task_id),
            )
            if told.rowcount:
                rows = [(delivery.task.task_id, number, png) for number, png in enumerate(pngs)]
                self._file.executemany("INSERT OR REPLACE INTO pictures (job, number, png) VALUES (?, ?, ?)", rows)

    def forget(self, job_id: str) -> None:
        """Forget a job and its images."""
        self._write("DELETE FROM jobs WHERE id = ?", (job_id,))

    def forget_ended(self, before: float) -> None:
        """Forget jobs that ended before a time [s since 1970], and their images."""
        self._write("DELETE FROM jobs WHERE ended < ?", (before,))

    def saved(self) -> list[SavedJob]:
        """All jobs, in the order in which they came; one that this version cannot read is left out, with a warning."""
        with self._lock:
            rows = self._file.execute("SELECT id, owner, created, task, ended, delivery FROM jobs ORDER BY created")
            found = []
            for job_id, owner, created, task, ended, delivery in rows.fetchall():
                pictures = self._file.execute("SELECT png FROM pictures WHERE job = ? ORDER BY number", (job_id,))
                pngs = tuple(png for (png,) in pictures)
                try:
                    asked = ImageTask(**json.loads(task))
                    became = None if delivery is None else _delivery(asked, json.loads(delivery))
                except Exception as error:
                    _LOG.warning("job %s is left out: %s: %s", job_id, type(error).__name__, error)
                    continue
                found.append(SavedJob(asked, owner, created, ended, became, pngs))
        return found

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        try:
            with self._lock:
                self._file.execute(statement, values)
        except sqlite3.Error as error:
            raise ConfigurationError(f"jobs cannot be kept in {self._path}: {error}") from None


def time_left(task: ImageTask, created: float) -> float | None:
    """What is left of a task's deadline [s], at least a moment; None without one."""
    return None if task.deadline_s is None else max(task.deadline_s - (time.time() - created), 1e-3)


def _told(delivery: Delivery) -> dict[str, Any]:
    """A delivery without its images as plain values."""
    return {
        "slot": delivery.slot,
        "server": delivery.server,
        "attempts": delivery.attempts,
        "service_delay_s": delivery.service_delay_s,
        "arrival_s": delivery.arrival_s,
        "record": None if delivery.record is None else asdict(delivery.record),
        "error": None if delivery.error is None else [delivery.error.name, str(delivery.error)],
    }


def _delivery(task: ImageTask, told: dict[str, Any]) -> Delivery:
    record, error = told.pop("record"), told.pop("error")
    return Delivery(
        task=task,
        record=None if record is None else TaskRecord(**record),
        error=None if error is None else EDGE_ERRORS.get(error[0], GenerationFailed)(error[1]),
        **told,
    )

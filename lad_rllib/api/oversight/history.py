"""What became of policies in a service: a record for each step, in memory and in a file of JSON lines."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lad_rllib.errors import ConfigurationError
from lad_rllib.service.decision import DecidedBy

KEPT = 200
"""Latest records that are in memory."""

BEGAN, SHADOW, CANARY, SWAPPED = "began", "shadow", "canary", "swapped"
REJECTED, STOPPED, KEPT_PRESENT = "rejected", "stopped", "kept"
BY_HAND, WENT_BACK, LEFT, WORSE, RECOVERED = "swapped by hand", "went back", "left", "worse", "recovered"
"""Events of records."""

IN_CHARGE = (BEGAN, SWAPPED, BY_HAND, WENT_BACK)
"""Events after which the record's policy is in charge."""

_LOG = logging.getLogger("lad_rllib.api")


class PolicyHistory:
    """Records of what became of policies. May be used from any thread.

    Args:
        file: File that records are added to, a JSON object each; those that it has are read. None: in memory alone.
        clock: The time [s since 1970].
        on_record: Told of each new record.

    Raises:
        ConfigurationError: if the file cannot be read or written.
    """

    def __init__(
        self,
        file: str | None = None,
        clock: Callable[[], float] = time.time,
        on_record: Callable[[Mapping[str, Any]], object] = lambda record: None,
    ) -> None:
        self._file, self._clock, self._on_record = None if file is None else Path(file), clock, on_record
        self._lock = threading.Lock()
        self._records: deque[dict[str, Any]] = deque(maxlen=KEPT)
        if self._file is not None:
            self._records.extend(_read(self._file))

    @property
    def records(self) -> list[dict[str, Any]]:
        """The latest records, the oldest first."""
        with self._lock:
            return list(self._records)

    def add(self, event: str, by: DecidedBy, why: str, previous: str = "", **figures: Any) -> dict[str, Any]:
        """Add a record.

        Args:
            event: What happened.
            by: The policy that it is about.
            why: One line for a person.
            previous: Name of the policy that was in charge before, where that changes.
            **figures: Numbers that the step rests on.
        """
        record = {
            "time": datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds"),
            "event": event,
            "policy": by.policy,
            "policy_hash": by.fingerprint,
            "previous": previous,
            "why": why,
            "figures": figures,
        }
        with self._lock:
            self._records.append(record)
            self._write(record)
        _LOG.log(
            logging.WARNING if event in (WENT_BACK, LEFT, WORSE) else logging.INFO,
            "policy %s: %s (%s)",
            by.policy,
            event,
            why,
            extra={"request": {"event": event, "policy": by.policy, "policy_hash": by.fingerprint}},
        )
        self._on_record(record)
        return record

    def previous_of(self, policy: str) -> str:
        """Name of the policy before the one in charge; empty if that is another one, or was gone back to."""
        for record in reversed(self.records):
            if record["event"] in IN_CHARGE:
                is_same = record["policy"] == policy and record["event"] != WENT_BACK
                return str(record["previous"]) if is_same else ""
        return ""

    @property
    def open_trial(self) -> dict[str, Any] | None:
        """The record of a trial that has not ended, by its latest step; None: there is none."""
        for record in reversed(self.records):
            if record["event"] in (SHADOW, CANARY):
                return record
            if record["event"] in (SWAPPED, REJECTED, STOPPED):
                return None
        return None

    def _write(self, record: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        try:
            with self._file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(record, ensure_ascii=False) + "\n")
                lines.flush()
                os.fsync(lines.fileno())
        except OSError as error:
            _LOG.warning("a record could not be written to %s: %s", self._file, error.strerror)


def _read(file: Path) -> list[dict[str, Any]]:
    """Records of a file; a line that was not written to its end is left out."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        text = file.read_text(encoding="utf-8", errors="replace")
        if text and not text.endswith("\n"):
            with file.open("a", encoding="utf-8") as lines:
                lines.write("\n")
    except OSError as error:
        raise ConfigurationError(f"cannot keep records of policies in {file}: {error.strerror}") from None
    found = []
    for line in text.splitlines()[-KEPT:]:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and {"event", "policy", "previous"} <= record.keys():
            found.append(record)
    return found

"""Log lines of a running service: one JSON object each, with the id of the request."""

from __future__ import annotations

import json
import logging
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path

from ray.serve._private.logging_utils import get_serve_logs_dir

from lad_rllib.api import current_origin
from lad_rllib.errors import ConfigurationError
from lad_rllib.service import Delivery

FILE, MAX_BYTES, BACKUPS = "lad_rllib.log", 100 * 2**20, 5
"""File of the log in Serve's folder of Ray's logs; its greatest length, and how many older ones are kept."""

_LOG = logging.getLogger("lad_rllib.serving")


class JsonLines(logging.Formatter):
    """Writes a record as one JSON object, with the HTTP request and what ``extra={"request": {...}}`` adds."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        request_id = current_origin().request_id
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **({"request_id": request_id} if request_id else {}),
            **getattr(record, "request", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def write_json_lines(file: str | None) -> None:
    """Have this process add what the package logs to a file; None: to :data:`FILE`.

    Standard error would cost more: Ray reads each line there, and sends it to whoever asks for the logs of workers.

    Raises:
        ConfigurationError: if the file cannot be written.
    """
    handler: logging.Handler
    try:
        handler = _own_file() if file is None else logging.FileHandler(file, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot write the log {error.filename}: {error.strerror}") from None
    handler.setFormatter(JsonLines())
    package = logging.getLogger("lad_rllib")
    package.handlers, package.propagate = [handler], False
    package.setLevel(logging.INFO)


def _own_file() -> logging.Handler:
    folder = Path(get_serve_logs_dir())
    folder.mkdir(parents=True, exist_ok=True)
    return RotatingFileHandler(folder / FILE, maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8")


def delivered(delivery: Delivery) -> None:
    """Log the end of a request."""
    record = delivery.record
    said = {
        "task": delivery.task.task_id,
        "server": delivery.server,
        "policy": delivery.decided_by.policy,
        "policy_hash": delivery.decided_by.fingerprint,
        "attempts": delivery.attempts,
        "delay_s": round(delivery.service_delay_s, 4),
        "decision_s": None if delivery.decision_s is None else round(delivery.decision_s, 6),
        "waiting_s": None if record is None else round(record.waiting_s, 4),
        "computing_s": None if record is None else round(record.computing_s, 4),
        "error": delivery.error.name if delivery.error else None,
    }
    _LOG.log(logging.WARNING if delivery.error else logging.INFO, "request ended", extra={"request": said})

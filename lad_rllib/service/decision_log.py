"""A log of what a service was asked for, what it decided, and what came of it; the same log is traffic to learn from.

``traffic: {kind: recorded, format: decisions, path: FOLDER}`` plays it, and so do ``train`` and ``evaluate`` with
``--arrivals FOLDER``.
"""

from __future__ import annotations

import io
import logging
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from lad_rllib import durable
from lad_rllib.declared import Declared
from lad_rllib.edge.record import TaskRecord
from lad_rllib.errors import ConfigurationError
from lad_rllib.service.delivery import Delivery
from lad_rllib.service.offer import Offer
from lad_rllib.service.request_model import RequestModel, lora_set

SERVED = "served"
"""Outcome of a task that got its images; others are names of errors."""

NO_MODEL = "default"
"""Model of a task that names none."""

PARTS_KEPT_IN_MEMORY = 16
"""Rows beyond so many parts are dropped while the disk takes none."""

_LOG = logging.getLogger("lad_rllib.service")


class DecisionLogSettings(Declared):
    """How a decision log is kept; ``lad_rllib.service.DecisionLog`` takes these."""

    flush_s: Annotated[float, Field(gt=0, le=3600)] = 5.0
    """A crash loses at most the rows of so many seconds [s, wall clock]."""
    rows_per_part: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    """Rows of a file, after which the next one begins."""
    max_parts: Annotated[int, Field(ge=2)] | None = None
    """Files that are kept, the latest ones; null: all."""
    prompts: bool = False
    """Whether prompts are written."""


class Column(NamedTuple):
    """A column of the log.

    Attributes:
        kind: pyarrow's name of its type.
        meaning: What it holds, with its unit.
        of: Its value in a row.
    """

    kind: str
    meaning: str
    of: Callable[[Row], Any]


class Row(NamedTuple):
    """What a row is made of.

    Attributes:
        delivery: The end of a task.
        arrived: When it was handed in [s since 1970, wall clock].
        arrival_s: The same by the fleet's clock, in whose seconds durations are [s].
        offer: What its server draws for a task that does not say.
        predicted_service_s: Computing delay that the dispatcher's model predicts on its server [s], or None.
    """

    delivery: Delivery
    arrived: float
    arrival_s: float
    offer: Offer
    predicted_service_s: float | None


def _size(name: str) -> Callable[[Row], int]:
    def size(row: Row) -> int:
        asked = getattr(row.delivery.task, name)
        return int(asked or getattr(row.delivery.record or row.offer, name))

    return size


def _guided(row: Row) -> int:
    guidance = row.delivery.task.guidance
    return int(row.offer.guided if guidance is None else guidance > 1)


def _outcome(delivery: Delivery) -> str:
    return SERVED if delivery.error is None else delivery.error.name


def _result_mbit(row: Row) -> float:
    files = (row.delivery.png, *row.delivery.more_pngs)
    return sum(len(file) for file in files if file is not None) * 8 / 1e6


def _asked(name: str) -> Callable[[Row], Any]:
    return lambda row: getattr(row.delivery.task, name)


def _delivered(name: str) -> Callable[[Row], Any]:
    return lambda row: getattr(row.delivery, name)


def _measured(name: str) -> Callable[[Row], Any]:
    return lambda row: None if row.delivery.record is None else getattr(row.delivery.record, name)


_PARTS = {
    "upload_s": "sending the request over the server's link [s]",
    "waiting_s": "in the server's queue, and suspended [s]",
    "suspended_s": "part of waiting: suspended for other tasks [s]",
    "interruptions": "how often it was suspended",
    "computing_s": "all that the server worked on it [s]",
    "load_s": "part of computing: loading the server's first model [s]",
    "swap_s": "part of computing: loading its model or LoRAs [s]",
    "encode_s": "part of computing: prompt to embeddings [s]",
    "denoise_s": "part of computing: denoising steps [s]",
    "decode_s": "part of computing: latent image to pixels [s]",
    "download_s": "sending the images back over the link [s]",
    "cold_start": "whether it met a cold server, so that its times say nothing of later ones",
    "steps_done": "denoising steps done",
}


def _type_of(name: str) -> str:
    """Name of the type of a record's field, as pyarrow has it."""
    return {"float": "float64", "int": "int64", "bool": "bool"}[str(TaskRecord.__dataclass_fields__[name].type)]


COLUMNS: dict[str, Column] = {
    "task_id": Column("string", "name of the task", _asked("task_id")),
    "arrived": Column("timestamp", "when it was handed in [UTC]", lambda row: round(row.arrived * 1e6)),
    "arrival_s": Column("float64", "the same by the fleet's clock [s]", lambda row: row.arrival_s),
    "station": Column("int64", "base station at which it arrived", _asked("station")),
    "tenant": Column("string", "on whose account", _asked("tenant")),
    "priority": Column("int64", "priority", _asked("priority")),
    "deadline_s": Column("float64", "seconds after arrival at which it was due; missing: none", _asked("deadline_s")),
    "steps": Column("int64", "denoising steps asked for", _asked("denoising_steps")),
    "width": Column("int64", "width, asked for or the server's own [pixel]", _size("width")),
    "height": Column("int64", "height, asked for or the server's own [pixel]", _size("height")),
    "images": Column("int64", "images asked for", _asked("images")),
    "guided": Column("int64", "1 with guidance, else 0", _guided),
    "guidance": Column("float64", "guidance scale asked for; missing: the server's own", _asked("guidance")),
    "model": Column("string", "model asked for, or `default`", lambda row: row.delivery.task.model or NO_MODEL),
    "loras": Column("string", "LoRAs asked for, separated by spaces", lambda row: lora_set(row.delivery.task)),
    "upload_mbit": Column("float64", "size of the request [Mbit]", _asked("upload_mbit")),
    "result_mbit": Column("float64", "size of the images [Mbit]", _result_mbit),
    "slot": Column("int64", "decision round", _delivered("slot")),
    "policy": Column("string", "who chose its server; empty: nobody did", lambda row: row.delivery.decided_by.policy),
    "policy_hash": Column(
        "string",
        "first digits of the SHA-256 of that policy's weights (`policy.safetensors`); empty: it has none",
        lambda row: row.delivery.decided_by.fingerprint,
    ),
    "server": Column("string", "server that answered last; empty: none did", _delivered("server")),
    "attempts": Column("int64", "servers that it was sent to", _delivered("attempts")),
    "predicted_delay_s": Column(
        "float64", "delay that the server predicted at submission [s]", _measured("predicted_delay_s")
    ),
    "predicted_service_s": Column(
        "float64", "computing delay there that the dispatcher's model predicts [s]", lambda row: row.predicted_service_s
    ),
    "service_delay_s": Column("float64", "from hand-over to the image [s]", _delivered("service_delay_s")),
    "dispatch_s": Column(
        "float64", "part of it beside the server: lost attempts, transport [s]", _delivered("dispatch_s")
    ),
    **{name: Column(_type_of(name), meaning, _measured(name)) for name, meaning in _PARTS.items()},
    "drawing_s": Column(
        "float64", "computing without loading: what a service model predicts [s]", _measured("drawing_s")
    ),
    "outcome": Column("string", "`served`, or the name of the error", lambda row: _outcome(row.delivery)),
}
"""Columns of the log, in order; durations are in the fleet's seconds, and parts of a delay missing where it failed."""


class DecisionLog:
    """Takes the end of each task and writes Parquet files: an observer of deliveries.

    A file is complete at any time: it is replaced as a whole with every flush, until it has its rows and the next one
    begins. Writing has a thread of its own; calls return at once. A disk that takes nothing stops no service: rows wait
    in memory, and beyond some the oldest are dropped and counted. Close it, or use it in a ``with``.

    Args:
        folder: Where the files are; made if it is not there. Several logs may share it.
        model: The dispatcher's, for predicted service times and for what is drawn for tasks that do not say.
        time_scale: Wall seconds per second of the fleet, whose dispatcher is in this process.
        settings: Fields of :class:`DecisionLogSettings`.

    Attributes:
        rows_dropped: Rows that no file has.

    Raises:
        ConfigurationError: if the folder cannot be made, or for a setting out of range.
    """

    def __init__(
        self, folder: str | Path, *, model: RequestModel | None = None, time_scale: float = 1.0, **settings: Any
    ) -> None:
        self.settings = DecisionLogSettings(**settings)
        self.folder, self.rows_dropped = Path(folder), 0
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"cannot make the folder {folder} of the log: {error.strerror}") from None
        self._model, self._time_scale = model, time_scale
        names = [] if model is None else [server.name for server in model.world.servers]
        self._index = {name: index for index, name in enumerate(names)}
        self._clock_offset_s = time.time() - time.perf_counter()
        self._changed = threading.Condition()
        self._new: list[dict[str, Any]] = []
        self._writing = threading.Lock()
        self._rows: list[dict[str, Any]] = []  # of the part that is being written
        self._part = self._next_part()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="decision log", daemon=True)
        self._thread.start()

    def __enter__(self) -> DecisionLog:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __call__(self, delivery: Delivery) -> None:
        """Take the end of a task; from any thread."""
        row = self._row(delivery)
        with self._changed:
            self._new.append(row)

    def flush(self) -> None:
        """Have all rows so far on disk when this returns, unless it takes none."""
        with self._writing:
            with self._changed:
                self._rows += self._new
                self._new = []
            size = self.settings.rows_per_part
            try:
                while self._rows:
                    self._write(self._rows[:size])
                    if len(self._rows) < size:
                        return
                    del self._rows[:size]
                    self._part = self._next_part()
                    self._forget_old()
            except OSError as error:
                surplus = max(0, len(self._rows) - PARTS_KEPT_IN_MEMORY * size)
                del self._rows[:surplus]
                self.rows_dropped += surplus
                _LOG.warning("the decision log cannot be written to %s: %s", self.folder, error.strerror)

    def close(self) -> None:
        """Write what is left, and stop. May be called twice."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()
        self.flush()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._is_closed, self.settings.flush_s):
                    return
                is_new = bool(self._new)
            if is_new:
                self.flush()

    def _row(self, delivery: Delivery) -> dict[str, Any]:
        server, predicted_s, offer = self._index.get(delivery.server), None, Offer()
        if self._model is not None:
            offer = self._model.offers[server or 0]
            if server is not None:
                predicted_s = float(self._model.service_s(delivery.task)[server])
        arrived = self._clock_offset_s + delivery.arrival_s * self._time_scale
        row = Row(delivery, arrived, arrived / self._time_scale, offer, predicted_s)
        values = {name: column.of(row) for name, column in COLUMNS.items()}
        if self.settings.prompts:
            values["prompt"] = delivery.task.prompt
        return values

    def _write(self, rows: list[dict[str, Any]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        types = {name: column.kind for name, column in COLUMNS.items()}
        if self.settings.prompts:
            types["prompt"] = "string"
        schema = pa.schema([(name, _arrow_type(kind)) for name, kind in types.items()])
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema), buffer)
        durable.write_file(self._part, buffer.getvalue())

    def _next_part(self) -> Path:
        """A file whose name comes after those before it."""
        now = time.time()
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now))
        return self.folder / f"decisions-{stamp}.{int(now % 1 * 1e6):06d}-{uuid.uuid4().hex[:8]}.parquet"

    def _forget_old(self) -> None:
        """Delete the oldest files beyond those that are kept."""
        if self.settings.max_parts is not None:
            for path in sorted(self.folder.glob("decisions-*.parquet"))[: -self.settings.max_parts + 1]:
                path.unlink(missing_ok=True)


def _arrow_type(kind: str) -> Any:
    import pyarrow as pa

    return pa.timestamp("us", "UTC") if kind == "timestamp" else pa.type_for_alias(kind)

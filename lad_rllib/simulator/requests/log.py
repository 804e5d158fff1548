"""Request logs: which column means what, and the requests that a file holds.

Any log is taken whose columns can be named; the known ones are in :data:`FORMATS`. :func:`write_requests` writes a tidy
one, with which a service's own requests become traffic.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib.declared import check_keys, shown
from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator.field_types import MAX_COUNT, MAX_STEPS
from lad_rllib.simulator.requests.requests import Requests, plain_requests
from lad_rllib.simulator.requests.traffic import Sent
from lad_rllib.simulator.traces.batches import MAX_ROWS, column_names, one_line, read_batches
from lad_rllib.simulator.traces.columns import labels, numbers, times
from lad_rllib.simulator.traces.records import RECORD_SUFFIXES, read_records

FloatArray = NDArray[np.float64]

NUMBERS: dict[str, tuple[float, float]] = {
    "steps": (1, MAX_STEPS),
    "width": (1, 65_536),
    "height": (1, 65_536),
    "images": (1, 1e4),
    "guided": (0, 1),
    "station": (0, MAX_COUNT),
    "priority": (-1e6, 1e6),
    "deadline_s": (0, 1e9),
    "deadline_ms": (0, 1e12),
    "density": (1e-9, 1e9),
    "upload_mbit": (0, 1e9),
    "result_mbit": (0, 1e9),
    "lora_count": (0, 1e6),
    "service_s": (1e-9, 1e6),
}
"""What a numeric column may mean, with its bounds. ``service_s``: the time that the request took on a server of speed
1, alone, with its model loaded; ``lora_count``: how many LoRAs it used, where the log does not say which."""
CONSTANTS = tuple(name for name in NUMBERS if name not in ("deadline_ms", "lora_count", "service_s"))
"""What may be the same for all requests of a log that does not say it."""
NAMES = ("model", "loras", "tenant")
"""What a column of names may mean; ``loras`` is the set of all that the request uses."""
ARRIVAL = "arrival_s"
"""When requests arrived: seconds, or times of any kind that :mod:`lad_rllib.simulator.traces.columns` reads."""
MEANINGS = (ARRIVAL, *NAMES, *NUMBERS)
DEMAND_NOT_SERVED = (
    *("deadline_exceeded", "queue_full", "server_unavailable", "model_load_failed", "device_broken"),
    *("out_of_memory", "non_finite_image", "generation_failed"),
)
"""Errors of requests that a service had to deal with; others were wrong, or withdrawn."""
_MAY_BE_MISSING = ("loras", "tenant", "deadline_s", "deadline_ms", "priority")


@dataclass(frozen=True)
class LogFormat:
    """A kind of log.

    Attributes:
        columns: Column of each meaning.
        keep: Rows that are used: the values that a column may have.
    """

    columns: Mapping[str, str]
    keep: Mapping[str, Sequence[str]]


FORMATS: dict[str, LogFormat] = {
    # What write_requests() writes.
    "requests": LogFormat({name: name for name in MEANINGS}, {}),
    # deliveries.csv of a live run. What a task took there is not what it takes on a server of speed 1.
    "deliveries": LogFormat(
        {name: name for name in (ARRIVAL, "width", "height", "images", "model", "loras", "station")}
        | {"steps": "steps_asked"},
        {},
    ),
    # A folder of a running service's decision log. What a task took there is not what it takes on a server of speed 1.
    "decisions": LogFormat(
        {
            name: name
            for name in (
                *(ARRIVAL, "steps", "width", "height", "images", "guided", "model", "loras", "tenant", "station"),
                *("priority", "deadline_s", "upload_mbit", "result_mbit"),
            )
        },
        {"outcome": ("served", *DEMAND_NOT_SERVED)},
    ),
    # Alibaba clusterdata, cluster-trace-v2026-GenAI, lora_request_trace.csv.
    "gentd26": LogFormat(
        {
            ARRIVAL: "gmt_create",
            "steps": "num_inference_steps",
            "images": "num_images_per_prompt",
            "model": "checkpoint_model_version_id",
            "lora_count": "num_lora",
            "tenant": "groupId",
            "service_s": "exec_time_seconds",
        },
        {"predict_type": ("TXT_2_IMG",), "predict_status": ("SUCCEED",)},
    ),
    # Katz (S. Li et al., USENIX ATC 2025), diffusion_model_request_trace.json: no steps, sizes or times.
    "katz": LogFormat({ARRIVAL: "timestamp", "model": "base_model_id", "loras": "loras", "tenant": "scene_id"}, {}),
    # Traces of the diffusion benchmark of vLLM-Omni: lines as Request(width=512, ...); most have no timestamps.
    "vllm-omni": LogFormat(
        {
            ARRIVAL: "timestamp",
            "steps": "num_inference_steps",
            "width": "width",
            "height": "height",
            "deadline_ms": "slo_ms",
        },
        {},
    ),
}
"""Known kinds of logs; a log need not have all columns of its kind."""


@dataclass(frozen=True)
class RequestLog:
    """The usable requests of a log, in order of arrival.

    Attributes:
        path: File that was read.
        sent: The requests, the first at 0 s, and their measured times.
        has_arrivals: Whether the log says when they arrived; else they are in its order, all at 0 s.
        rows_read: Rows of the file.
        not_used: Rows that are not used, by reason; with the requests they add up to ``rows_read``.
    """

    path: str
    sent: Sent
    has_arrivals: bool
    rows_read: int
    not_used: dict[str, int]


def read_log(
    path: str | Path,
    kind: str = "requests",
    columns: Mapping[str, str] | None = None,
    keep: Mapping[str, Sequence[str]] | None = None,
    constants: Mapping[str, float] | None = None,
) -> RequestLog:
    """Read a request log: ``.csv``, ``.csv.gz``, ``.parquet``, ``.json``, ``.jsonl``, ``.txt``, or a folder of Parquet.

    Rows with a missing, unreadable or impossible value in a column that is used are left out and counted; LoRAs,
    tenants, deadlines and priorities may be missing.

    Args:
        path: The file, or a folder whose ``.parquet`` files are one log.
        kind: What its columns mean, see :data:`FORMATS`.
        columns: Column of single meanings, instead of those of the kind; the log must have these.
        keep: Values that a column may have in rows that are used, instead of those of the kind.
        constants: Values of what the log does not say, such as ``{"steps": 30}``.

    Raises:
        ConfigurationError: for an unknown kind, or if the file cannot be read, lacks a column, or has no usable row.
    """
    if kind not in FORMATS:
        raise ConfigurationError(f"unknown kind of log {shown(kind)}; choose from {', '.join(FORMATS)}")
    reader = _Reader(Path(path), FORMATS[kind], columns or {}, keep)
    for batch in reader.batches():
        with one_line(reader.path):
            reader.add(batch)
    return reader.log(constants or {})


def read_requests(path: str | Path) -> Sent:
    """Read a log that :func:`write_requests` wrote, or a service in the same columns; the first arrives at 0 s."""
    return read_log(path).sent


def write_requests(path: str | Path, requests: Requests, service_s: FloatArray | None = None) -> None:
    """Write requests as a tidy log, one row each, whose columns are named as attributes of :class:`Requests`.

    Args:
        path: A name that ends in ``.parquet``, ``.csv`` or ``.csv.gz``.
        requests: The requests.
        service_s: The time that each took on a server of speed 1, alone, with its model loaded [s], shape (K,), if it
            was measured.

    Raises:
        ConfigurationError: for another ending.
    """
    import pandas as pd

    path = Path(path)
    table: dict[str, Any] = {ARRIVAL: requests.arrival_s}
    for name, names in (("model", "models"), ("loras", "lora_sets"), ("tenant", "tenants")):
        table[name] = np.array(getattr(requests, names), dtype=object)[getattr(requests, name)]
    table |= {name: getattr(requests, name) for name in NUMBERS if hasattr(requests, name)}
    table["guided"] = requests.guided.astype(np.int64)
    table["deadline_s"] = np.where(np.isfinite(requests.deadline_s), requests.deadline_s, np.nan)
    if service_s is not None:
        table["service_s"] = service_s
    frame = pd.DataFrame(table)
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    elif path.name.endswith((".csv", ".csv.gz")):
        frame.to_csv(path, index=False)
    else:
        raise ConfigurationError(f"a request log is written as .parquet, .csv or .csv.gz, got {path}")


class _Reader:
    """Collects the used rows of a log, batch by batch."""

    def __init__(
        self, path: Path, form: LogFormat, columns: Mapping[str, str], keep: Mapping[str, Sequence[str]] | None
    ) -> None:
        check_keys("columns: ", columns, MEANINGS)
        self.path = path
        self._records = path.suffix in RECORD_SUFFIXES and path.is_file()
        self._whole = read_records(path) if self._records else None
        self._files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        if not self._files:
            raise ConfigurationError(f"trace folder {path} holds no .parquet file")
        present = self._whole.schema.names if self._whole is not None else column_names(self._files[0])
        own = {meaning: column for meaning, column in form.columns.items() if column in present}
        self._columns = {**own, **columns}
        self._keep = form.keep if keep is None else keep
        self._kept: list[dict[str, Any]] = []
        self._not_used: Counter[str] = Counter()
        self._rows = 0
        if missing := [column for column in (*columns.values(), *self._keep) if column not in present]:
            raise ConfigurationError(f"trace file {path} lacks the column {missing[0]}; it has {', '.join(present)}")
        if not self._columns:
            raise ConfigurationError(
                f"trace file {path} has none of the columns {', '.join(form.columns.values())}; name its own by columns"
            )

    def batches(self) -> Any:
        """The file's rows, in pieces."""
        names = [*dict.fromkeys((*self._columns.values(), *self._keep))]
        if self._records:
            return [self._whole]
        return itertools.chain.from_iterable(read_batches(file, names) for file in self._files)

    def add(self, batch: Any) -> None:
        """Take the next piece."""
        reason = np.full(batch.num_rows, "", dtype=object)

        def leave_out(rows: NDArray[np.bool_], why: str) -> None:
            reason[rows & (reason == "")] = why

        for column, accepted in self._keep.items():
            found = labels(batch.column(column), self._where(column))
            names = np.array([*found.names, "missing"], dtype=object)[found.index]
            for name in {*names} - {*accepted}:
                leave_out(names == name, f"{column} is {name}")
        values = {meaning: self._values(batch, meaning, leave_out) for meaning in self._columns}
        used = reason == ""
        self._rows += batch.num_rows
        if self._rows > MAX_ROWS:
            raise ConfigurationError(f"trace folder {self.path} has more than {MAX_ROWS:,} rows, the limit; split it")
        self._not_used.update(reason[~used].tolist())
        self._kept.append({meaning: column[used] for meaning, column in values.items()})

    def _values(self, batch: Any, meaning: str, leave_out: Any) -> NDArray[Any]:
        """One column of a piece; rows that cannot be used are left out."""
        name = self._columns[meaning]
        column, where = batch.column(name), self._where(name)
        if meaning in NAMES:
            found = labels(column, where)
            texts: NDArray[Any] = np.array([*found.names, ""], dtype=object)[found.index]
            if meaning not in _MAY_BE_MISSING:
                leave_out(found.index < 0, f"{name} is missing")
            return texts
        if meaning == ARRIVAL:
            return _arrivals(column, where, name, leave_out)
        values, is_missing = numbers(column, where, is_time_span=meaning == "service_s")
        if meaning not in _MAY_BE_MISSING:
            leave_out(is_missing, f"{name} is missing")
        leave_out(~is_missing & ~np.isfinite(values), f"{name} is not a number")
        low, high = NUMBERS[meaning]
        leave_out(values < low, f"{name} is below {low:g}")
        leave_out(values > high, f"{name} is above {high:g}")
        return values

    def _where(self, column: str) -> str:
        return f"trace file {self.path}, column {column}"

    def log(self, constants: Mapping[str, float]) -> RequestLog:
        """The used rows in order of arrival; rows of one time stay in the order of the file."""
        columns = {name: np.concatenate([one[name] for one in self._kept]) for name in self._columns if self._kept}
        not_used = dict(self._not_used.most_common())
        number = len(next(iter(columns.values()))) if columns else 0
        if number == 0:
            account = ", ".join(f"{text}: {count}" for text, count in not_used.items()) or "it has a header only"
            raise ConfigurationError(f"trace file {self.path} has no usable rows ({account})")
        has_arrivals = ARRIVAL in columns
        arrival_s = columns.pop(ARRIVAL, np.zeros(number))
        order = np.argsort(arrival_s, kind="stable")
        columns = {name: column[order] for name, column in columns.items()}
        measured_s = columns.pop("service_s", None)
        requests = _requests(arrival_s[order] - arrival_s.min(), columns, constants)
        return RequestLog(str(self.path), Sent(requests, measured_s), has_arrivals, self._rows, not_used)


def _arrivals(column: Any, where: str, name: str, leave_out: Any) -> FloatArray:
    """Times in seconds; a column of numbers holds seconds, another one timestamps or dates."""
    import pyarrow as pa

    if not (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
        values, is_missing = numbers(column, where)
        if np.isfinite(values).any() or is_missing.all():
            leave_out(is_missing, f"{name} is missing")
            leave_out(~is_missing & ~np.isfinite(values), f"{name} is not a time")
            return values
    time_us, is_time, is_missing = times(column, where)
    leave_out(is_missing, f"{name} is missing")
    leave_out(~is_time, f"{name} is not a time")
    return time_us / 1e6


def _requests(arrival_s: FloatArray, columns: dict[str, NDArray[Any]], constants: Mapping[str, float]) -> Requests:
    """Requests from columns by meaning."""
    values: dict[str, Any] = {**constants, **columns}
    if (count := values.pop("lora_count", None)) is not None and "loras" not in values:
        # A log that says how many, not which: a tenant's requests with one model and as many LoRAs use the same.
        nameless = [""] * len(count)
        users = zip(values.get("tenant", nameless), values.get("model", nameless), count.tolist(), strict=True)
        sets = [f"{tenant}/{model}/{number:g}" if number > 0 else "" for tenant, model, number in users]
        values["loras"] = np.array(sets, dtype=object)
    if (deadline_ms := values.pop("deadline_ms", None)) is not None:
        values["deadline_s"] = deadline_ms / 1e3
    if "deadline_s" in values:
        values["deadline_s"] = np.where(np.isnan(values["deadline_s"]), np.inf, values["deadline_s"])
    if "priority" in values:
        values["priority"] = np.nan_to_num(values["priority"])
    for name, plural in (("model", "models"), ("loras", "lora_sets"), ("tenant", "tenants")):
        if name in values:
            first = ("",) if name == "loras" else ()
            names = dict.fromkeys([*first, *values[name].tolist()])
            index = {text: position for position, text in enumerate(names)}
            values[name] = np.array([index[text] for text in values[name].tolist()])
            values[plural] = tuple(names)
    return plain_requests(arrival_s, **values)

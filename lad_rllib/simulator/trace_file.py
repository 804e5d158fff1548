"""Recorded requests of a text-to-image service: which rows of the log are used, and what they mean.

The columns are those of the public trace GenTD26 (Alibaba ``clusterdata``, folder ``cluster-trace-v2026-GenAI``).
All rules that turn a row into a task are fields of :class:`TraceRules`; ``docs/traces.md`` gives the reasons.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lad_rllib.errors import ConfigurationError

TEXT_TO_IMAGE = "TXT_2_IMG"
DEFAULT_LOAD = 1.2
"""Load of a trace if the user states neither load nor time compression: near the published setting's 1.24."""

_LABELS = ("gmt_create", "predict_type", "predict_status", "groupId")
_NEGATIVE_PROMPT = "negative_prompt_length"
_LEAST = {
    "exec_time_seconds": 0.0,  # which is itself not allowed
    "prompt_length": 0.0,
    "num_images_per_prompt": 1.0,
    "num_inference_steps": 1.0,
    _NEGATIVE_PROMPT: 0.0,
}
"""Numeric columns and their least values. All but the negative prompt's must be there in a usable row."""


def _is_integer(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


@dataclass(frozen=True)
class TraceRules:
    """How rows of a request log become tasks in slots. Every default can be overridden.

    Attributes:
        predict_types: Values of ``predict_type`` that are used. Default: text-to-image only, since the log does not
            say how large the uploaded picture of an image-to-image request was.
        predict_statuses: Values of ``predict_status`` that are used. Default: requests that succeeded, since the
            execution time of others is not that of a finished image.
        strict: Refuse a log in which a row with a used type and status has a missing, unreadable or impossible value
            (default: such rows are left out and counted).
        load: Offered work over capacity that the time compression is chosen for; 1.2 if ``time_compression`` is not
            given either.
        time_compression: Seconds of the log per second of service. Not together with ``load``.
        max_gap_s: A longer pause between two requests of the log is shortened to this [s of the log]; None keeps
            all. Default 300 s, more than ten mean executions: beyond it the service is idle.
        station_rule: How user groups are spread over base stations. ``balanced``: the group with most requests first,
            each to the station with fewest requests so far. ``hash``: CRC-32 of the group's name modulo the number
            of stations (does not depend on the other rows; unbalanced).
        station_of_group: Base station of single groups; the others follow ``station_rule``.
        reference_capacity_gcycles_per_s: Capacity of the machine on which the log's execution times were measured
            [Gcycle/s]; None takes the mean capacity of the network, so that a mean server needs the logged time.
        work_scale: Factor on the work of every task.
        bytes_per_character: Bytes of one prompt character. 3 covers UTF-8 up to CJK; Latin script needs 1.
        count_negative_prompt: Whether the negative prompt is part of the input. A missing one has no characters.
        request_overhead_bytes: Bytes of a request beside its prompts (headers, parameters).
        input_image_mbit: Size of the picture that other than text-to-image requests upload [Mbit]; an assumption.
        result_mbit_per_image: Size of a result image [Mbit]; mean of the setting of arXiv 2412.18212.
        max_tasks: Most tasks of one station in one slot; further ones wait for the next slot. None: no limit, the
            padded size is the largest count in the log.
    """

    predict_types: tuple[str, ...] = (TEXT_TO_IMAGE,)
    predict_statuses: tuple[str, ...] = ("SUCCEED",)
    strict: bool = False
    load: float | None = None
    time_compression: float | None = None
    max_gap_s: float | None = 300.0
    station_rule: str = "balanced"
    station_of_group: Mapping[str, int] = field(default_factory=dict)
    reference_capacity_gcycles_per_s: float | None = None
    work_scale: float = 1.0
    bytes_per_character: float = 3.0
    count_negative_prompt: bool = True
    request_overhead_bytes: float = 2048.0
    input_image_mbit: float = 0.8
    result_mbit_per_image: float = 0.8
    max_tasks: int | None = None

    def __post_init__(self) -> None:
        for name in ("predict_types", "predict_statuses"):
            value = getattr(self, name)
            if isinstance(value, str) or not value or not all(isinstance(v, str) for v in value):
                raise ConfigurationError(f"{name} needs a list of at least one name, got {value!r}")
            object.__setattr__(self, name, tuple(value))
        for name in ("strict", "count_negative_prompt"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigurationError(f"{name} must be true or false, got {getattr(self, name)!r}")
        if self.load is not None and self.time_compression is not None:
            raise ConfigurationError(
                f"load {self.load} and time_compression {self.time_compression} exclude each other: "
                "the load follows from the compression; leave one out (null)"
            )
        for name in ("load", "time_compression", "max_gap_s", "reference_capacity_gcycles_per_s", "work_scale"):
            self._check_number(name, positive=True, optional=name != "work_scale")
        for name in ("bytes_per_character", "request_overhead_bytes", "input_image_mbit", "result_mbit_per_image"):
            self._check_number(name, positive=False, optional=False)
        if self.max_tasks is not None and not (_is_integer(self.max_tasks) and self.max_tasks >= 1):
            raise ConfigurationError(f"max_tasks must be a whole number of at least 1 or null, got {self.max_tasks!r}")
        if self.station_rule not in ("balanced", "hash"):
            raise ConfigurationError(f"station_rule must be 'balanced' or 'hash', got {self.station_rule!r}")
        if not isinstance(self.station_of_group, Mapping) or not all(map(_is_integer, self.station_of_group.values())):
            raise ConfigurationError(f"station_of_group must map groups to stations, got {self.station_of_group!r}")

    def _check_number(self, name: str, *, positive: bool, optional: bool) -> None:
        value = getattr(self, name)
        if value is None and optional:
            return
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
            raise ConfigurationError(f"{name} must be a finite number, got {value!r}")
        if value < 0 or (positive and value == 0):
            raise ConfigurationError(f"{name} must {'be positive' if positive else 'not be negative'}, got {value}")

    @property
    def columns(self) -> list[str]:
        """Columns that the log must have."""
        return [*_LABELS, *self.measures]

    @property
    def measures(self) -> list[str]:
        """Numeric columns that the log must have."""
        return [name for name in _LEAST if name != _NEGATIVE_PROMPT or self.count_negative_prompt]


DEFAULT_RULES = TraceRules()


@dataclass(frozen=True)
class TraceRequests:
    """The usable requests of a log in order of creation, K of them, and an account of the rest.

    Attributes:
        path: File that was read.
        created_s: Creation time since the first usable request [s], shape (K,).
        group: User group, shape (K,).
        exec_s: Execution time [s], shape (K,).
        denoising_steps: Inference steps times images, shape (K,).
        images: Images, shape (K,).
        characters: Characters of the prompts, shape (K,).
        has_input_image: True where the request uploads a picture, shape (K,).
        rows_read: Rows of the file.
        not_used: Rows that are not used, by reason; with K they add up to ``rows_read``.
        groups: All groups that the file names, used or not.
    """

    path: str
    created_s: NDArray[np.float64]
    group: NDArray[np.object_]
    exec_s: NDArray[np.float64]
    denoising_steps: NDArray[np.float64]
    images: NDArray[np.float64]
    characters: NDArray[np.float64]
    has_input_image: NDArray[np.bool_]
    rows_read: int
    not_used: dict[str, int]
    groups: frozenset[str]


def sample_trace_path() -> Path:
    """The small made-up request log that comes with the package (``lad_rllib/data/README.md`` says how it was made)."""
    return Path(str(resources.files("lad_rllib") / "data" / "sample_trace.csv"))


def read_trace(path: str | Path, rules: TraceRules = DEFAULT_RULES) -> TraceRequests:
    """Read a request log (``.csv``, ``.csv.gz`` or ``.parquet``) and keep the rows that the rules select.

    Raises:
        ConfigurationError: if the file cannot be read, lacks a column or has no usable row; with ``rules.strict``
            also at the first missing, unreadable or impossible value.
    """
    table = _read_columns(Path(path), rules.columns)
    created = _creation_times(table["gmt_create"])
    numbers = {name: pd.to_numeric(table[name], errors="coerce").to_numpy(float) for name in rules.measures}
    reason, is_bad_value = _reasons(table, created, numbers, rules)
    if rules.strict and is_bad_value.any():
        row = int(is_bad_value.argmax())
        raise ConfigurationError(f"trace file {path}, row {row + 1}: {reason[row]}; strict: false leaves such rows out")
    used = reason == ""
    values, counts = np.unique(reason[~used].astype(str), return_counts=True)
    not_used = {str(values[i]): int(counts[i]) for i in np.argsort(-counts, kind="stable")}
    if not used.any():
        account = ", ".join(f"{text}: {count}" for text, count in not_used.items()) or "it has a header only"
        raise ConfigurationError(f"trace file {path} has no usable rows ({account})")
    seconds = (created[used] - created[used].min()).dt.total_seconds().to_numpy(float)
    order = np.argsort(seconds, kind="stable")
    kept = {name: column[used][order] for name, column in numbers.items()}
    characters = kept["prompt_length"]
    if rules.count_negative_prompt:
        characters = characters + np.nan_to_num(kept[_NEGATIVE_PROMPT])
    return TraceRequests(
        path=str(path),
        created_s=seconds[order],
        group=table["groupId"][used].to_numpy(object)[order],
        exec_s=kept["exec_time_seconds"],
        denoising_steps=kept["num_inference_steps"] * kept["num_images_per_prompt"],
        images=kept["num_images_per_prompt"],
        characters=characters,
        has_input_image=(table["predict_type"][used] != TEXT_TO_IMAGE).to_numpy(bool)[order],
        rows_read=len(table),
        not_used=not_used,
        groups=frozenset(table["groupId"].dropna()),
    )


def _read_columns(path: Path, columns: list[str]) -> pd.DataFrame:
    """The named columns, as text (Parquet keeps its numbers and times)."""
    if not path.is_file():
        raise ConfigurationError(f"trace file {path} does not exist or is not a file")
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        elif path.name.endswith((".csv", ".csv.gz")):
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)
                table = pd.read_csv(path, dtype=str, index_col=False)
        else:
            raise ConfigurationError(f"trace file {path} must end in .csv, .csv.gz or .parquet")
    except pd.errors.EmptyDataError:
        raise ConfigurationError(f"trace file {path} is empty; it needs a header and rows") from None
    except ConfigurationError:
        raise
    except (OSError, ValueError, EOFError, ImportError, zlib.error, pd.errors.ParserWarning) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigurationError(f"trace file {path} cannot be read: {first_line}") from None
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ConfigurationError(f"trace file {path} lacks the column {', '.join(missing)}")
    table = table[columns].reset_index(drop=True)
    for name in ("predict_type", "predict_status", "groupId"):
        table[name] = table[name].astype(object).where(table[name].isna(), table[name].astype(str))
    return table


def _creation_times(column: pd.Series) -> pd.Series:
    if not pd.api.types.is_datetime64_any_dtype(column):
        column = column.astype(object).where(column.isna(), column.astype(str))
    return pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")


def _reasons(
    table: pd.DataFrame, created: pd.Series, numbers: Mapping[str, NDArray[np.float64]], rules: TraceRules
) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """First reason against each row ("" if it is used), and whether that is a bad value (not a rule's selection)."""
    reason = np.full(len(table), "", dtype=object)

    def mark(hit: NDArray[np.bool_], text: str | NDArray[np.object_]) -> None:
        reason[:] = np.where(hit & (reason == ""), text, reason)

    for name, accepted in (("predict_status", rules.predict_statuses), ("predict_type", rules.predict_types)):
        is_missing = table[name].isna().to_numpy(bool)
        mark(~is_missing & ~table[name].isin(accepted).to_numpy(bool), (name + " is " + table[name]).to_numpy(object))
    is_selected = reason == ""
    for name in _LABELS:
        mark(table[name].isna().to_numpy(bool), f"{name} is missing")
    mark(created.isna().to_numpy(bool), "gmt_create is not a time")
    for name, values in numbers.items():
        is_missing = table[name].isna().to_numpy(bool)
        if name != _NEGATIVE_PROMPT:
            mark(is_missing, f"{name} is missing")
        mark(~is_missing & ~np.isfinite(values), f"{name} is not a number")
        mark(values < _LEAST[name], f"{name} is below {_LEAST[name]:g}")
        if name == "exec_time_seconds":
            mark(values == 0, f"{name} is 0")
    return reason, is_selected & (reason != "")

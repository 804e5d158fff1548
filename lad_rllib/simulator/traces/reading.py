"""Recorded requests of a text-to-image service: the usable rows of a log, and an account of the others."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator.traces.batches import one_line, read_batches
from lad_rllib.simulator.traces.columns import Labels, labels, numbers, times
from lad_rllib.simulator.traces.rules import (
    BOUNDS,
    CREATED,
    DEFAULT_RULES,
    EXECUTION_TIME,
    LABELS,
    NEGATIVE_PROMPT,
    TEXT_TO_IMAGE,
    TraceRules,
)

MAX_GROUPS = 1_000_000
"""Most user groups of a log."""
MAX_REASONS = 50
"""Reasons that are counted one by one; further labels that no rule selects are counted together."""


@dataclass(frozen=True)
class TraceRequests:
    """The usable requests of a log in order of creation, K of them, and an account of the rest.

    Attributes:
        path: File that was read.
        created_s: Creation time since the first usable request [s], shape (K,).
        group_index: User group, as position in ``groups``, shape (K,).
        groups: All groups that the file names, used or not, in alphabetical order.
        exec_s: Execution time [s], shape (K,).
        denoising_steps: Inference steps times images, shape (K,).
        images: Images, shape (K,).
        characters: Characters of the prompts, shape (K,).
        has_input_image: True where the request uploads a picture, shape (K,).
        rows_read: Rows of the file.
        not_used: Rows that are not used, by reason; with K they add up to ``rows_read``.
    """

    path: str
    created_s: NDArray[np.float64]
    group_index: NDArray[np.int64]
    groups: tuple[str, ...]
    exec_s: NDArray[np.float64]
    denoising_steps: NDArray[np.float64]
    images: NDArray[np.float64]
    characters: NDArray[np.float64]
    has_input_image: NDArray[np.bool_]
    rows_read: int
    not_used: dict[str, int]

    @property
    def group(self) -> NDArray[np.object_]:
        """Name of each request's user group, shape (K,)."""
        return np.array(self.groups, dtype=object)[self.group_index]


def sample_trace_path() -> Path:
    """The small made-up request log that comes with the package (``lad_rllib/data/README.md`` says how it was made)."""
    return Path(str(resources.files("lad_rllib") / "data" / "sample_trace.csv"))


def read_trace(path: str | Path, rules: TraceRules = DEFAULT_RULES) -> TraceRequests:
    """Read a request log (``.csv``, ``.csv.gz`` or ``.parquet``) and keep the rows that the rules select.

    Memory holds a few megabytes of the file at a time and the values of the rows that are kept.

    Raises:
        ConfigurationError: if the file cannot be read, is above a limit, lacks a column or has no usable row; with
            ``rules.strict`` also at the first missing, unreadable or impossible value.
    """
    reader = _Reader(Path(path), rules)
    for batch in read_batches(reader.path, rules.columns):
        with one_line(reader.path):
            reader.add(batch)
    return reader.requests()


class _Batch:
    """The K rows of a batch as arrays, and why each is not used, if it is not."""

    def __init__(self, path: Path, batch: Any, rules: TraceRules) -> None:
        def column(name: str) -> tuple[Any, str]:
            return batch.column(name), f"trace file {path}, column {name}"

        self.size = batch.num_rows
        self.labels = {name: labels(*column(name)) for name in LABELS}
        self.time_us, self._is_time, self._no_time = times(*column(CREATED))
        self.numbers: dict[str, NDArray[np.float64]] = {}
        self._no_number: dict[str, NDArray[np.bool_]] = {}
        for name in rules.measures:
            values, is_missing = numbers(*column(name), is_time_span=name == EXECUTION_TIME)
            self.numbers[name], self._no_number[name] = values, is_missing
        self.reason = np.full(self.size, -1, dtype=np.int64)
        self.reasons: list[str] = []
        self._select(rules)
        is_selected = self.reason < 0
        self._check_values()
        self.is_used = self.reason < 0
        self.is_bad_value = is_selected & ~self.is_used

    def _select(self, rules: TraceRules) -> None:
        for name, accepted in (("predict_status", rules.predict_statuses), ("predict_type", rules.predict_types)):
            column = self.labels[name]
            is_accepted = np.array([label in accepted for label in column.names] + [True])  # the last one: missing
            hit = (self.reason < 0) & ~is_accepted[column.index]
            self.reason[hit] = len(self.reasons) + column.index[hit]
            self.reasons += [f"{name} is {label}" for label in column.names]

    def _check_values(self) -> None:
        self._mark(self._no_time, f"{CREATED} is missing")
        for name, column in self.labels.items():
            self._mark(column.index < 0, f"{name} is missing")
        self._mark(~self._is_time, f"{CREATED} is not a time")
        for name, values in self.numbers.items():
            is_missing, (least, most) = self._no_number[name], BOUNDS[name]
            if name != NEGATIVE_PROMPT:
                self._mark(is_missing, f"{name} is missing")
            self._mark(~is_missing & ~np.isfinite(values), f"{name} is not a number")
            self._mark(values < least, f"{name} is below {least:g}")
            self._mark(values > most, f"{name} is above {most:,.0f}")
            if name == EXECUTION_TIME:
                self._mark(values == 0, f"{name} is 0")

    def _mark(self, hit: NDArray[np.bool_], text: str) -> None:
        self.reason[hit & (self.reason < 0)] = len(self.reasons)
        self.reasons.append(text)


class _Reader:
    """Collects the used rows of a log, batch by batch."""

    def __init__(self, path: Path, rules: TraceRules) -> None:
        self.path, self._rules = path, rules
        self._rows = 0
        self._not_used: Counter[str] = Counter()
        self._groups: dict[str, int] = {}
        self._kept: list[dict[str, NDArray[Any]]] = []

    def add(self, batch: Any) -> None:
        """Take the next batch."""
        rows = _Batch(self.path, batch, self._rules)
        if self._rules.strict and rows.is_bad_value.any():
            row = int(rows.is_bad_value.argmax())
            raise ConfigurationError(
                f"trace file {self.path}, row {self._rows + row + 1}: {rows.reasons[rows.reason[row]]}; "
                "strict: false leaves such rows out"
            )
        self._rows += rows.size
        self._count(rows)
        number, kind = rows.numbers, rows.labels["predict_type"]
        characters = number["prompt_length"]
        if self._rules.count_negative_prompt:
            characters = characters + np.nan_to_num(number[NEGATIVE_PROMPT])
        is_text = np.array([label == TEXT_TO_IMAGE for label in kind.names] + [False])
        columns = {
            "time_us": rows.time_us,
            "group_index": self._group_of(rows.labels["groupId"]),
            "exec_s": number[EXECUTION_TIME],
            "denoising_steps": number["num_inference_steps"] * number["num_images_per_prompt"],
            "images": number["num_images_per_prompt"],
            "characters": characters,
            "has_input_image": ~is_text[kind.index],
        }
        self._kept.append({name: column[rows.is_used] for name, column in columns.items()})

    def _count(self, rows: _Batch) -> None:
        counts = np.bincount(rows.reason[~rows.is_used], minlength=len(rows.reasons))
        for position in np.flatnonzero(counts):
            text = rows.reasons[position]
            if text not in self._not_used and len(self._not_used) >= MAX_REASONS:
                text = f"{text.split(' is ')[0]} is another one"
            self._not_used[text] += int(counts[position])

    def _group_of(self, column: Labels) -> NDArray[np.int64]:
        known = [self._groups.setdefault(name, len(self._groups)) for name in column.names]
        if len(self._groups) > MAX_GROUPS:
            raise ConfigurationError(f"trace file {self.path} names more than {MAX_GROUPS:,} groups, the limit")
        return np.array([*known, -1], dtype=np.int64)[column.index]

    def requests(self) -> TraceRequests:
        """The used rows in order of creation; rows of one time stay in the order of the file."""
        not_used = dict(sorted(self._not_used.items(), key=lambda item: (-item[1], item[0])))
        if not any(len(rows["time_us"]) for rows in self._kept):
            account = ", ".join(f"{text}: {count}" for text, count in not_used.items()) or "it has a header only"
            raise ConfigurationError(f"trace file {self.path} has no usable rows ({account})")
        columns = {name: np.concatenate([rows[name] for rows in self._kept]) for name in self._kept[0]}
        order = np.argsort(columns["time_us"], kind="stable")
        columns = {name: column[order] for name, column in columns.items()}
        created_us = columns.pop("time_us")
        names = sorted(self._groups)
        position = np.empty(len(names), dtype=np.int64)
        position[[self._groups[name] for name in names]] = np.arange(len(names))
        columns["group_index"] = position[columns["group_index"]]
        return TraceRequests(
            path=str(self.path),
            created_s=(created_us - created_us[0]) / 1e6,
            groups=tuple(names),
            rows_read=self._rows,
            not_used=not_used,
            **columns,
        )

"""Rules that turn the rows of a request log into tasks; ``docs/traces.md`` gives the reasons.

The columns are those of the public trace GenTD26 (Alibaba ``clusterdata``, folder ``cluster-trace-v2026-GenAI``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lad_rllib.errors import ConfigurationError

TEXT_TO_IMAGE = "TXT_2_IMG"
DEFAULT_LOAD = 1.2
"""Load of a trace if the user states neither load nor time compression: near the published setting's 1.24."""

CREATED = "gmt_create"
EXECUTION_TIME = "exec_time_seconds"
NEGATIVE_PROMPT = "negative_prompt_length"
LABELS = ("predict_type", "predict_status", "groupId")
BOUNDS = {
    EXECUTION_TIME: (0.0, 1e6),  # 0 is itself not allowed; 1e6 s are 11 days
    "prompt_length": (0.0, 1e6),
    "num_images_per_prompt": (1.0, 1e4),
    "num_inference_steps": (1.0, 1e5),
    NEGATIVE_PROMPT: (0.0, 1e6),
}
"""Numeric columns with their least and greatest values. All but the negative prompt's must be in a usable row."""


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
        return [CREATED, *LABELS, *self.measures]

    @property
    def measures(self) -> list[str]:
        """Numeric columns that the log must have."""
        return [name for name in BOUNDS if name != NEGATIVE_PROMPT or self.count_negative_prompt]


DEFAULT_RULES = TraceRules()

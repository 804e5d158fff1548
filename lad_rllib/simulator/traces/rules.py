"""Rules that turn the rows of a request log into tasks; the documentation on request logs gives the reasons.

The columns are those of the public trace GenTD26 (Alibaba ``clusterdata``, folder ``cluster-trace-v2026-GenAI``).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lad_rllib.declared import Declared
from lad_rllib.simulator.field_types import NotNegative, Positive

TEXT_TO_IMAGE = "TXT_2_IMG"
MAX_TASKS = 10_000
"""Most tasks of one station in one slot: arrivals are padded to it."""
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

Names = Annotated[list[str], Field(min_length=1)]


class TraceRules(Declared):
    """How rows of a request log become tasks in slots. Every default can be overridden.

    Raises:
        ConfigurationError: for a value of another type or out of bounds, and for ``load`` beside ``time_compression``.
    """

    predict_types: Names = [TEXT_TO_IMAGE]
    """Values of ``predict_type`` that are used. Default: text-to-image only, since the log does not say how large the
    uploaded picture of an image-to-image request was."""
    predict_statuses: Names = ["SUCCEED"]
    """Values of ``predict_status`` that are used. Default: requests that succeeded, since the execution time of others
    is not that of a finished image."""
    strict: bool = False
    """Refuse a log in which a row with a used type and status has a missing, unreadable or impossible value (default:
    such rows are left out and counted)."""
    load: Positive | None = None
    """Offered work over capacity that the time compression is chosen for; 1.2 if ``time_compression`` is not given
    either."""
    time_compression: Positive | None = None
    """Seconds of the log per second of service. Not together with ``load``."""
    max_gap_s: Positive | None = 300.0
    """A longer pause between two requests of the log is shortened to this [s of the log]; null keeps all. Default: more
    than ten mean executions; beyond it the service is idle."""
    station_rule: Literal["balanced", "hash"] = "balanced"
    """How user groups are spread over base stations. ``balanced``: the group with most requests first, each to the
    station with fewest requests so far. ``hash``: CRC-32 of the group's name modulo the number of stations (does not
    depend on the other rows; unbalanced)."""
    station_of_group: dict[str, Annotated[int, Field(ge=0)]] = {}
    """Base station of single groups; the others follow ``station_rule``."""
    reference_capacity_gcycles_per_s: Positive | None = None
    """Capacity of the machine on which the log's execution times were measured [Gcycle/s]; null takes the mean capacity
    of the network, so that a mean server needs the logged time."""
    work_scale: Positive = 1.0
    """Factor on the work of every task."""
    work_shown: Literal["known", "mean"] = "known"
    """What schedulers know of a task's work. ``known``: the logged execution time, which no service knows before
    the run. ``mean``: the mean of the log for every task; queues are seen accordingly
    (:class:`~lad_rllib.simulator.seen_queues.SeenQueues`)."""
    bytes_per_character: NotNegative = 3.0
    """Bytes of one prompt character. 3 covers UTF-8 up to CJK; Latin script needs 1."""
    count_negative_prompt: bool = True
    """Whether the negative prompt is part of the input. A missing one has no characters."""
    request_overhead_bytes: NotNegative = 2048.0
    """Bytes of a request beside its prompts (headers, parameters)."""
    input_image_mbit: NotNegative = 0.8
    """Size of the picture that other than text-to-image requests upload [Mbit]; an assumption."""
    result_mbit_per_image: NotNegative = 0.8
    """Size of a result image [Mbit]; mean of the setting of arXiv 2412.18212."""
    max_tasks: Annotated[int, Field(ge=1, le=MAX_TASKS)] | None = None
    """Most tasks of one station in one slot; further ones wait for the next slot. null: no limit, the padded size is
    the largest count in the log."""

    @model_validator(mode="after")
    def _one_clock(self) -> Self:
        if self.load is not None and self.time_compression is not None:
            raise ValueError(
                f"load {self.load:g} and time_compression {self.time_compression:g} exclude each other: "
                "the load follows from the compression; leave one out (null)"
            )
        return self

    @property
    def columns(self) -> list[str]:
        """Columns that the log must have."""
        return [CREATED, *LABELS, *self.measures]

    @property
    def measures(self) -> list[str]:
        """Numeric columns that the log must have."""
        return [name for name in BOUNDS if name != NEGATIVE_PROMPT or self.count_negative_prompt]


DEFAULT_RULES = TraceRules()

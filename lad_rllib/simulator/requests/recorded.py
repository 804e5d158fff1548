"""Recorded traffic: episodes are windows of consecutive requests of a log, at its own times or at another rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from lad_rllib.declared import Text, shown
from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator.arrivals.trace import SAMPLE
from lad_rllib.simulator.field_types import PAIR, Fraction, Positive
from lad_rllib.simulator.requests.fitted_service import fit_service
from lad_rllib.simulator.requests.log import CONSTANTS, MEANINGS, NUMBERS, RequestLog, read_log
from lad_rllib.simulator.requests.service_model import ServiceModel
from lad_rllib.simulator.requests.traffic import TRAFFIC, Sent, Traffic, TrafficFields
from lad_rllib.simulator.traces.reading import sample_trace_path

Part = Annotated[list[Fraction], *PAIR]


@TRAFFIC.register("recorded")
class RecordedFields(TrafficFields):
    """Requests of a log.

    Without ``load`` and ``rate_per_s`` they arrive when they did; with one of them the log's time runs faster or
    slower, so that bursts and nights are kept.
    """

    kind: Literal["recorded"] = "recorded"
    """Name of this kind."""
    path: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """The log (``.csv``, ``.csv.gz``, ``.parquet``, ``.json``, ``.jsonl``, ``.txt``, or a folder of ``.parquet``), or
    ``sample`` for the made-up one of the package."""
    format: Literal["requests", "deliveries", "decisions", "gentd26", "katz", "vllm-omni"] = "requests"
    """What its columns mean: ``requests`` (columns named as attributes of :class:`Requests`), ``deliveries`` (of a live
    run), ``decisions`` (of a service), or a public log."""
    columns: dict[str, Text] = {}
    """Column of single meanings, instead of those of the format."""
    keep: dict[str, Annotated[list[str], Field(min_length=1)]] | None = None
    """Values that a column may have in rows that are used; null: as the format says."""
    constants: dict[str, float] = {}
    """Values of what the log does not say, such as ``{steps: 30, width: 1024, height: 1024}``."""
    part: Part = [0.0, 1.0]
    """First and last fraction of its requests, in order of time, that episodes are cut from."""
    fit_part: Part = [0.0, 0.7]
    """The fraction that a ``fitted`` service model is fitted to; judge schedulers on a part that begins after it."""
    max_gap_s: Positive | None = None
    """A longer pause between two requests is shortened to this [s of the log]; null keeps nights."""

    @model_validator(mode="after")
    def _names_a_log(self) -> Self:
        if self.path is None:
            raise ValueError("path must name a request log (or 'sample'), as --arrivals FILE does")
        return self

    @model_validator(mode="after")
    def _constants_are_known(self) -> Self:
        for name, value in self.constants.items():
            if name not in CONSTANTS:
                raise ValueError(f"constants must name one of {', '.join(CONSTANTS)}, got {shown(name)}")
            low, high = NUMBERS[name]
            if not low <= value <= high:
                raise ValueError(f"constants.{name} must be from {low:g} to {high:g}, got {value:g}")
        for name in self.columns:
            if name not in MEANINGS:
                raise ValueError(f"columns must name one of {', '.join(MEANINGS)}, got {shown(name)}")
        return self

    def build(self) -> RecordedTraffic:
        """See :class:`~lad_rllib.simulator.requests.traffic.TrafficFields`; reads the log."""
        path = sample_trace_path() if self.path == SAMPLE else str(self.path)
        log = read_log(path, self.format, self.columns, self.keep, self.constants)
        return RecordedTraffic(log, self)


class RecordedTraffic(Traffic):
    """Requests of a log.

    Args:
        log: The log.
        fields: Which part is played, and how its pauses are.

    Raises:
        ConfigurationError: if a part holds fewer than two requests, or no rate is given for a log without times.
    """

    def __init__(self, log: RequestLog, fields: RecordedFields) -> None:
        self.log, self.fields = log, fields
        self._rows = self._of_part(fields.part)
        self._span_s = float(self._clock(self._rows)[-1])
        if log.has_arrivals and self._span_s > 0:
            self.own_rate_per_s = (len(self) - 1) / self._span_s
        elif fields.load is None and fields.rate_per_s is None:
            raise ConfigurationError(
                f"trace file {log.path} does not say when requests arrived; give traffic.load or traffic.rate_per_s"
            )

    def _of_part(self, part: list[float]) -> slice:
        number = len(self.log.sent.requests)
        first, end = (round(fraction * number) for fraction in part)
        if end - first < 2:
            raise ConfigurationError(f"part {part} holds {end - first} of the log's {number} requests; widen it")
        return slice(first, end)

    def _clock(self, rows: slice) -> NDArray[np.float64]:
        """Times of requests since the first of them, long pauses shortened [s of the log]."""
        gap = np.diff(self.log.sent.requests.arrival_s[rows])
        gap = gap if self.fields.max_gap_s is None else np.minimum(gap, self.fields.max_gap_s)
        return np.concatenate([np.zeros(1), np.cumsum(gap)])

    def draw(self, rng: np.random.Generator, num_requests: int, rate_per_s: float) -> Sent:
        """See :class:`~lad_rllib.simulator.requests.traffic.Traffic`; a window, each start with the same chance."""
        self.check_episode(num_requests)
        start = self._rows.start + int(rng.integers(len(self) - num_requests, endpoint=True))
        return self._played(slice(start, start + num_requests), rate_per_s, rng)

    def _played(self, rows: slice, rate_per_s: float, rng: np.random.Generator) -> Sent:
        """Requests of the log at the rate that its part is played at; of a log without times they arrive at random."""
        if self.own_rate_per_s is None:
            arrival_s = np.cumsum(rng.exponential(1.0 / rate_per_s, rows.stop - rows.start))
        else:
            arrival_s = self._clock(rows) * (self.own_rate_per_s / rate_per_s)
        sent = self._sent(rows)
        return sent._replace(requests=replace(sent.requests, arrival_s=arrival_s))

    def windows(self, num_requests: int, rate_per_s: float, rng: np.random.Generator) -> Iterator[Sent]:
        """See :class:`~lad_rllib.simulator.requests.traffic.Traffic`."""
        self.check_episode(num_requests)
        for start in range(self._rows.start, self._rows.stop - num_requests + 1, num_requests):
            yield self._played(slice(start, start + num_requests), rate_per_s, rng)

    def __len__(self) -> int:
        return int(self._rows.stop - self._rows.start)

    def check_episode(self, num_requests: int) -> None:
        """See :class:`~lad_rllib.simulator.requests.traffic.Traffic`."""
        if num_requests > len(self):
            first, end = self.fields.part
            raise ConfigurationError(
                f"an episode has {num_requests:,} requests, part {first:g}..{end:g} of the log only {len(self):,}; "
                "lower requests, or widen traffic.part"
            )

    def _sent(self, rows: slice) -> Sent:
        measured_s = self.log.sent.measured_s
        return Sent(self.log.sent.requests[rows], None if measured_s is None else measured_s[rows])

    def typical(self) -> Sent:
        """See :class:`~lad_rllib.simulator.requests.traffic.Traffic`; all requests of the part."""
        return self._sent(self._rows)

    def past(self, rate_per_s: float) -> Sent:
        """See :class:`~lad_rllib.simulator.requests.traffic.Traffic`."""
        rows = slice(0, self._rows.start) if self._rows.start > 1 else self._rows
        return self._played(rows, rate_per_s, np.random.default_rng(0))

    def with_part(self, part: tuple[float, float]) -> RecordedTraffic:
        """See :class:`~lad_rllib.simulator.requests.traffic.Traffic`."""
        return RecordedTraffic(self.log, self.fields.model_copy(update={"part": list(part)}))

    @cached_property
    def _fitted(self) -> ServiceModel | None:
        sent = self._sent(self._of_part(self.fields.fit_part))
        return None if sent.measured_s is None else fit_service(sent.requests, sent.measured_s)

    def fitted_service(self) -> ServiceModel:
        """See :class:`~lad_rllib.simulator.requests.traffic.Traffic`."""
        return self._fitted or super().fitted_service()

    def describe(self) -> str:
        """See :class:`~lad_rllib.simulator.requests.traffic.Traffic`."""
        log = self.log
        others = ", ".join(f"{count} {reason}" for reason, count in log.not_used.items()) or "none"
        first, end = self.fields.part
        requests = log.sent.requests
        loras = f"{(requests.loras > 0).mean():.0%} with LoRAs"
        return (
            f"  log {log.path}: {len(requests):,} of {log.rows_read:,} rows used; not used: {others}\n"
            f"  part {first:g}..{end:g}: {len(self):,} requests in {self._span_s:,.0f} s of the log; "
            f"{len(requests.models)} models, {loras}, {len(requests.tenants)} tenants"
        )

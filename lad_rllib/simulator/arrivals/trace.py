"""Recorded requests as arrivals: episodes are windows of consecutive slots of a log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator.arrivals.base import ARRIVALS, ArrivalFields, ArrivalSource
from lad_rllib.simulator.field_types import PAIR, Fraction
from lad_rllib.simulator.network import EdgeNetwork
from lad_rllib.simulator.tasks import Arrivals
from lad_rllib.simulator.traces.reading import read_trace, sample_trace_path
from lad_rllib.simulator.traces.rules import DEFAULT_RULES, TraceRules
from lad_rllib.simulator.traces.timetable import TraceTimetable, make_timetable

SAMPLE = "sample"
"""Path that stands for the made-up log which comes with the package."""


class TraceArrivals(ArrivalSource):
    """Arrivals cut from a recorded log: an episode is a random window of consecutive slots.

    The slots, the compression and the padded number of tasks N are those of the whole log, whatever the part, so
    that a scheduler trained on one part fits the other. Parts share at most a boundary, never a slot.
    No window is nearly empty as long as pauses are shortened (``TraceRules.max_gap_s``).

    Args:
        timetable: The log's tasks.
        part: First and last fraction of the slots to use, for example ``(0.0, 0.7)`` to train and ``(0.7, 1.0)``
            to evaluate on requests that were never seen.

    Raises:
        ConfigurationError: if the part is not within 0..1 or holds no slot.
    """

    def __init__(self, timetable: TraceTimetable, part: tuple[float, float] = (0.0, 1.0)) -> None:
        if len(part) != 2 or not 0.0 <= part[0] < part[1] <= 1.0:
            raise ConfigurationError(f"part must be two increasing fractions within 0..1, got {part}")
        self.timetable = timetable
        self.part = (float(part[0]), float(part[1]))
        self.first_slot, self.end_slot = (int(round(fraction * timetable.num_slots)) for fraction in self.part)
        if self.first_slot == self.end_slot:
            raise ConfigurationError(f"part {part} holds none of the trace's {timetable.num_slots} slots; widen it")
        self.num_stations = timetable.network.num_stations
        self.max_tasks = timetable.max_tasks

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        network: EdgeNetwork,
        rules: TraceRules = DEFAULT_RULES,
        part: tuple[float, float] = (0.0, 1.0),
    ) -> TraceArrivals:
        """Read a log and lay its requests out for a network (its slot length, capacity and stations)."""
        return cls(make_timetable(read_trace(path, rules), network, rules), part)

    def with_part(self, part: tuple[float, float]) -> TraceArrivals:
        """Another part of the same log; shares the tasks in memory."""
        return TraceArrivals(self.timetable, part)

    @property
    def num_slots(self) -> int:
        """Slots of the part."""
        return self.end_slot - self.first_slot

    def check_episode(self, num_slots: int) -> None:
        """Raise ``ConfigurationError`` if the part has fewer slots than an episode of ``num_slots``."""
        if num_slots > self.num_slots:
            raise ConfigurationError(
                f"an episode has {num_slots} slots, part {self.part[0]:g}..{self.part[1]:g} of the trace only "
                f"{self.num_slots}; use fewer slots, a wider part, a shorter slot_s or a lower load"
            )

    def draw(self, rng: np.random.Generator, num_slots: int) -> Arrivals:
        """Draw one window of the part, every start with the same probability.

        Raises:
            ConfigurationError: if the part has fewer slots than an episode.
        """
        self.check_episode(num_slots)
        start = int(rng.integers(self.first_slot, self.end_slot - num_slots, endpoint=True))
        return self.timetable.window(start, start + num_slots)

    def windows(self, num_slots: int, *, only_full: bool = False) -> Iterator[Arrivals]:
        """Consecutive windows of the part in order; none overlap, together they hold every task of the part.

        The last window is filled up with empty slots (``only_full`` leaves it out instead).
        """
        for start in range(self.first_slot, self.end_slot, num_slots):
            end = min(start + num_slots, self.end_slot)
            if end - start == num_slots or not only_full:
                yield self.timetable.window(start, end, num_slots)

    def mean_work_per_slot_gcycles(self) -> float:
        """See :class:`~lad_rllib.simulator.arrivals.base.ArrivalSource`; work of the part over its slots."""
        return self.timetable.work_gcycles(self.first_slot, self.end_slot) / self.num_slots

    def describe(self) -> str:
        """What became of the log's rows, its clock and its load, in a few lines."""
        table, requests = self.timetable, self.timetable.requests
        others = ", ".join(f"{count} {reason}" for reason, count in requests.not_used.items()) or "none"
        told = (
            "schedulers are told each task's logged work, which no service knows beforehand (work_shown: known)"
            if table.shown_workload_gcycles is None
            else "schedulers take every task's work for the log's mean (work_shown: mean)"
        )
        moved = f", {table.tasks_moved} tasks moved to a later slot" if table.tasks_moved else ""
        of_stations = self.tasks_per_station
        return "\n".join(
            (
                f"trace {requests.path}: {len(table.slot)} of {requests.rows_read} rows used; not used: {others}",
                f"  clock: {table.span_s:.0f} s of log ({table.idle_gaps} pauses shortened by {table.idle_cut_s:.0f} "
                f"s), compressed {table.time_compression:.4g} times into {table.num_slots} slots of "
                f"{table.network.slot_s:g} s",
                f"  load {table.load(0, table.num_slots):.3f}; part {self.part[0]:g}..{self.part[1]:g}: "
                f"{self.num_slots} slots, load {table.load(self.first_slot, self.end_slot):.3f}",
                f"  at most {table.max_tasks} tasks per station and slot{moved}; "
                f"{of_stations.min()} to {of_stations.max()} tasks per station",
                f"  {told}",
            )
        )

    @property
    def tasks_per_station(self) -> NDArray[np.int64]:
        """Tasks of the whole log at each base station, shape (B,)."""
        return np.bincount(self.timetable.station, minlength=self.num_stations)


@ARRIVALS.register("trace")
class TraceFields(TraceRules, ArrivalFields):
    """Recorded requests. Further fields: how rows become tasks."""

    default_slot_s: ClassVar[float] = 20.0
    """A request runs for about 27 s on a mean server, so that 20 servers at full load take some 15 requests per slot of
    20 s and are still busy with them when the next slot comes."""

    source: Literal["trace"] = "trace"
    """Name of this source."""
    path: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """Request log (``.csv``, ``.csv.gz`` or ``.parquet``), or ``sample`` for the made-up one of the package."""
    part: Annotated[list[Fraction], *PAIR] = [0.0, 1.0]
    """First and last fraction of the log's slots that episodes are cut from."""

    @model_validator(mode="after")
    def _names_a_log(self) -> Self:
        if self.path is None:
            raise ValueError("path must name a request log (or 'sample')")
        return self

    def build(self, network: EdgeNetwork) -> TraceArrivals:
        """See :class:`~lad_rllib.simulator.arrivals.base.ArrivalFields`; reads the log."""
        path = sample_trace_path() if self.path == SAMPLE else str(self.path)
        return TraceArrivals.from_file(path, network, self, (self.part[0], self.part[1]))

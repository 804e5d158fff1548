"""Recorded requests as arrivals: episodes are windows of consecutive slots of a log, and a report of its use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator.arrivals import Arrivals
from lad_rllib.simulator.network import EdgeNetwork
from lad_rllib.simulator.traces.reading import read_trace
from lad_rllib.simulator.traces.rules import DEFAULT_RULES, TraceRules
from lad_rllib.simulator.traces.timetable import TraceTimetable, make_timetable

TRACE_SLOT_S = 20.0
"""Default slot length for traces [s]. A request runs for about 27 s on a mean server, so that 20 servers at full load
take some 15 requests per slot of 20 s and are still busy with them when the next slot comes."""


@dataclass(frozen=True)
class TraceReport:
    """What became of a request log.

    Attributes:
        path: File that was read.
        rows_read: Rows of the file.
        rows_used: Rows that became tasks.
        not_used: Other rows by reason; with ``rows_used`` they add up to ``rows_read``.
        span_s: Time from first to last used request after pauses were shortened [s of the log].
        idle_cut_s: Time taken out of pauses [s of the log].
        idle_gaps: Pauses that were shortened.
        time_compression: Seconds of the log per second of service.
        slot_s: Length of a slot [s of service].
        num_slots: Slots of the whole log.
        load: Offered work over capacity, whole log.
        max_tasks: Most tasks of one station in one slot, N.
        tasks_moved: Tasks that start in a later slot than they were created in, because of the user's ``max_tasks``.
        tasks_per_station: Tasks of each base station, shape (B,).
        part: First and last fraction of the slots that are used.
        part_slots: Slots of that part.
        part_load: Offered work over capacity of that part.
        work_is_known: Whether schedulers are told each task's work beforehand.
    """

    path: str
    rows_read: int
    rows_used: int
    not_used: dict[str, int]
    span_s: float
    idle_cut_s: float
    idle_gaps: int
    time_compression: float
    slot_s: float
    num_slots: int
    load: float
    max_tasks: int
    tasks_moved: int
    tasks_per_station: tuple[int, ...]
    part: tuple[float, float]
    part_slots: int
    part_load: float
    work_is_known: bool

    def summary(self) -> str:
        """The report as a few lines of text."""
        others = ", ".join(f"{count} {reason}" for reason, count in self.not_used.items()) or "none"
        told = (
            "schedulers are told each task's logged work, which no service knows beforehand (work_shown: known)"
            if self.work_is_known
            else "schedulers take every task's work for the log's mean (work_shown: mean)"
        )
        moved = f", {self.tasks_moved} tasks moved to a later slot" if self.tasks_moved else ""
        return "\n".join(
            (
                f"trace {self.path}: {self.rows_used} of {self.rows_read} rows used; not used: {others}",
                f"  clock: {self.span_s:.0f} s of log ({self.idle_gaps} pauses shortened by {self.idle_cut_s:.0f} s), "
                f"compressed {self.time_compression:.4g} times into {self.num_slots} slots of {self.slot_s:g} s",
                f"  load {self.load:.3f}; part {self.part[0]:g}..{self.part[1]:g}: {self.part_slots} slots, "
                f"load {self.part_load:.3f}",
                f"  at most {self.max_tasks} tasks per station and slot{moved}; "
                f"{min(self.tasks_per_station)} to {max(self.tasks_per_station)} tasks per station",
                f"  {told}",
            )
        )


class TraceArrivals:
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
        """Work of the part over its slots [Gcycle]."""
        return self.timetable.work_gcycles(self.first_slot, self.end_slot) / self.num_slots

    @property
    def report(self) -> TraceReport:
        """What became of the log's rows, its clock and its load."""
        table, requests = self.timetable, self.timetable.requests
        return TraceReport(
            path=requests.path,
            rows_read=requests.rows_read,
            rows_used=len(table.slot),
            not_used=dict(requests.not_used),
            span_s=table.span_s,
            idle_cut_s=table.idle_cut_s,
            idle_gaps=table.idle_gaps,
            time_compression=table.time_compression,
            slot_s=table.network.slot_s,
            num_slots=table.num_slots,
            load=table.load(0, table.num_slots),
            max_tasks=table.max_tasks,
            tasks_moved=table.tasks_moved,
            tasks_per_station=tuple(np.bincount(table.station, minlength=self.num_stations).tolist()),
            part=self.part,
            part_slots=self.num_slots,
            part_load=table.load(self.first_slot, self.end_slot),
            work_is_known=table.shown_workload_gcycles is None,
        )

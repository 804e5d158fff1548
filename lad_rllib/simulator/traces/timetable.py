"""A request log laid out in time and space: slot, base station and size of every task."""

from __future__ import annotations

import heapq
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator.delays import workload_gcycles
from lad_rllib.simulator.network import EdgeNetwork
from lad_rllib.simulator.tasks import Arrivals
from lad_rllib.simulator.traces.reading import TraceRequests
from lad_rllib.simulator.traces.rules import DEFAULT_LOAD, MAX_TASKS, TraceRules

_BIT_PER_BYTE, _BIT_PER_MBIT = 8.0, 1e6
_ROUNDING = 1e-9
MAX_SLOTS = 10_000_000
"""Most slots that a log may fill."""


@dataclass(frozen=True)
class TraceTimetable:
    """All K tasks of a log, in order of slot, base station and creation.

    Attributes:
        network: The network that the load refers to.
        num_slots: Slots of the whole log.
        max_tasks: Most tasks of one station in one slot, N.
        slot: Slot of each task, not decreasing, shape (K,).
        station: Base station of each task, shape (K,).
        index: Task index within station and slot, shape (K,).
        task_mbit, denoising_steps, density_gcycles_per_step, result_mbit: Properties of each task, shape (K,).
        shown_workload_gcycles: Every task's work as schedulers see it [Gcycle]; None: as it is.
        requests: The log that it was made from.
        span_s: Time from first to last used request after pauses were shortened [s of the log].
        idle_cut_s: Time taken out of pauses [s of the log].
        idle_gaps: Pauses that were shortened.
        time_compression: Seconds of the log per second of service.
        tasks_moved: Tasks that start in a later slot than they were created in, because of the user's ``max_tasks``.
    """

    network: EdgeNetwork
    num_slots: int
    max_tasks: int
    slot: NDArray[np.int64]
    station: NDArray[np.int64]
    index: NDArray[np.int64]
    task_mbit: NDArray[np.float64]
    denoising_steps: NDArray[np.float64]
    density_gcycles_per_step: NDArray[np.float64]
    result_mbit: NDArray[np.float64]
    shown_workload_gcycles: float | None
    requests: TraceRequests
    span_s: float
    idle_cut_s: float
    idle_gaps: int
    time_compression: float
    tasks_moved: int

    def window(self, first_slot: int, end_slot: int, num_slots: int | None = None) -> Arrivals:
        """Arrivals of the slots ``first_slot <= t < end_slot``, followed by empty slots up to ``num_slots``."""
        shape = (num_slots or end_slot - first_slot, self.network.num_stations)
        rows = slice(*np.searchsorted(self.slot, (first_slot, end_slot)))
        where = (self.slot[rows] - first_slot, self.station[rows], self.index[rows])
        counts = np.zeros(shape, dtype=np.int64)
        np.add.at(counts, where[:2], 1)

        def padded(values: NDArray[np.float64]) -> NDArray[np.float64]:
            array = np.zeros((*shape, self.max_tasks))
            array[where] = values[rows]
            return array

        shown = self.shown_workload_gcycles
        return Arrivals(
            task_counts=counts,
            task_mbit=padded(self.task_mbit),
            denoising_steps=padded(self.denoising_steps),
            density_gcycles_per_step=padded(self.density_gcycles_per_step),
            result_mbit=padded(self.result_mbit),
            shown_workload_gcycles=None if shown is None else padded(np.full(len(self.slot), shown)),
        )

    def work_gcycles(self, first_slot: int, end_slot: int) -> float:
        """Work that arrives in the slots ``first_slot <= t < end_slot`` [Gcycle]."""
        rows = slice(*np.searchsorted(self.slot, (first_slot, end_slot)))
        return float(workload_gcycles(self.density_gcycles_per_step[rows], self.denoising_steps[rows]).sum())

    def load(self, first_slot: int, end_slot: int) -> float:
        """Offered work over capacity in the slots ``first_slot <= t < end_slot``."""
        capacity = self.network.total_capacity_gcycles_per_s * self.network.slot_s
        return self.work_gcycles(first_slot, end_slot) / (capacity * (end_slot - first_slot))


def make_timetable(requests: TraceRequests, network: EdgeNetwork, rules: TraceRules) -> TraceTimetable:
    """Give every request its slot, base station, task index and size, by the rules.

    Raises:
        ConfigurationError: if a station or group of ``station_of_group`` does not exist, no load can be set, or the
            log fills too many slots or has too many tasks in one.
    """
    reference = rules.reference_capacity_gcycles_per_s or float(network.capacity_gcycles_per_s.mean())
    work = requests.exec_s * reference * rules.work_scale
    gap = np.diff(requests.created_s, prepend=0.0)
    kept = gap if rules.max_gap_s is None else np.minimum(gap, rules.max_gap_s)
    elapsed = np.cumsum(kept)
    created, compression = _slots(elapsed, float(work.sum()), network, rules)
    station = _stations(requests, network.num_stations, rules)
    slot = created if rules.max_tasks is None else _delay_overflow(created, station, rules.max_tasks)
    order = np.lexsort((station, slot))
    index = _index_in_run(slot[order] * network.num_stations + station[order])
    if index.max() >= MAX_TASKS:
        raise ConfigurationError(
            f"{requests.path} has {index.max() + 1:,} tasks of one station in one slot, more than the limit of "
            f"{MAX_TASKS:,}; set max_tasks, a shorter slot_s or a lower load"
        )
    input_bytes = rules.bytes_per_character * requests.characters + rules.request_overhead_bytes
    input_mbit = input_bytes * _BIT_PER_BYTE / _BIT_PER_MBIT + rules.input_image_mbit * requests.has_input_image
    return TraceTimetable(
        network=network,
        num_slots=int(max(_num_slots(elapsed[-1], compression, network.slot_s), slot.max() + 1)),
        max_tasks=int(index.max()) + 1 if rules.max_tasks is None else rules.max_tasks,
        slot=slot[order],
        station=station[order],
        index=index,
        task_mbit=input_mbit[order],
        denoising_steps=requests.denoising_steps[order],
        density_gcycles_per_step=(work / requests.denoising_steps)[order],
        result_mbit=(rules.result_mbit_per_image * requests.images)[order],
        shown_workload_gcycles=float(work.mean()) if rules.work_shown == "mean" else None,
        requests=requests,
        span_s=float(elapsed[-1]),
        idle_cut_s=float((gap - kept).sum()),
        idle_gaps=int((kept < gap).sum()),
        time_compression=compression,
        tasks_moved=int((slot > created).sum()),
    )


def _num_slots(span_s: float, compression: float, slot_s: float) -> int:
    """Slots that a span fills; the last one includes its end."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        slots = np.ceil(np.float64(span_s) / np.float64(compression * slot_s) * (1.0 - _ROUNDING))
    _check_slots(slots)
    return max(int(slots), 1)


def _check_slots(slots: float) -> None:
    if not slots <= MAX_SLOTS:
        raise ConfigurationError(
            f"the log would fill {slots:,.0f} slots, more than the limit of {MAX_SLOTS:,}; choose a higher load, "
            "time_compression or slot_s, or set max_gap_s"
        )


def _slots(
    elapsed_s: NDArray[np.float64], work_gcycles: float, network: EdgeNetwork, rules: TraceRules
) -> tuple[NDArray[np.int64], float]:
    """Slot of each request, and the time compression: given, or chosen for the load (to the nearest whole slot)."""
    span_s, compression = float(elapsed_s[-1]), rules.time_compression
    if compression is None:
        load = DEFAULT_LOAD if rules.load is None else rules.load
        if span_s == 0.0:
            raise ConfigurationError(
                f"load {load} cannot be set: all used requests were created at one time; give time_compression instead"
            )
        capacity = network.total_capacity_gcycles_per_s * network.slot_s
        with np.errstate(over="ignore", divide="ignore"):
            slots = np.float64(work_gcycles) / np.float64(load * capacity)
        _check_slots(slots)
        compression = span_s / (max(round(slots), 1) * network.slot_s)
    num_slots = _num_slots(span_s, compression, network.slot_s)
    slot = np.floor(elapsed_s / (compression * network.slot_s)).astype(np.int64)
    return np.minimum(slot, num_slots - 1), compression


def _stations(requests: TraceRequests, num_stations: int, rules: TraceRules) -> NDArray[np.int64]:
    """Base station of each request; see ``TraceRules.station_rule``."""
    given = {str(group): int(station) for group, station in rules.station_of_group.items()}
    groups = set(requests.groups) if given else set()
    for group, station in given.items():
        if group not in groups:
            raise ConfigurationError(f"station_of_group names {group!r}, which is not a groupId of {requests.path}")
        if not 0 <= station < num_stations:
            raise ConfigurationError(
                f"station_of_group puts {group!r} at station {station}; stations are 0..{num_stations - 1}"
            )
    used, member, counts = np.unique(requests.group_index, return_inverse=True, return_counts=True)
    names = [requests.groups[group] for group in used]
    station_of = np.array([given.get(name, -1) for name in names], dtype=np.int64)
    free = np.flatnonzero(station_of < 0)
    if rules.station_rule == "hash":
        station_of[free] = [zlib.crc32(names[group].encode()) % num_stations for group in free]
        return station_of[member]
    taken = np.bincount(station_of[station_of >= 0], counts[station_of >= 0], minlength=num_stations)
    emptiest = [(int(taken[station]), station) for station in range(num_stations)]
    heapq.heapify(emptiest)
    for group in free[np.argsort(-counts[free], kind="stable")]:
        tasks, station = emptiest[0]
        station_of[group] = station
        heapq.heapreplace(emptiest, (tasks + int(counts[group]), station))
    return station_of[member]


def _delay_overflow(slot: NDArray[np.int64], station: NDArray[np.int64], max_tasks: int) -> NDArray[np.int64]:
    """Move tasks to later slots, first come first served, until no station has more than ``max_tasks`` in a slot.

    Task k of a station gets ``s'[k] = max(s[k], s'[k - max_tasks] + 1)``: a running maximum of ``s[k] - k`` over
    every ``max_tasks``-th task.
    """
    result = slot.copy()
    for one in np.unique(station):
        own = np.flatnonzero(station == one)
        rows = -(-len(own) // max_tasks)
        padded = np.pad(slot[own], (0, rows * max_tasks - len(own)), mode="edge").reshape(rows, max_tasks)
        turn = np.arange(rows)[:, None]
        result[own] = (np.maximum.accumulate(padded - turn, axis=0) + turn).reshape(-1)[: len(own)]
    return result


def _index_in_run(key: NDArray[np.int64]) -> NDArray[np.int64]:
    """Position of each element within its run of equal keys.

    >>> _index_in_run(np.array([3, 3, 5, 5, 5])).tolist()
    [0, 1, 0, 1, 2]
    """
    position = np.arange(len(key))
    is_first = np.diff(key, prepend=key[0] - 1) != 0
    return position - np.maximum.accumulate(np.where(is_first, position, 0))

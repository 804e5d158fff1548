"""Quality of a schedule in numbers: not the mean alone, since a few tasks may pay for a better mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lad_rllib.scheduling.rollout import EpisodeRecord

if TYPE_CHECKING:
    from lad_rllib.simulator.requests import ServedRequests

FloatArray = NDArray[np.float64]


def schedule_quality(
    record: EpisodeRecord | Sequence[ServedRequests], deadline_s: float | None = None, size_classes: int = 3
) -> dict[str, float]:
    """Delays and fairness of the tasks of played episodes.

    Args:
        record: The episodes, taken together: of slots, or of requests.
        deadline_s: Longest service delay that is on time [s]; None leaves ``miss_rate`` out.
        size_classes: Classes of size with equal numbers of tasks (as far as equal sizes allow), smallest first.

    Returns:
        ``mean_s``, ``p50_s``, ``p95_s``, ``p99_s``, ``max_s``: of the service delays [s];
        ``fairness``: Jain's index of the slowdowns, see :func:`jain_index` and :func:`slowdown`;
        ``miss_rate``: share of the tasks later than the deadline;
        ``class1_s``, ``class2_s``, ...: mean service delay of each class of size [s].
        Without tasks, 0 (fairness: 1).

    Fairness is that of slowdowns, not of delays: a task that takes ten times as long to compute may take ten times as
    long in all. A schedule that serves the small tasks first makes their slowdowns equal to those of the large ones; an
    index of the delays would call it unfair, and a queue in which every small task waits for large ones fair.
    """
    delay, size_s = delays_and_sizes_s(record)
    numbers = {"mean_s": float(delay.mean()) if delay.size else 0.0}
    percentiles = {"p50_s": 50, "p95_s": 95, "p99_s": 99, "max_s": 100}
    numbers |= {name: float(np.percentile(delay, q)) if delay.size else 0.0 for name, q in percentiles.items()}
    numbers["fairness"] = jain_index(slowdown(delay, size_s))
    if deadline_s is not None:
        numbers["miss_rate"] = float((delay > deadline_s).mean()) if delay.size else 0.0
    rank_share = _rank_share(size_s)
    for index in range(size_classes):
        of_class = (rank_share >= index / size_classes) & (rank_share < (index + 1) / size_classes)
        numbers[f"class{index + 1}_s"] = float(delay[of_class].mean()) if of_class.any() else 0.0
    return numbers


def delays_and_sizes_s(record: EpisodeRecord | Sequence[ServedRequests]) -> tuple[FloatArray, FloatArray]:
    """Service delay of each task, and the time that the fastest server would compute on it [s], shapes (tasks,)."""
    if isinstance(record, EpisodeRecord):
        work = record.workload_gcycles[record.mask]
        return record.delay_s[record.mask], work / record.network.capacity_gcycles_per_s.max()
    return np.concatenate([one.delay_s for one in record]), np.concatenate([one.fastest_s for one in record])


def slowdown(delay_s: FloatArray, size_s: FloatArray) -> FloatArray:
    """Service delay of each task over the time that the fastest server alone would compute on it, shape (tasks,).

    Always above 1; tasks without work are left out.
    """
    return delay_s[size_s > 0] / size_s[size_s > 0]


def jain_index(values: FloatArray) -> float:
    """Fairness of shares of the same thing: 1 if all are equal, ``k / n`` if ``k`` of ``n`` have all of it.

    Source: R. Jain, D. Chiu and W. Hawe, DEC Research Report TR-301 (1984).

    >>> jain_index(np.array([2.0, 2.0])), jain_index(np.array([1.0, 0.0, 0.0, 0.0])), jain_index(np.array([]))
    (1.0, 0.25, 1.0)
    """
    squares = float(np.square(values).sum())
    return float(values.sum()) ** 2 / (len(values) * squares) if squares else 1.0


def _rank_share(values: FloatArray) -> FloatArray:
    """Share of the values below each one: from 0 to below 1; equal values have the same."""
    ordered = np.sort(values)
    return np.searchsorted(ordered, values, side="left") / max(len(values), 1)

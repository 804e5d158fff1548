"""Tables by slot and task size: classes of workload, and means over played tasks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def size_thresholds(workload_gcycles: FloatArray, size_classes: int) -> FloatArray:
    """Thresholds of at most ``size_classes`` classes that have about the same number of tasks.

    >>> size_thresholds(np.array([1.0, 1.0, 2.0, 3.0]), 2).tolist(), size_thresholds(np.ones(9), 4).tolist()
    ([1.5], [])
    """
    if not workload_gcycles.size:
        return np.empty(0)
    inner = np.quantile(workload_gcycles, np.arange(1, size_classes) / size_classes)
    distinct = np.unique(workload_gcycles)
    # Between two workloads that occur, so that rounding cannot put equal tasks into different classes.
    place = np.unique(np.searchsorted(distinct, inner))
    place = place[(place > 0) & (place < len(distinct))]
    return (distinct[place - 1] + distinct[place]) / 2.0


def slot_class_means(
    values: FloatArray,
    mask: NDArray[np.bool_],
    workload_gcycles: FloatArray,
    thresholds_gcycles: FloatArray,
    otherwise: FloatArray,
) -> FloatArray:
    """Means over the tasks of each slot and size class.

    Args:
        values: What each task has of each server, shape (T, B, N, A).
        mask: True where there is a task, shape (T, B, N).
        workload_gcycles: Shape (T, B, N).
        thresholds_gcycles: Workloads that divide the C classes, shape (C - 1,).
        otherwise: What a slot and class without tasks gets, shape (T, C, A).
    """
    slots, classes, servers = otherwise.shape
    row = np.nonzero(mask)[0] * classes + np.searchsorted(thresholds_gcycles, workload_gcycles[mask])
    present = values[mask]
    sums = np.stack([np.bincount(row, present[:, a], minlength=slots * classes) for a in range(servers)], axis=-1)
    count = np.bincount(row, minlength=slots * classes).reshape(slots, classes, 1)
    return np.where(count > 0, sums.reshape(otherwise.shape) / np.maximum(count, 1), otherwise)

"""Tasks that were just played, as rows: what on-policy algorithms draw their batches from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib.algorithms.common.replay_buffer import SlotSample

FloatArray = NDArray[np.float32]
Where = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Episode, station and index of each task."""


def own_delays(sample: SlotSample, where: Where) -> dict[str, NDArray[Any]]:
    """Columns of a slot's tasks, shapes (K, features): state, latent action, action, and minus the own delay [s]."""
    return {
        "state": np.concatenate([sample.tasks[where], sample.queues[where[0]]], axis=1),
        "latent": sample.latent[where],
        "action": sample.action[where][:, None],
        "reward": -sample.delay_s[where][:, None],
    }


def tasks_by_station(
    samples: Sequence[SlotSample], columns_of: Callable[[Any, Where], dict[str, NDArray[Any]]] = own_delays
) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """All tasks of some slots, station by station.

    Args:
        samples: The slots.
        columns_of: Columns of a slot's tasks, shapes (K, features).

    Returns:
        The columns of all slots together, and the number of tasks of each station, shape (B,).
    """
    played, stations = [], []
    for sample in samples:
        episode, station, task = np.nonzero(np.arange(sample.tasks.shape[2]) < sample.task_counts[..., None])
        played.append(columns_of(sample, (episode, station, task)))
        stations.append(station)
    station = np.concatenate(stations)
    order = np.argsort(station, kind="stable")
    columns = {key: np.concatenate([columns[key] for columns in played])[order] for key in played[0]}
    return columns, np.bincount(station, minlength=samples[0].task_counts.shape[1])


class TaskTable:
    """Tasks of all stations, to draw batches from.

    Args:
        columns: Columns of the tasks, station by station, shapes (K, features).
        counts: Tasks of each station, shape (B,).
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]], counts: NDArray[np.int64]) -> None:
        ends = np.cumsum([0, *(value.shape[1] for value in columns.values())])
        self._columns = {key: slice(*ends[i : i + 2]) for i, key in enumerate(columns)}
        self._rows = np.concatenate(list(columns.values()), axis=1, dtype=np.float32)
        self.counts = counts

    def column(self, name: str) -> FloatArray:
        """A column of all tasks, shape (K, features)."""
        return self._rows[:, self._columns[name]]

    def sample(self, batch_size: int, rng: np.random.Generator) -> dict[str, FloatArray]:
        """Draw tasks of every station, uniformly with repetition; zeros for a station that had none.

        Returns:
            All columns with the leading axes (sample, station).
        """
        begins = np.cumsum(self.counts) - self.counts
        within = (rng.random((batch_size, len(self.counts))) * self.counts).astype(np.int64)
        rows = self._rows[np.minimum(begins + within, len(self._rows) - 1)]
        rows[:, self.counts == 0] = 0.0
        return {key: rows[..., columns] for key, columns in self._columns.items()}

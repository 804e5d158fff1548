"""Replay buffers of all base stations, side by side: first in, first out, one ring per station."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib.errors import ConfigurationError
from lad_rllib.kernels import Kernels, make_backend

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class SlotSample:
    """What one runner saw in one slot of its E environments.

    Attributes:
        source: Names the runner; together with the environment index it identifies a running episode.
        slot: Slot index within the episode.
        tasks: Input size [Mbit] and workload [Gcycle] of each task, shape (E, B, N, 2).
        task_counts: Tasks of each station, shape (E, B).
        queues: Slot-start queues, shape (E, A).
        action: Server of each task, shape (E, B, N).
        delay_s: Service delay of each task [s], shape (E, B, N).
        latent: Latent action to store with each task, shape (E, B, N, latent size): A numbers, or none if the actor
            starts from no latent action.
        next_tasks: Input size and workload of the next slot's first tasks, shape (E, B, 2).
        next_task_counts: Tasks of the next slot, shape (E, B).
        next_queues: Queues at the start of the next slot, shape (E, A).
        next_latent: Latent action in memory for the next slot's first tasks, shape (E, B, latent size).
        is_last: True if the episodes end after this slot.
    """

    source: Hashable
    slot: int
    tasks: FloatArray
    task_counts: NDArray[np.int32]
    queues: FloatArray
    action: NDArray[np.int64]
    delay_s: FloatArray
    latent: FloatArray
    next_tasks: FloatArray
    next_task_counts: NDArray[np.int32]
    next_queues: FloatArray
    next_latent: FloatArray
    is_last: bool


@dataclass
class _Open:
    """Last transitions of a source's stations, which the next task has yet to complete or correct.

    Attributes:
        waiting: Station has a last task without a next state (its next slots had no task), shape (E, B).
        row: Those transitions, shape (E, B, row length).
        position: Where each station's last complete transition lies in its ring, -1 for none, shape (E, B).
        count: Running number of that transition in its ring, shape (E, B).
    """

    waiting: NDArray[np.bool_]
    row: FloatArray
    position: NDArray[np.int64]
    count: NDArray[np.int64]


class FleetReplayBuffer:
    """One first-in-first-out ring of transitions ``(s, x, s', x', a, r)`` for each of B base stations.

    A transition is a row of ``float32``: state (2 + A), latent, next state (2 + A), next latent, action, reward. A
    station's next task is the next of the same slot, or the first of its next slot that has one; the last task of an
    episode has none and is left out. The queues of a next state in another slot are those at that slot's start, or
    zeros (``zero_next_queues``).

    Args:
        num_stations: Base stations B.
        num_servers: Edge servers A.
        capacity: Transitions that each station keeps.
        latent_after_acting: The latent stored is the actor's own output (published code). The next task's output is
            not known until it is decided: until then the row holds what is in memory for it, afterwards its output.
        latent_size: Length of a latent action: A (None), or 0 if the actor starts from none.
        zero_next_queues: Store empty queues in next states that lie in another slot, as the published code does: it
            reads them before it has updated them.
        kernels: What draws, see :func:`~lad_rllib.kernels.make_backend`. What is drawn is the same.
    """

    def __init__(
        self,
        num_stations: int,
        num_servers: int,
        capacity: int,
        latent_after_acting: bool,
        latent_size: int | None = None,
        zero_next_queues: bool = False,
        kernels: Kernels = "auto",
    ) -> None:
        state = 2 + num_servers
        latent_size = num_servers if latent_size is None else latent_size
        self._after_acting = latent_after_acting and latent_size > 0
        columns = np.cumsum([0, state, latent_size, state, latent_size, 1, 1])
        names = ("state", "latent", "next_state", "next_latent", "action", "reward")
        self._columns = {name: slice(*columns[i : i + 2]) for i, name in enumerate(names)}
        self.capacity = capacity
        self._zero_next_queues = zero_next_queues
        self._backend = make_backend(kernels)
        self.rows: FloatArray = np.zeros((num_stations, capacity, int(columns[-1])), dtype=np.float32)
        self.count: NDArray[np.int64] = np.zeros(num_stations, dtype=np.int64)  # received since the beginning
        self._open: dict[Hashable, _Open] = {}

    @property
    def size(self) -> NDArray[np.int64]:
        """Transitions that each station holds now, shape (B,)."""
        return np.minimum(self.count, self.capacity)

    def _append(self, station: NDArray[np.int64], rows: FloatArray) -> NDArray[np.int64]:
        """Append rows, given in order of their stations; returns each row's running number in its ring."""
        new = np.bincount(station, minlength=len(self.count))
        rank = np.arange(len(station)) - np.repeat(np.cumsum(new) - new, new)
        number = self.count[station] + rank
        kept = number >= (self.count + new)[station] - self.capacity  # more at once than fit: the last ones stay
        self.rows[station[kept], number[kept] % self.capacity] = rows[kept]
        self.count += new
        return number

    def add(self, sample: SlotSample) -> None:
        """Turn a slot into transitions and store them."""
        episodes, stations = sample.task_counts.shape
        opened = self._open.get(sample.source)
        if opened is None or sample.slot == 0 or opened.waiting.shape[0] != episodes:
            shape = (episodes, stations)
            opened = _Open(
                waiting=np.zeros(shape, dtype=bool),
                row=np.zeros((*shape, self.rows.shape[-1]), dtype=np.float32),
                position=np.full(shape, -1),
                count=np.zeros(shape, dtype=np.int64),
            )
            self._open[sample.source] = opened
        has_task = sample.task_counts > 0
        self._correct(opened, sample, has_task)
        self._complete(opened, sample, has_task)
        self._store(opened, sample)
        if sample.is_last:
            del self._open[sample.source]

    def _correct(self, opened: _Open, sample: SlotSample, has_task: NDArray[np.bool_]) -> None:
        """Write the actor's output for this slot's first tasks to the transitions that lead to them."""
        if self._after_acting:
            correct = has_task & (opened.position >= 0)
            station = np.nonzero(correct)[1]
            alive = self.count[station] - opened.count[correct] <= self.capacity
            self.rows[station[alive], opened.position[correct][alive], self._columns["next_latent"]] = sample.latent[
                :, :, 0
            ][correct][alive]
        opened.position[has_task] = -1

    def _complete(self, opened: _Open, sample: SlotSample, has_task: NDArray[np.bool_]) -> None:
        """Store last transitions of earlier slots whose station has no task now, but gets one in the next slot."""
        complete = opened.waiting & ~has_task & (sample.next_task_counts > 0)
        station, episode = np.nonzero(complete.T)  # stations first, as _append wants them
        if len(station):
            rows = opened.row[episode, station]
            rows[:, self._columns["next_state"]] = np.concatenate(
                [sample.next_tasks[episode, station], self._next_queues(sample)[episode]], axis=1
            )
            rows[:, self._columns["next_latent"]] = sample.next_latent[episode, station]
            number = self._append(station, rows)
            opened.waiting[complete] = False
            opened.position[episode, station] = number % self.capacity
            opened.count[episode, station] = number

    def _store(self, opened: _Open, sample: SlotSample) -> None:
        """Store this slot's transitions; keep a station's last one open if its next slot has no task."""
        column = self._columns
        num_tasks = sample.tasks.shape[2]
        mask = np.arange(num_tasks) < sample.task_counts[..., None]
        station, episode, task = np.nonzero(mask.transpose(1, 0, 2))
        is_last_task = task == sample.task_counts[episode, station] - 1
        following = np.minimum(task + 1, num_tasks - 1)
        rows = np.empty((len(station), self.rows.shape[-1]), dtype=np.float32)
        state, next_state = rows[:, column["state"]], rows[:, column["next_state"]]
        state[:, :2] = sample.tasks[episode, station, task]
        state[:, 2:] = sample.queues[episode]
        next_state[:, :2] = sample.tasks[episode, station, following]
        next_state[:, 2:] = state[:, 2:]
        rows[:, column["latent"]] = sample.latent[episode, station, task]
        rows[:, column["next_latent"]] = sample.latent[episode, station, following]
        last = np.nonzero(is_last_task)[0]
        of_last = (episode[last], station[last])
        next_state[last, :2] = sample.next_tasks[of_last]
        next_state[last, 2:] = self._next_queues(sample)[of_last[0]]
        rows[last, column["next_latent"]] = sample.next_latent[of_last]
        rows[:, column["action"].start] = sample.action[episode, station, task]
        rows[:, column["reward"].start] = -sample.delay_s[episode, station, task]

        waits = is_last_task & (sample.next_task_counts[episode, station] == 0)
        if waits.any():
            opened.waiting[episode[waits], station[waits]] = True
            opened.row[episode[waits], station[waits]] = rows[waits]
            keep = ~waits
            station, episode, is_last_task, rows = station[keep], episode[keep], is_last_task[keep], rows[keep]
        number = self._append(station, rows)
        where = (episode[is_last_task], station[is_last_task])
        opened.position[where] = number[is_last_task] % self.capacity
        opened.count[where] = number[is_last_task]

    def _next_queues(self, sample: SlotSample) -> FloatArray:
        """Queues that the next slot's states get, shape (E, A)."""
        return np.zeros_like(sample.next_queues) if self._zero_next_queues else sample.next_queues

    def sample(self, batch_size: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """Draw transitions of every station, uniformly and without repetition within a station.

        A station that holds fewer than ``batch_size`` gets whatever its ring holds, zeros included; leave such
        stations out of the update.

        Returns:
            Columns with the leading axes (sample, station): views of one array whose last axis in memory is the sample,
            as the networks want it.
        """
        chosen = self._choose(batch_size, rng)
        batch: dict[str, NDArray[Any]] = {
            name: self._backend.gather(self.rows, chosen, columns).transpose(2, 0, 1)
            for name, columns in self._columns.items()
        }
        batch["action"] = batch["action"][..., 0].T.astype(np.int64).T
        batch["reward"] = batch["reward"][..., 0]
        return batch

    def _choose(self, batch_size: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Positions in the rings, shape (station, sample), by Robert Floyd's algorithm."""
        sizes = np.maximum(self.size, batch_size)
        greatest = sizes[:, None] - batch_size + np.arange(batch_size)
        positions = rng.integers(greatest, endpoint=True)
        self._backend.make_distinct(positions, sizes)
        return positions

    def get_state(self) -> dict[str, Any]:
        """Contents and counters, between episodes."""
        return {"rows": self.rows.copy(), "count": self.count.copy(), "columns": len(self._columns)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over the contents of a saved buffer.

        Raises:
            ConfigurationError: if it was saved for another network size or capacity.
        """
        rows = np.asarray(state["rows"], dtype=np.float32)
        if rows.shape != self.rows.shape:
            raise ConfigurationError(
                f"the saved replay buffer has shape (stations, capacity, row) {rows.shape}, this one "
                f"{self.rows.shape}; restore with the network size and replay capacity it was trained with"
            )
        self.rows, self.count = rows.copy(), np.asarray(state["count"], dtype=np.int64).copy()
        self._open.clear()

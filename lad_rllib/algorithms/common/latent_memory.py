"""The latent memory: the actor's last output for each task index, with which its next chain is initialised.

Its life cycle (tested in ``tests/algorithms/test_latent_memory.py``):

- It is state of the *environment runner*, one memory for each of its environments; it is not a weight.
- It lives on from episode to episode. Every entry starts as standard normal noise, or as zeros, as the networks say.
  Learned starts are weights: of them the memory holds the numbers, which never change.
- **Checkpoint**: the algorithm saves the memory of every training runner, and restores it runner by runner; a
  runner without a saved one takes that of the first saved runner, an environment that of its runner's first one.
- **Evaluation**: before each ``evaluate()`` the evaluation runners take a copy of the first training runner's
  memory; what they remember meanwhile is dropped at the next evaluation. Where training and evaluation share a
  runner, its memory is put back afterwards. So evaluation never changes training.
- **Restarted runner**: takes the memory that it had after its last finished episode; before the first, that of the
  first runner that has one.
- **Several runners or environments**: each has its own; they start from different noise, or all from zeros.
- **Other settings**: numbers of stations and servers must be those of the saved memory. Slots beyond it start from
  noise, or zeros; task indices beyond it take the last one's entry. Those that are not needed are dropped.
- **More tasks than there are entries** (:class:`FleetPolicy`): further tasks start from the last entry, and the actor's
  output for them is not remembered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lad_rllib.errors import ConfigurationError

LatentIndex = Literal["station_task", "station_slot_task"]
FirstLatent = Literal["noise", "zeros", "index"]


def for_tasks(values: NDArray[Any], num_tasks: int, axis: int) -> NDArray[Any]:
    """Values by task index, for another number of tasks: further ones take the last index's.

    Args:
        values: What there is for each task index.
        num_tasks: Task indices N that are wanted.
        axis: Axis of the task indices.
    """
    return np.take(values, np.minimum(np.arange(num_tasks), values.shape[axis] - 1), axis)


class LatentMemory:
    """Latent actions of E environments.

    Args:
        index: ``"station_task"`` keeps one entry per station and task index, carried from slot to slot (paper);
            ``"station_slot_task"`` one per station, slot and task index, carried from episode to episode
            (published code).
        shape: ``(E, B, N, A)``: environments, stations, task indices, actions.
        first: What entries are at first: ``"noise"`` from ``seeds``, ``"zeros"``, or ``"index"``: the task's index,
            which is the number of a learned start and stays.
        seeds: Seeds of the initial noise, one for each environment.
    """

    def __init__(
        self,
        index: LatentIndex,
        shape: tuple[int, int, int, int],
        first: FirstLatent = "noise",
        seeds: Sequence[Sequence[int]] = (),
    ) -> None:
        self._by_slot = index == "station_slot_task"
        self._shape = shape
        self._first = first
        self._seeds = seeds
        self._latents: dict[int, Tensor] = {}

    def _key(self, slot: int) -> int:
        return slot if self._by_slot else 0

    def read(self, slot: int, num_tasks: int | None = None) -> Tensor:
        """Latent actions for the tasks of a slot, shape (E, B, N, A).

        Args:
            slot: The slot.
            num_tasks: Task indices that are wanted (those of the memory); further ones take the last entry.
        """
        key = self._key(slot)
        if key not in self._latents:
            self._latents[key] = torch.from_numpy(self._initial(key))
        entries = self._latents[key]
        if num_tasks is None or num_tasks == entries.shape[2]:
            return entries
        return entries[:, :, torch.arange(num_tasks).clamp(max=entries.shape[2] - 1)]

    def _initial(self, key: int) -> NDArray[np.float32]:
        if self._first == "index":
            numbers = np.arange(self._shape[2], dtype=np.float32)
            return np.broadcast_to(numbers[:, None], self._shape).copy()
        if self._first == "zeros":
            return np.zeros(self._shape, dtype=np.float32)
        shape = self._shape[1:]
        return np.stack(
            [np.random.default_rng([*seed, key]).standard_normal(shape, dtype=np.float32) for seed in self._seeds]
        )

    def write(self, slot: int, latents: Tensor, mask: Tensor) -> None:
        """Remember the actor's output (E, B, N, A), where ``mask`` (E, B, N) says that there was a task.

        What belongs to task indices beyond the memory's is dropped.
        """
        entries = self.read(slot)
        known = min(entries.shape[2], latents.shape[2])
        renewed = torch.where(mask[:, :, :known, None], latents[:, :, :known], entries[:, :, :known])
        self._latents[self._key(slot)] = torch.cat([renewed, entries[:, :, known:]], 2)

    def first(self, slot: int) -> Tensor:
        """Latent actions for each station's first task of a slot, shape (E, B, A)."""
        return self.read(slot)[:, :, 0]

    def get_state(self) -> dict[str, Any]:
        """All latent actions that were read or written so far."""
        return {
            "by_slot": self._by_slot,
            "latents": {key: value.numpy().copy() for key, value in dict(self._latents).items()},
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over latent actions; environments beyond those saved take the first one's, task indices the last one's.

        Raises:
            ConfigurationError: if the state was saved for another indexing, or for other numbers of stations or
                servers.
        """
        if state["by_slot"] != self._by_slot:
            raise ConfigurationError(
                "the saved latent memory is indexed in another way; use the latent_index it was trained with"
            )
        environments, stations, num_tasks, servers = self._shape
        latents = {}
        for key, value in state["latents"].items():
            value = np.asarray(value)
            if (value.shape[1], value.shape[3]) != (stations, servers):
                raise ConfigurationError(
                    "the saved latent memory is of another network: (stations, servers) "
                    f"({value.shape[1]}, {value.shape[3]}), here ({stations}, {servers})"
                )
            source = np.arange(environments)
            value = for_tasks(value[np.where(source < len(value), source, 0)], num_tasks, axis=2)
            latents[int(key)] = torch.from_numpy(self._initial(int(key)) if self._first == "index" else value)
        self._latents = latents

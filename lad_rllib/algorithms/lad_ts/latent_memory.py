"""The latent memory: what the actor put out last time for each task index, and starts from next time.

What becomes of it (tested in ``tests/algorithms/test_latent_memory.py``):

- It is state of the *environment runner*, one memory for each of its environments; it is not a weight.
- It lives on from episode to episode. Every entry starts as standard normal noise.
- **Checkpoint**: the algorithm saves the memory of every training runner, and restores it runner by runner; a
  runner or environment without a saved one takes that of the first runner and environment.
- **Evaluation**: before each ``evaluate()`` the evaluation runners take a copy of the first training runner's
  memory; what they learn to remember stays with them and is dropped at the next evaluation.
- **Restarted runner**: takes the memory that it had after its last finished ``train()`` iteration.
- **Several runners or environments**: each has its own; they start from different noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

LatentIndex = Literal["station_task", "station_slot_task"]


class LatentMemory:
    """Latent actions of E environments.

    Args:
        index: ``"station_task"`` keeps one entry per station and task index, carried from slot to slot (paper);
            ``"station_slot_task"`` one per station, slot and task index, carried from episode to episode
            (published code).
        shape: ``(E, B, N, A)``: environments, stations, task indices, actions.
        seed: Seeds of the initial noise, one for each environment.
    """

    def __init__(self, index: LatentIndex, shape: tuple[int, int, int, int], seed: list[list[int]]) -> None:
        self._by_slot = index == "station_slot_task"
        self._shape = shape
        self._seed = seed
        self._latents: dict[int, Tensor] = {}

    def _key(self, slot: int) -> int:
        return slot if self._by_slot else 0

    def read(self, slot: int) -> Tensor:
        """Latent actions for the tasks of a slot, shape (E, B, N, A)."""
        key = self._key(slot)
        if key not in self._latents:
            noise = [
                np.random.default_rng([*seed, key]).standard_normal(self._shape[1:], dtype=np.float32)
                for seed in self._seed
            ]
            self._latents[key] = torch.from_numpy(np.stack(noise))
        return self._latents[key]

    def write(self, slot: int, latents: Tensor, mask: Tensor) -> None:
        """Remember what the actor put out, where ``mask`` (E, B, N) says that there was a task."""
        self._latents[self._key(slot)] = torch.where(mask[..., None], latents, self.read(slot))

    def first(self, slot: int) -> Tensor:
        """Latent actions for each station's first task of a slot, shape (E, B, A)."""
        return self.read(slot)[:, :, 0]

    def get_state(self) -> dict[str, Any]:
        """All latent actions that were read or written so far."""
        return {
            "by_slot": self._by_slot,
            "latents": {key: value.numpy().copy() for key, value in self._latents.items()},
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over latent actions; environments beyond those saved take the first one's.

        Raises:
            ValueError: if the state was saved for another indexing, or for other numbers of stations, tasks or
                servers.
        """
        if state["by_slot"] != self._by_slot:
            raise ValueError(
                "the saved latent memory is indexed in another way; use the latent_index it was trained with"
            )
        latents = {}
        for key, value in state["latents"].items():
            value = np.asarray(value)
            if value.shape[1:] != self._shape[1:]:
                raise ValueError(
                    "the saved latent memory is of another network: (stations, tasks, servers) "
                    f"{value.shape[1:]}, here {self._shape[1:]}"
                )
            source = np.arange(self._shape[0])
            latents[int(key)] = torch.from_numpy(value[np.where(source < len(value), source, 0)].copy())
        self._latents = latents

"""A trained policy by itself: tasks and queues in, servers out, without RLlib's runners or a Ray cluster."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lad_rllib.algorithms.common.acting import draw_uniform
from lad_rllib.algorithms.common.actors import ActingNetworks
from lad_rllib.algorithms.common.latent_memory import LatentMemory
from lad_rllib.algorithms.common.policy_file import SavedPolicy, read_policy
from lad_rllib.errors import ConfigurationError


class LADTSPolicy:
    """Decides for all base stations with trained actors and a latent memory of its own.

    Of LAD-TS, and of every algorithm that shares its parts: D2SAC-TS, SAC-TS, DQN-TS.

    It has the methods of :class:`lad_rllib.scheduling.Scheduler`. The memory starts each time from what training had
    remembered, and goes on changing with every decision, as in training.

    Args:
        networks: Trained networks.
        num_tasks: Task indices that the latent memory has entries for. A slot may have more tasks than that: further
            ones start from the last entry, and only the first ones' are remembered.
        latent_index: See :class:`LADTSConfig`.
        latent_content: See :class:`LADTSConfig`.
        latent_state: Latent memory to start from.
        queue_unit: Unit of the queues that the networks were trained on, ``"gcycles"``, ``"seconds"`` or
            ``"slots"``.
        explore: Draw servers from the actors' probabilities; otherwise take the most probable ones.
        title: Name of the algorithm that trained it.
        draws: See :class:`LADTSConfig`.
        starts_from_noise: Without ``latent_state``, the memory starts from noise; else from zeros.
    """

    def __init__(
        self,
        networks: ActingNetworks,
        num_tasks: int,
        *,
        latent_index: Literal["station_task", "station_slot_task"] = "station_slot_task",
        latent_content: Literal["probabilities", "logits"] = "probabilities",
        latent_state: Mapping[str, Any] | None = None,
        queue_unit: str = "gcycles",
        explore: bool = True,
        title: str = "LAD-TS",
        draws: str = "independent",
        starts_from_noise: bool = True,
    ) -> None:
        self.networks = networks.eval()
        self.num_tasks = num_tasks
        self.explore = explore
        self.title = title
        self.queue_unit = queue_unit
        self._draws = draws
        self._starts_from_noise = starts_from_noise
        self._latent_index: Literal["station_task", "station_slot_task"] = latent_index
        self._latent_content = latent_content
        self._latent_state = latent_state
        self._memory: LatentMemory | None = None

    @classmethod
    def from_checkpoint(cls, path: str | Path, explore: bool = True) -> LADTSPolicy:
        """Load the policy of a checkpoint, or its folder ``policy`` alone; runs no code of the files.

        Args:
            path: Folder on this machine.
            explore: See the class.

        Raises:
            ConfigurationError: if there is no policy, or it is damaged or malformed.
        """
        return cls.of_saved(read_policy(path), explore)

    @classmethod
    def of_saved(cls, saved: SavedPolicy, explore: bool = True) -> LADTSPolicy:
        """The policy that was read from a file."""
        networks, acting = saved.build_networks(), saved.description.acting
        weights = {key: torch.from_numpy(saved.weights["networks." + key]) for key in networks.state_dict()}
        networks.load_state_dict(weights)
        return cls(
            networks,
            saved.description.fleet.max_tasks,
            latent_index=acting.latent_index,
            latent_content=acting.latent_content,
            latent_state=saved.latent_state,
            queue_unit=acting.queue_unit,
            explore=explore,
            title=saved.title,
            draws=acting.draws,
            starts_from_noise=acting.starts_from_noise,
        )

    def reset(self, num_episodes: int) -> None:
        """Start ``num_episodes`` episodes in lockstep, each with a copy of what training had remembered."""
        shape = (num_episodes, self.networks.num_stations, self.num_tasks, self.networks.latent_size)
        seed = [[0, index] for index in range(num_episodes)] if self._starts_from_noise else None
        self._memory = LatentMemory(self._latent_index, shape, seed, self.networks.latent_is_number)
        if self._latent_state is not None:
            self._memory.set_state(self._latent_state)

    def decide(self, tasks: Any, rng: np.random.Generator) -> NDArray[np.int64]:
        """Choose a server for each task of a slot, given as :class:`lad_rllib.simulator.SlotTasks`."""
        stations, servers = tasks.network.num_stations, tasks.network.num_servers
        networks = self.networks
        if (stations, servers) != (networks.num_stations, networks.num_servers):
            raise ConfigurationError(
                f"the policy was trained for {networks.num_stations} base stations and {networks.num_servers} edge "
                f"servers, this network has {stations} and {servers}; train one for it"
            )
        networks.see_servers(tasks.network.capacity_gcycles_per_s, tasks.network.slot_s)
        queues = tasks.queue_gcycles
        if self.queue_unit != "gcycles":
            queues = queues / tasks.network.capacity_gcycles_per_s
        if self.queue_unit == "slots":
            queues = queues / tasks.network.slot_s
        return self.servers(
            np.stack([tasks.task_mbit * tasks.mask, tasks.workload_gcycles], axis=-1),
            tasks.mask,
            queues,
            tasks.slot,
            rng,
        )

    def _uniform(self, counts: Tensor, num_tasks: int, rng: np.random.Generator) -> Tensor:
        if self._draws == "independent":
            return torch.from_numpy(rng.random((*counts.shape, num_tasks), dtype=np.float32))
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        return draw_uniform(counts, num_tasks, self._draws, generator)

    @torch.no_grad()
    def servers(
        self,
        tasks: NDArray[np.floating[Any]],
        mask: NDArray[np.bool_],
        queues: NDArray[np.floating[Any]],
        slot: int,
        rng: np.random.Generator,
    ) -> NDArray[np.int64]:
        """Choose a server for each task of a slot.

        Args:
            tasks: Input size [Mbit] and workload [Gcycle] of each task, shape (E, B, N, 2).
            mask: True where there is a task, shape (E, B, N): the first ones of each station.
            queues: Slot-start queues in ``queue_unit``, shape (E, A).
            slot: Index of the slot since :meth:`reset`.
            rng: Randomness of the diffusion chain and of the choice.

        Returns:
            Server of each task, shape (E, B, N).
        """
        episodes, stations, num_tasks = mask.shape
        if (mask[..., 1:] & ~mask[..., :-1]).any():
            raise ConfigurationError("the tasks of a station must come first in their row of the mask, without gaps")
        if self._memory is None:
            self.reset(episodes)
        assert self._memory is not None
        latent = self._memory.read(slot)
        start = latent[:, :, torch.arange(num_tasks).clamp(max=self.num_tasks - 1)]
        shape = (self.networks.actor.num_noise_draws, stations, self.networks.num_servers, episodes * num_tasks)
        noise = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
        given, seen = torch.as_tensor(tasks, dtype=torch.float32), torch.as_tensor(queues, dtype=torch.float32)
        counts = torch.from_numpy(mask.sum(-1))
        uniform = self._uniform(counts, num_tasks, rng) if self.explore else None
        decision = self.networks.decide(self.networks.evaluated_actor, given, counts, seen, start, noise, uniform)
        entries = min(num_tasks, self.num_tasks)
        put_out = latent.clone()
        put_out[:, :, :entries] = self.networks.next_latent(self._latent_content, decision)[:, :, :entries]
        known = torch.zeros(latent.shape[:3], dtype=torch.bool)
        known[:, :, :entries] = torch.as_tensor(mask)[:, :, :entries]
        self._memory.write(slot, put_out, known)
        return decision.servers.numpy()

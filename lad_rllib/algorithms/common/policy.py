"""A trained policy by itself: tasks and queues in, servers out, without RLlib's runners or a Ray cluster."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lad_rllib.algorithms.common.acting import Acting
from lad_rllib.algorithms.common.fleet_policy import SavedFleetPolicy
from lad_rllib.algorithms.common.latent_memory import LatentMemory
from lad_rllib.algorithms.common.networks import ActingNetworks
from lad_rllib.algorithms.common.policy_file import SavedPolicy, read_policy
from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator import SlotTasks


class FleetPolicy:
    """Decides for all base stations with trained actors and a latent memory of its own.

    It is the policy of any algorithm of :mod:`lad_rllib.algorithms`, and has the methods of
    :class:`lad_rllib.scheduling.Scheduler`. Each :meth:`reset` initialises the memory with what training had
    remembered; every decision renews it, as in training.

    Args:
        networks: Trained networks.
        num_tasks: Task indices that the latent memory has entries for. A slot may have more tasks than that: further
            ones start from the last entry, and only the first ones' are remembered.
        latent_index: See :class:`LatentMemory`.
        latent_state: Latent memory to start from.
        queue_unit: Unit of the queues that the networks were trained on, ``"gcycles"``, ``"seconds"`` or
            ``"slots"``.
        explore: Draw servers from the actors' probabilities; otherwise take the most probable ones.
        title: Name of the algorithm that trained it.
        draws: See :func:`~lad_rllib.algorithms.common.acting.draw_uniform`.
    """

    def __init__(
        self,
        networks: ActingNetworks,
        num_tasks: int,
        *,
        latent_index: Literal["station_task", "station_slot_task"] = "station_slot_task",
        latent_state: Mapping[str, Any] | None = None,
        queue_unit: str = "gcycles",
        explore: bool = True,
        title: str = "policy",
        draws: str = "independent",
    ) -> None:
        self.networks = networks.eval()
        self.num_tasks = num_tasks
        self.explore = explore
        self.title = title
        self.queue_unit = queue_unit
        self._draws = draws
        self._latent_index: Literal["station_task", "station_slot_task"] = latent_index
        self._latent_state = latent_state
        self._memory: LatentMemory | None = None

    @classmethod
    def from_checkpoint(cls, path: str | Path, explore: bool = True) -> FleetPolicy:
        """Load the policy of a checkpoint, or its folder ``policy`` alone; runs no code of the files.

        Args:
            path: Folder on this machine.
            explore: See the class.

        Raises:
            ConfigurationError: if there is no policy, or it is damaged or malformed.
        """
        return cls.of_saved(read_policy(path), explore)

    @classmethod
    def of_saved(cls, saved: SavedPolicy, explore: bool = True) -> FleetPolicy:
        """The policy that was read from a file.

        Raises:
            ConfigurationError: if it does not decide slot by slot.
        """
        if not isinstance(saved, SavedFleetPolicy):
            raise ConfigurationError(f"a policy of {saved.title} decides request by request, this takes one of slots")
        return cls(
            saved.load_networks(),
            saved.description.fleet.max_tasks,
            latent_index=saved.latent_index,
            latent_state=saved.latent_state,
            queue_unit=saved.description.queue_unit,
            explore=explore,
            title=saved.title,
            draws=saved.hyperparameters["draws"],
        )

    def reset(self, num_episodes: int) -> None:
        """Start ``num_episodes`` episodes in lockstep, each with a copy of what training had remembered."""
        shape = (num_episodes, self.networks.num_stations, self.num_tasks, self.networks.latent_size)
        seeds = [[0, index] for index in range(num_episodes)]
        self._memory = LatentMemory(self._latent_index, shape, self.networks.first_latent, seeds)
        if self._latent_state is not None:
            self._memory.set_state(self._latent_state)

    def decide(self, tasks: SlotTasks, rng: np.random.Generator) -> NDArray[np.int64]:
        """Choose a server for each task of a slot."""
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
        if (mask[..., 1:] & ~mask[..., :-1]).any():
            raise ConfigurationError("the tasks of a station must come first in their row of the mask, without gaps")
        if self._memory is None:
            self.reset(len(mask))
        assert self._memory is not None
        given, seen = torch.as_tensor(tasks, dtype=torch.float32), torch.as_tensor(queues, dtype=torch.float32)
        acting = Acting(self.networks, self._memory, self._draws)
        counts = torch.from_numpy(mask.sum(-1))
        decision, _, _ = acting.decide(given, counts, seen, slot, rng, explore=self.explore, evaluated=True)
        return decision.servers.numpy()

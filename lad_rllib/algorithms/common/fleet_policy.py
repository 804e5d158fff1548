"""A trained policy that decides slot by slot, on disk: its fleet, and its latent memory (``latent.<slot>``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from lad_rllib import names
from lad_rllib.algorithms.common.config import FleetConfig
from lad_rllib.algorithms.common.meaning import QUEUE_UNIT
from lad_rllib.algorithms.common.networks import ActingNetworks
from lad_rllib.algorithms.common.policy_description import MAX_WEIGHT_BYTES, FleetPolicyDescription
from lad_rllib.algorithms.common.policy_file import WEIGHTS, SavedPolicy

_LATENT = "latent."


class SavedFleetPolicy(SavedPolicy):
    """A trained policy of a fleet in slots as it was saved.

    Attributes:
        latents: Latent actions by slot, each of shape (E, B, N, ``latent_size``).
    """

    description_class = FleetPolicyDescription
    description: FleetPolicyDescription
    config_class: type[FleetConfig]

    def __init__(self, description: Any, arrays: Mapping[str, NDArray[Any]]) -> None:
        super().__init__(description, arrays)
        slots = [name for name in self.weights if name.startswith(_LATENT)]
        self.latents = {int(name.removeprefix(_LATENT)): self.weights.pop(name) for name in slots}

    @property
    def meaning(self) -> dict[str, Any]:
        """See :class:`SavedPolicy`; with the unit of the queues."""
        return super().meaning | {QUEUE_UNIT: self.description.queue_unit}

    @property
    def latent_state(self) -> dict[str, Any] | None:
        """Latent memory of the first runner, as :class:`LatentMemory` takes it; None: nothing was sampled."""
        if self.description.latent_by_slot is None:
            return None
        return {"by_slot": self.description.latent_by_slot, "latents": dict(self.latents)}

    def build_networks(self, *, inference_only: bool = True) -> ActingNetworks:
        """See :class:`SavedPolicy`."""
        built = self.config_class.module_class.networks_class
        networks: ActingNetworks = built.of_spaces(self.spaces(), inference_only=inference_only, **self.arguments)
        return networks

    @property
    def latent_index(self) -> Any:
        """What a latent action belongs to."""
        return self.hyperparameters.get("latent_index", self.config_class.latent_index)

    def spaces(self) -> dict[str, gym.spaces.Box]:
        """Observation space by key, as far as the networks need it."""
        fleet = self.description.fleet
        spaces = {
            names.TASKS: gym.spaces.Box(0, np.inf, (fleet.stations, fleet.max_tasks, 2), np.float32),
            names.QUEUES: gym.spaces.Box(0, np.inf, (fleet.servers,), np.float32),
        }
        told = {names.CAPACITIES: fleet.capacities_gcycles_per_s, names.SLOT_LENGTH: fleet.slot_s}
        for key, value in told.items():
            if value is not None:
                exact = np.atleast_1d(np.asarray(value, dtype=np.float32))
                spaces[key] = gym.spaces.Box(exact, exact, dtype=np.float32)
        return spaces

    def check_size(self) -> None:
        """See :class:`SavedPolicy`."""
        fleet, built = self.description.fleet, self.config_class.module_class.networks_class
        sizes = (fleet.stations, fleet.servers, fleet.max_tasks)
        least = built.min_weights(*sizes, self.hyperparameters["hidden_sizes"], self.arguments)
        latents = fleet.stations * fleet.max_tasks * fleet.servers
        there = sum(array.size for array in self.weights.values())
        if least > there:
            raise ValueError(f"networks of these sizes have at least {least} weights, {WEIGHTS} has {there}")
        if 4 * latents > MAX_WEIGHT_BYTES:
            raise ValueError(f"a latent memory of these sizes takes {4 * latents / 2**30:.3g} GiB for each episode")
        capacities = fleet.capacities_gcycles_per_s
        if capacities is not None and len(capacities) != fleet.servers:
            raise ValueError(f"{len(capacities)} capacities of {fleet.servers} servers")

    def check_memory(self, networks: ActingNetworks) -> None:
        """See :class:`SavedPolicy`: a latent memory of another shape, or numbers of starts that are not there."""
        fleet, by_slot = self.description.fleet, self.description.latent_by_slot
        if by_slot is not None and by_slot != (self.latent_index == "station_slot_task"):
            raise ValueError("the latent memory is indexed in another way than latent_index says")
        wanted = (fleet.stations, fleet.max_tasks, networks.latent_size)
        for slot, latent in self.latents.items():
            if latent.ndim != 4 or not len(latent) or latent.shape[1:] != wanted or latent.dtype != np.float32:
                raise ValueError(f"{_LATENT}{slot} is {latent.dtype}{list(latent.shape)}, float32[E, *{wanted}] is due")
            if networks.first_latent == "index" and not ((latent >= 0) & (latent < fleet.max_tasks)).all():
                raise ValueError(f"{_LATENT}{slot} has numbers of starts that are not there")

    @classmethod
    def described(cls, algorithm: Any, spec: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """See :class:`SavedPolicy`."""
        memory = (algorithm.rollouts.first_state() or {}).get("latent_memory")
        told = {
            "fleet": _fleet_of(spec.observation_space),
            QUEUE_UNIT: algorithm.config.env_config.get(QUEUE_UNIT, "gcycles"),
            "latent_by_slot": memory["by_slot"] if memory else None,
        }
        latents = memory["latents"] if memory else {}
        return told, {f"{_LATENT}{slot}": value for slot, value in latents.items()}


def _fleet_of(spaces: Mapping[str, Any]) -> dict[str, Any]:
    stations, max_tasks, _ = spaces[names.TASKS].shape
    told = {"capacities_gcycles_per_s": names.CAPACITIES, "slot_s": names.SLOT_LENGTH}
    exact = {field: spaces[key].low.tolist() for field, key in told.items() if key in spaces.keys()}  # noqa: SIM118
    if "slot_s" in exact:
        (exact["slot_s"],) = exact["slot_s"]
    return {"stations": stations, "max_tasks": max_tasks, "servers": spaces[names.QUEUES].shape[0], **exact}

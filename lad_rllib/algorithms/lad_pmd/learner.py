"""Learner of LAD-PMD: steps of all actors towards better probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.core import DEFAULT_MODULE_ID
from torch import Tensor

from lad_rllib.algorithms.common.learner import FleetTorchLearner
from lad_rllib.algorithms.lad_pmd.networks import LADPMDNetworks, improve_stations


class LADPMDTorchLearner(FleetTorchLearner):
    """Cross-entropy step of every actor."""

    def build(self) -> None:
        """Build module and optimiser."""
        super().build()
        self._played: dict[str, Tensor] = {}

    def update_networks(self, networks: Any, batch: dict[str, Tensor], ready: Tensor | None) -> dict[str, Tensor]:
        """One step of all actors, see :func:`improve_stations`."""
        active = {"actor": None if networks.actor.shared else ready}
        if networks.actor.starts is not None:
            active["start"] = ready
        return improve_stations(
            networks,
            batch,
            lambda gradients: self.take_step(gradients, active),
            momentum=self.config.momentum,
            ready=ready,
        )

    def begin_improvement(self, task_scale: NDArray[np.floating[Any]]) -> None:
        """Note the policy that played.

        Args:
            task_scale: Typical input size and workload, shape (2,). Tasks are divided by the first one: as long
                as the policy is the prior, it does not depend on it.
        """
        networks: LADPMDNetworks = self._module[DEFAULT_MODULE_ID].networks
        if networks.actor.is_prior:
            for actor in networks.actors():
                actor.set_task_scale(torch.as_tensor(task_scale).to(actor.task_scale.device))
        self._played = {key: value.clone() for key, value in networks.actor.state_dict().items()}

    @torch.no_grad()
    def end_improvement(self, share: float) -> None:
        """The policy that played is the previous one from now on, and the new one becomes part of the mean.

        Args:
            share: Share of the new actor in the mean actor, in (0, 1].
        """
        networks: LADPMDNetworks = self._module[DEFAULT_MODULE_ID].networks
        networks.previous.load_state_dict(self._played)
        self._played = {}
        torch._foreach_lerp_(list(networks.average.parameters()), list(networks.actor.parameters()), share)

"""Learner of LAD-TS for system objectives: steps of all actors towards better probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.core import DEFAULT_MODULE_ID
from torch import Tensor

from lad_rllib.algorithms.lad_ts.learner import LADTSTorchLearner
from lad_rllib.algorithms.lad_ts.system.networks import improve_stations


class SystemDelayLearner(LADTSTorchLearner):
    """Cross-entropy step of every actor; everything else as in :class:`LADTSTorchLearner`."""

    def update_networks(self, networks: Any, batch: dict[str, Tensor], ready: Tensor | None) -> dict[str, Tensor]:
        """One step of all actors, see :func:`improve_stations`."""
        return improve_stations(networks, batch, lambda name, loss: self._gradient_step(name, loss, None), ready)

    def set_input_scale(self, means: NDArray[np.floating[Any]]) -> None:
        """Scale the networks' inputs; see :meth:`PriorActor.set_input_scale`."""
        actor = self._module[DEFAULT_MODULE_ID].networks.actor
        actor.set_input_scale(torch.as_tensor(means).to(actor.input_scale.device))

"""A trained policy of LAD-Dispatch on disk, see :mod:`lad_rllib.algorithms.common.policy_file`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lad_rllib.algorithms.common.policy_description import PolicyDescription
from lad_rllib.algorithms.common.policy_file import SavedPolicy, policy_files
from lad_rllib.algorithms.lad_dispatch import familiar
from lad_rllib.algorithms.lad_dispatch.familiar import SeenRange
from lad_rllib.algorithms.lad_dispatch.features import NUM_FEATURES
from lad_rllib.algorithms.lad_dispatch.hyperparameters import LADDispatchHyperparameters
from lad_rllib.algorithms.lad_dispatch.rl_module import DispatchNetworks

_WEIGHTS = ("networks.actor.weights", "networks.average.weights")


class DispatchPolicyDescription(PolicyDescription):
    """All of ``policy.json`` of a policy that decides request by request.

    Attributes:
        orders: Orders of service that it was trained for: ``name:field=number``, or a name alone, whatever its fields.
    """

    orders: list[str] = Field(min_length=1)


class SavedDispatchPolicy(SavedPolicy):
    """A trained policy of LAD-Dispatch as it was saved; it fits any fleet.

    Attributes:
        seen: What it has seen of each number of a token; None: training did not say.
    """

    description_class = DispatchPolicyDescription
    description: DispatchPolicyDescription

    def __init__(self, description: Any, arrays: Mapping[str, NDArray[Any]]) -> None:
        super().__init__(description, arrays)
        low, high = (self.weights.pop(name, None) for name in familiar.ARRAYS)
        self.seen = None if low is None or high is None else SeenRange(low, high)

    def build_networks(self, *, inference_only: bool = True) -> DispatchNetworks:
        """See :class:`SavedPolicy`."""
        return DispatchNetworks(inference_only=inference_only, **self.arguments)

    def check_size(self) -> None:
        """See :class:`SavedPolicy`."""
        hidden, there = self.hyperparameters["hidden_size"], sum(array.size for array in self.weights.values())
        if hidden > there:
            raise ValueError(f"a network of {hidden} hidden units has more weights than the {there} that there are")

    def check_memory(self, networks: Any) -> None:  # noqa: ARG002
        """See :class:`SavedPolicy`: a range of another number of features."""
        for array in () if self.seen is None else (self.seen.low, self.seen.high):
            if array.shape != (NUM_FEATURES,) or array.dtype != np.float32:
                raise ValueError(f"{familiar.ARRAYS[0]} is {array.dtype}{list(array.shape)}, float32[{NUM_FEATURES}]")

    @classmethod
    def described(cls, algorithm: Any, spec: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """See :class:`SavedPolicy`."""
        return algorithm.trained_for, algorithm.seen.arrays()


def dispatch_policy_files(
    settings: LADDispatchHyperparameters,
    weights: NDArray[np.float32],
    seen: SeenRange,
    setting: Mapping[str, Any],
    orders: Sequence[str],
) -> dict[str, bytes]:
    """Contents of the files of a policy that was not trained by RLlib, by their names.

    Args:
        settings: What the actor is, and how it learned.
        weights: Its weights, from which fine-tuning goes on, too.
        seen: What it has seen.
        setting: Setting that it learned in.
        orders: See :class:`DispatchPolicyDescription`.
    """
    told = {
        "algorithm": "lad-dispatch",
        "hyperparameters": settings.model_dump(),
        "setting": dict(setting),
        "orders": [*orders],
    }
    return policy_files(told, dict.fromkeys(_WEIGHTS, weights) | seen.arrays())

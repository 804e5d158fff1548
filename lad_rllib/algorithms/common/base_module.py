"""RLModule that all algorithms share: their networks, and how weights are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.core.rl_module.torch import TorchRLModule

from lad_rllib.errors import ConfigurationError


class SchedulingTorchRLModule(TorchRLModule, InferenceOnlyAPI):
    """RLModule around an algorithm's networks; a sibling builds them in ``setup()``.

    ``model_config`` holds the networks' keyword arguments, as the algorithm's configuration fills them in.
    """

    framework = "torch"
    networks_class: Any
    networks: Any

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Load weights.

        Raises:
            ConfigurationError: if they are of networks of another size, or of another kind.
        """
        if state and not any(name in state for name in self.state_dict()):
            raise ConfigurationError(
                f"the checkpoint has other networks: {next(iter(state))} there, {next(iter(self.state_dict()))} here; "
                "restore with the algorithm that it was trained with"
            )
        for name, own in self.state_dict().items():
            if name in state and tuple(state[name].shape) != tuple(own.shape):
                raise ConfigurationError(
                    f"the checkpoint is of another network size: {name} is {tuple(state[name].shape)} there, "
                    f"{tuple(own.shape)} here; restore with the setting and hidden_sizes that it was trained with"
                )
        super().set_state(state)

"""LoRAs of a pipeline, by diffusers' own adapters: loaded once, switched on for the images that ask for them."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any

from lad_rllib.edge.engines.pipeline import hub_offline, quiet
from lad_rllib.edge.errors import InvalidRequest, one_line
from lad_rllib.errors import ConfigurationError


def check_loras_can_be_loaded(loras: Mapping[str, str]) -> None:
    """Refuse a server with LoRAs where the package that loads them is missing.

    Raises:
        ConfigurationError: naming it.
    """
    if loras and find_spec("peft") is None:
        raise ConfigurationError("loras need the package peft; pip install 'lad-rllib[lora]'")


class Adapters:
    """The LoRAs that are in one pipeline.

    Args:
        pipeline: The diffusers pipeline.
        model: Its name, for messages.
        paths: File, folder or hub name of each LoRA of the server, by name.
    """

    def __init__(self, pipeline: Any, model: str, paths: Mapping[str, str]) -> None:
        self._pipeline, self._model, self._paths = pipeline, model, paths
        self._adapters = {name: f"lora_{number}" for number, name in enumerate(paths)}  # without dots, as peft wants
        self._loaded: set[str] = set()

    def load(self, name: str) -> None:
        """Load a LoRA.

        Raises:
            InvalidRequest: if the model takes none, or not this one.
        """
        path, adapter = os.path.expanduser(self._paths[name]), self._adapters[name]
        if not hasattr(self._pipeline, "load_lora_weights"):
            raise InvalidRequest(f"model {self._model} takes no LoRAs; leave {name} out")
        try:
            with quiet(), warnings.catch_warnings(), hub_offline() if os.path.exists(path) else nullcontext():
                warnings.simplefilter("ignore")  # that there is another LoRA already
                self._pipeline.load_lora_weights(path, adapter_name=adapter)
            if adapter not in {one for some in self._pipeline.get_list_adapters().values() for one in some}:
                raise ValueError("none of its weights belongs to the model")
        except Exception as error:
            with contextlib.suppress(Exception):
                self._pipeline.delete_adapters(adapter)
            raise InvalidRequest(f"LoRA {name} does not fit model {self._model} ({one_line(error)})") from error
        self._loaded.add(name)

    def unload(self, name: str) -> None:
        """Remove a LoRA."""
        self._loaded.remove(name)
        if self._loaded:
            self._pipeline.delete_adapters(self._adapters[name])
        else:
            self._pipeline.unload_lora_weights()  # which leaves nothing of them in the networks

    def activate(self, names: Sequence[str]) -> None:
        """Draw with these loaded LoRAs, and with no others."""
        if names:
            self._pipeline.enable_lora()
            self._pipeline.set_adapters([self._adapters[name] for name in names])
        elif self._loaded:
            self._pipeline.disable_lora()

"""The kinds of servers of this package: emulated devices, pipelines of diffusers, and servers asked over HTTP."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lad_rllib.declared import Text
from lad_rllib.edge import (
    MEMORY_PROFILES,
    DeviceProfile,
    EmulatedEngine,
    Engine,
    PacedEngine,
    embedded_model_path,
    get_profile,
)
from lad_rllib.edge.engines.diffusers import DiffusersEngine
from lad_rllib.edge.engines.diffusers_settings import DiffusersSettings
from lad_rllib.edge.engines.http import HttpEngine
from lad_rllib.edge.engines.http_settings import HttpSettings
from lad_rllib.edge.engines.pipeline import model_folder
from lad_rllib.edge.engines.profiles import MAX_DURATION_S
from lad_rllib.edge.engines.residency import ResidencySettings
from lad_rllib.fleet.server_spec import Amount, FileKeys, ServerSpec
from lad_rllib.text_files import read_structured

EMBEDDED = "embedded"
"""Name that stands for the image model which comes with the package."""

MAX_SEED = 2**62


class EmulatedKeys(FileKeys):
    """Keys of an emulated server's entry that no single server keeps."""

    profiles: Text | None = None
    """File that ``profile`` is a name in; null: the shipped one."""


class EmulatedServer(ServerSpec, ResidencySettings):
    """A service-time model of a device."""

    in_real_time: ClassVar[bool] = False
    file_keys: ClassVar[type[FileKeys]] = EmulatedKeys

    kind: Literal["emulated"] = "emulated"
    num_cpus: Amount = 0.1
    """CPUs that Ray reserves; it sleeps nearly all the time."""
    profile: DeviceProfile
    """Service times of the device; in a file the name of a profile, or a mapping of its fields."""
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    """Seed of the jitter; default: the position, and with a count the next ones."""
    cold_start: bool = False
    """Whether loading takes the profile's ``cold_start_s``."""
    make_png: bool = True
    """Whether to draw a picture."""
    models: list[Text] = []
    """Models that it has, the first for tasks that name none; ``[]``: any that a task names."""
    loras: list[Text] = []
    """LoRAs that it has; ``[]``: any that a task names."""

    @classmethod
    def from_file(cls, values: dict[str, Any], keys: Any, position: int, folder: Path) -> dict[str, Any]:
        """Look the profile up by its name, or fill in what a mapping of its fields leaves out."""
        profile = values.get("profile")
        if isinstance(profile, str):
            path = None if keys.profiles is None else folder / os.path.expanduser(keys.profiles)
            profile = get_profile(profile, path)
        elif isinstance(profile, Mapping):
            own = {"name": values["name"], "origin": "assumption", "source": "the fleet's own numbers"}
            profile = {**own, **profile}
        return {"seed": position} | values | {"profile": profile}

    def make_engine(self, time_scale: float) -> Engine:
        """An engine that sleeps as long as the device would take."""
        return EmulatedEngine(
            self.profile,
            time_scale=time_scale,
            seed=self.seed,
            cold_start=self.cold_start,
            make_png=self.make_png,
            models=self.models,
            loras=self.loras,
            models_in_memory=self.models_in_memory,
            loras_in_memory=self.loras_in_memory,
        )

    @property
    def engine_name(self) -> str:
        """The device."""
        return self.profile.name

    @classmethod
    def file_schema(cls) -> dict[str, Any]:
        """The schema, in which a profile is a name, or a mapping whose times alone are needed."""
        schema = super().file_schema()
        profile = schema["properties"]["profile"] | {"required": ["overhead_s", "per_step_s"]}
        schema["properties"]["profile"] = {"anyOf": [{"type": "string"}, profile]}
        return schema

    def numbered(self, index: int) -> Self:
        """One of several, with a seed of its own."""
        return super().numbered(index).model_copy(update={"seed": self.seed + index})


class DiffusersServer(ServerSpec, DiffusersSettings):
    """A pipeline of diffusers, maybe paced to a slower device."""

    kind: Literal["diffusers"] = "diffusers"
    num_cpus: Amount = 1.0
    """CPUs that Ray reserves; it computes on a core, or feeds a GPU."""
    model: Text = EMBEDDED
    """``embedded``, the folder of a pipeline, or a name of the Hugging Face hub."""
    min_step_s: Annotated[float, Field(ge=0, le=MAX_DURATION_S)] = 0.0
    """Minimum time of a denoising step [s], to emulate a slower device; 0: none."""

    @model_validator(mode="after")
    def _has_the_device_it_needs(self) -> Self:
        layout = MEMORY_PROFILES[self.memory_profile]
        if layout.needs_cuda and self.device == "cpu":
            raise ValueError(f"memory_profile {layout.name} needs a CUDA device, but device is cpu")
        for key, needs in (("memory_profile", layout.needs_cuda), ("device", self.device.startswith("cuda"))):
            if needs and not self.num_gpus:
                raise ValueError(f"{key} {getattr(self, key)} needs a GPU, but num_gpus is 0; say num_gpus: 1")
        return self

    @classmethod
    def from_file(cls, values: dict[str, Any], keys: Any, position: int, folder: Path) -> dict[str, Any]:
        """Find the folder of the model, unless it is the embedded one or a name of the hub."""
        found = dict(values)
        models, loras = values.get("models"), values.get("loras")
        if isinstance(values.get("model"), str) and not (isinstance(models, dict) and values["model"] in models):
            found["model"] = _found(values["model"], folder)
        for key, paths, what in (("models", models, "model folder"), ("loras", loras, "LoRA")):
            if isinstance(paths, dict):
                found[key] = {name: _found(path, folder, what) for name, path in paths.items()}
        return found

    def make_engine(self, time_scale: float) -> Engine:
        """The pipeline's engine."""
        settings = {name: getattr(self, name) for name in DiffusersSettings.model_fields}
        embedded = {name: str(embedded_model_path()) for name, path in self.paths.items() if path == EMBEDDED}
        settings["models"] = self.models | embedded
        engine = DiffusersEngine(**settings)
        return PacedEngine(engine, self.min_step_s) if self.min_step_s else engine

    @property
    def engine_name(self) -> str:
        """Model, memory profile and pace."""
        pace = f", {self.min_step_s:g} s a step" if self.min_step_s else ""
        return f"{', '.join(self.paths)}, {self.memory_profile}{pace}"


class HttpServer(ServerSpec, HttpSettings):
    """An image server that runs already, asked over HTTP for one task at a time."""

    kind: Literal["http"] = "http"
    num_cpus: Amount = 0.1
    """CPUs that Ray reserves; it waits nearly all the time."""

    @classmethod
    def from_file(cls, values: dict[str, Any], keys: Any, position: int, folder: Path) -> dict[str, Any]:
        """Read the workflow, so that it goes to whichever node the server runs on."""
        workflow = values.get("workflow")
        if isinstance(workflow, str):
            workflow = read_structured(folder / os.path.expanduser(workflow), "workflow")
        return values | {"workflow": workflow}

    def make_engine(self, time_scale: float) -> Engine:
        """The engine that asks it."""
        return HttpEngine(**{name: getattr(self, name) for name in HttpSettings.model_fields})

    @property
    def engine_name(self) -> str:
        """Where it is, what it speaks, and its model."""
        return ", ".join(filter(None, [self.base_url, self.flavour, self.model]))

    @classmethod
    def file_schema(cls) -> dict[str, Any]:
        """The schema, in which a workflow may be a path."""
        schema = super().file_schema()
        schema["properties"]["workflow"]["anyOf"].append({"type": "string"})
        return schema


def _found(path: Any, folder: Path, what: str = "model folder") -> Any:
    """The folder or file that a fleet file names, unless it is the embedded model or a name of the hub."""
    is_path = isinstance(path, str) and path.strip() and path != EMBEDDED
    return model_folder(path, folder, what) if is_path else path

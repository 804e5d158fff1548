"""The kinds of servers of this package: emulated devices, and pipelines of diffusers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, WithJsonSchema, model_validator

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
from lad_rllib.edge.engines.diffusers import DTYPES
from lad_rllib.edge.engines.pipeline import model_folder
from lad_rllib.edge.engines.profiles import MAX_DURATION_S, Side
from lad_rllib.edge.task import MAX_GUIDANCE
from lad_rllib.fleet.server_spec import Amount, FileKeys, ServerSpec

EMBEDDED = "embedded"
"""Name that stands for the image model which comes with the package."""

MAX_SEED = 2**62


def _profile_in_file() -> dict[str, Any]:
    """Schema of a device profile in a fleet file: a name, or a mapping whose times alone are needed."""
    mapping = DeviceProfile.model_json_schema()
    mapping["required"] = ["overhead_s", "per_step_s"]
    return {"anyOf": [{"type": "string"}, mapping], "description": "name of a device profile, or its fields"}


class EmulatedKeys(FileKeys):
    """Keys of an emulated server's entry that no single server keeps."""

    profiles: Annotated[Text | None, Field(description="file that profile is a name in; null: the shipped one")] = None


class EmulatedServer(ServerSpec):
    """A service-time model of a device."""

    in_real_time: ClassVar[bool] = False
    file_keys: ClassVar[type[FileKeys]] = EmulatedKeys

    kind: Literal["emulated"] = "emulated"
    num_cpus: Amount = 0.1  # it sleeps nearly all the time
    profile: Annotated[
        DeviceProfile,
        Field(description="service times of the device"),
        WithJsonSchema(_profile_in_file(), mode="validation"),
    ]
    seed: Annotated[int, Field(ge=0, le=MAX_SEED, description="seed of the jitter; default: position")] = 0
    cold_start: Annotated[bool, Field(description="whether loading takes the profile's cold_start_s")] = False
    make_png: Annotated[bool, Field(description="whether to draw a picture")] = True

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
        )

    @property
    def engine_name(self) -> str:
        """The device."""
        return self.profile.name

    def numbered(self, index: int) -> Self:
        """One of several, with a seed of its own."""
        return super().numbered(index).model_copy(update={"seed": self.seed + index})


class DiffusersServer(ServerSpec):
    """A pipeline of diffusers, maybe paced to a slower device."""

    kind: Literal["diffusers"] = "diffusers"
    num_cpus: Amount = 1.0  # it computes on a core, or feeds a GPU
    model: Annotated[Text, Field(description="embedded, the folder of a pipeline, or a name of the hub")] = EMBEDDED
    dtype: Annotated[Literal[DTYPES], Field(description="number format")] = "auto"  # type: ignore[valid-type]
    device: Annotated[Text, Field(description="torch device; auto: CUDA where there is one")] = "auto"
    memory_profile: Annotated[
        Literal[tuple(MEMORY_PROFILES)],  # type: ignore[valid-type]
        Field(description="how the pipeline is laid out in memory"),
    ] = "full"
    guidance: Annotated[
        Annotated[float, Field(ge=0, le=MAX_GUIDANCE)] | None,
        Field(description="guidance scale of tasks that name none; null: the pipeline's"),
    ] = None
    negative_prompt: Annotated[str, Field(description="what images should not show")] = ""
    width: Annotated[Side | None, Field(description="width of tasks that name none [pixel]; null: the model's")] = None
    height: Annotated[Side | None, Field(description="height of tasks that name none [pixel]; null: the model's")] = (
        None
    )
    max_sequence_length: Annotated[
        Annotated[int, Field(ge=0, le=2**16)] | None,
        Field(description="tokens of T5; null: 0 without T5, else the pipeline's"),
    ] = None
    min_step_s: Annotated[
        float, Field(ge=0, le=MAX_DURATION_S, description="emulates a slower device: minimum time of a step [s]")
    ] = 0.0

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
        model = values.get("model")
        if isinstance(model, str) and model.strip() and model != EMBEDDED:
            return values | {"model": model_folder(model, folder)}
        return values

    def make_engine(self, time_scale: float) -> Engine:
        """The pipeline's engine."""
        from lad_rllib.edge import DiffusersEngine

        engine = DiffusersEngine(
            embedded_model_path() if self.model == EMBEDDED else self.model,
            dtype=self.dtype,
            device=self.device,
            memory_profile=self.memory_profile,
            guidance=self.guidance,
            negative_prompt=self.negative_prompt,
            width=self.width,
            height=self.height,
            max_sequence_length=self.max_sequence_length,
        )
        return PacedEngine(engine, self.min_step_s) if self.min_step_s else engine

    @property
    def engine_name(self) -> str:
        """Model, memory profile and pace."""
        pace = f", {self.min_step_s:g} s a step" if self.min_step_s else ""
        return f"{self.model}, {self.memory_profile}{pace}"

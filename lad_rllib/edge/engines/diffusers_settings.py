"""Settings of a diffusers engine, declared once for engines in code and for entries of a fleet file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lad_rllib.declared import Text
from lad_rllib.edge.engines.memory import MEMORY_PROFILES
from lad_rllib.edge.engines.named_models import NamedModels
from lad_rllib.edge.engines.residency import ResidencySettings
from lad_rllib.edge.settings import Side
from lad_rllib.edge.task import MAX_GUIDANCE


class DiffusersSettings(ResidencySettings, NamedModels):
    """Settings of a server that runs pipelines of diffusers."""

    model: Text
    """Folder of a pipeline, a name of the Hugging Face hub, or one of ``models``; tasks that name no model get it."""
    models: dict[Text, Text] = {}
    """Folder or hub name of each model by the name that tasks call it; the first is the default of ``model``."""
    loras: dict[Text, Text] = {}
    """File, folder or hub name of each LoRA by the name that tasks call it; needs the extra ``lora``."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Number format; ``auto``: float16 on CUDA (as the paper), else float32."""
    device: Text = "auto"
    """torch device; ``auto``: CUDA where there is one."""
    memory_profile: Literal[tuple(MEMORY_PROFILES)] = "full"  # type: ignore[valid-type]
    """How the pipeline is laid out in memory."""
    guidance: Annotated[float, Field(ge=0, le=MAX_GUIDANCE)] | None = None
    """Guidance scale of tasks that name none; null: the pipeline's."""
    negative_prompt: str = ""
    """What images should not show."""
    width: Side | None = None
    """Width of tasks that name none [pixel]; null: the model's."""
    height: Side | None = None
    """Height of tasks that name none [pixel]; null: the model's."""
    max_sequence_length: Annotated[int, Field(ge=0, le=2**16)] | None = None
    """Tokens of T5; null: 0 without T5 (every step would process its zeros), else the pipeline's."""

    @property
    def paths(self) -> dict[str, str]:
        """Folder or hub name of every model by its name, the default one first."""
        return {self.model: self.models.get(self.model, self.model)} | self.models

"""Settings of an engine that asks another image server over HTTP, declared once for code and for fleet files."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from lad_rllib.declared import Text, shown
from lad_rllib.edge.engines.named_models import NamedModels
from lad_rllib.edge.engines.workflow import Workflow
from lad_rllib.edge.settings import Positive, Side
from lad_rllib.edge.task import MAX_GUIDANCE

MAX_FOREIGN = 1_000_000


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one or parts.query or parts.fragment:
        raise ValueError(f"must be like http://host:port, got {shown(text)}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must hold no password; name the variable that holds the key by key_env")
    return text.rstrip("/")


class HttpSettings(NamedModels):
    """Settings of a server that passes tasks on to an image server which runs already."""

    flavour: Literal["openai", "comfyui"] = "openai"
    """What it speaks: ``openai`` (``/v1/images/generations``, as vLLM-Omni, SGLang and LocalAI), or ``comfyui``."""
    base_url: Annotated[Text, AfterValidator(_url)]
    """Where it is, such as ``http://gpu-1:8000``."""
    model: Text | None = None
    """The model of tasks that name none: its name there, or one of ``models``; null: its own default."""
    models: dict[Text, Text] = {}
    """Its name there of each model by the name that tasks call it; the first is the default of ``model``."""
    key_env: Text | None = None
    """Environment variable that holds its key, on the node where the server runs; null: it asks for none."""
    steps_key: Literal["num_inference_steps", "step"] = "num_inference_steps"
    """What it calls the denoising steps; ``step`` for LocalAI. Of ``openai``."""
    metrics_path: Text | None = None
    """Path of its Prometheus metrics, such as ``/metrics``, whose ``…num_requests_running`` and ``…_waiting`` tell its
    load; null: it tells none. Of ``openai``; ComfyUI always tells."""
    workflow: dict[str, Any] | None = None
    """ComfyUI's workflow in API format with placeholders, ``{{prompt}}`` and ``{{steps}}`` among them; in a file the
    path of its JSON file. Of ``comfyui``."""
    guidance: Annotated[float, Field(ge=0, le=MAX_GUIDANCE)] | None = None
    """Guidance scale of tasks that name none; null: its own."""
    negative_prompt: str = ""
    """What images should not show, of tasks that do not say."""
    width: Side | None = None
    """Width of tasks that name none [pixel]; null: its own."""
    height: Side | None = None
    """Height of tasks that name none [pixel]; null: its own."""
    max_foreign: Annotated[int, Field(ge=1, le=MAX_FOREIGN)] | None = None
    """Requests of other clients at which a task is refused as by a full queue; null: it is always sent."""
    timeout_s: Positive = 600.0
    """Longest wait for a task's images [s]."""
    answer_timeout_s: Positive = 10.0
    """Longest wait for an answer to any other question [s]."""
    connect_timeout_s: Positive = 2.0
    """Longest wait for a connection [s]."""

    @model_validator(mode="after")
    def _flavour_has_its_settings(self) -> Self:
        if self.flavour == "comfyui":
            if self.workflow is None:
                raise ValueError("flavour comfyui needs workflow, the file of a workflow in API format")
            Workflow(self.workflow).check_defaults({name: getattr(self, name) for name in type(self).model_fields})
        for key, of in (("steps_key", "openai"), ("metrics_path", "openai"), ("workflow", "comfyui")):
            if self.flavour != of and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} has no effect with flavour {self.flavour}; leave it out")
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height belong together; say both or none")
        return self

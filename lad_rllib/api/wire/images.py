"""Requests for images and jobs, and what comes of them: OpenAI's Images API with extensions that others have, too."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lad_rllib.api.wire.base import Answer, ErrorDetail
from lad_rllib.declared import Declared
from lad_rllib.edge.task import MAX_DEADLINE_S, MAX_DENOISING_STEPS, MAX_GUIDANCE, MAX_IMAGES, MAX_PRIORITY

Name = Annotated[str, Field(min_length=1, max_length=200)]


class JobRequest(Declared):
    """What is to be drawn. Parameters that OpenAI does not have are marked as extensions."""

    prompt: Annotated[str, Field(min_length=1, max_length=1_000_000)]
    """What to draw."""
    model: Name | None = None
    """Image model, one of ``/v1/models``; null: the service's own."""
    n: Annotated[int, Field(ge=1, le=MAX_IMAGES)] | None = None
    """Images, with the seeds ``seed``, ``seed + 1``, ...; null: one."""
    size: Annotated[str, Field(pattern=r"^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$")] | None = None
    """Width and height, such as ``1024x768`` [pixel]; null or ``auto``: the model's own."""
    user: Annotated[str, Field(max_length=200)] | None = None
    """End user on whose account it is; without API keys, users get fair shares where servers serve in that order."""
    safety_identifier: Annotated[str, Field(max_length=200)] | None = None
    """OpenAI's newer name of ``user``."""
    num_inference_steps: Annotated[int, Field(ge=1, le=MAX_DENOISING_STEPS)] | None = None
    """Extension: denoising steps; null: the service's default."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    """Extension: the same seed gives the same image; null: drawn, and told in the answer."""
    guidance_scale: Annotated[float, Field(ge=0, le=MAX_GUIDANCE)] | None = None
    """Extension: how closely to follow the prompt; null: the model's own."""
    negative_prompt: Annotated[str, Field(max_length=1_000_000)] | None = None
    """Extension: what not to draw; null: the server's own."""
    deadline_s: Annotated[float, Field(gt=0, le=MAX_DEADLINE_S)] | None = None
    """Extension: seconds after which the image is useless [s]; null: none."""
    priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    """Extension: greater ones go first where servers serve in that order."""
    station: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Extension: base station at which the request arrived."""
    quality: Literal["auto", "standard"] | None = None
    """OpenAI's; only what changes nothing is taken. Say ``num_inference_steps`` instead."""
    background: Literal["auto", "opaque"] | None = None
    """OpenAI's; only what changes nothing is taken."""
    moderation: Literal["auto", "low"] | None = None
    """OpenAI's; changes nothing: the model's own safety checker decides."""
    output_format: Literal["png"] | None = None
    """OpenAI's; images are PNG files."""


class ImageRequest(JobRequest):
    """A request that waits for its images."""

    response_format: Literal["b64_json", "url"] | None = None
    """How images come: in the answer, or as addresses that work for a while; null: ``b64_json``."""
    stream: bool | None = None
    """Whether the images come as events (``image_generation.completed``)."""
    partial_images: Literal[0] | None = None
    """OpenAI's; there are none."""
    progress: bool = False
    """Extension: with ``stream``, events ``image_generation.progress`` tell how far it is."""


class Image(Answer):
    """One image."""

    b64_json: str | None = None
    """The PNG file in base64."""
    url: str | None = None
    """Where the PNG file is for a while."""
    seed: int
    """Extension: seed of this image."""


class Served(Answer):
    """Extension: how a request was served."""

    id: str
    """Its id, as in the events and the log."""
    model: str
    """Image model that drew it."""
    server: str
    """Edge server that answered."""
    attempts: int
    """Servers that it was sent to: 2 if it was retried."""
    steps: int
    """Denoising steps."""
    delay_s: float
    """From its arrival until the image was there [s]."""
    waiting_s: float
    """Part of that in the server's queue [s]."""
    computing_s: float
    """Part of that at work [s]."""


class Images(Answer):
    """Answer to an images request."""

    created: int
    """When it was answered [s since 1970]."""
    data: list[Image]
    """The images; empty from servers that draw none."""
    size: str
    """Width and height [pixel]."""
    output_format: Literal["png"] = "png"
    """Format of the images."""
    served: Served
    """How it was served."""


class JobStatus(Answer):
    """A job: where it is, or what became of it. Times from now on are wall-clock time."""

    id: str
    """Its id."""
    object: Literal["image.job"] = "image.job"
    """What this is."""
    status: Literal["queued", "in_progress", "completed", "failed"]
    """Where it is."""
    progress: int
    """Per cent of its denoising steps that are done; 100 when the images are there."""
    created_at: int
    """When it came [s since 1970]."""
    completed_at: int | None = None
    """When it ended [s since 1970]."""
    expires_at: int | None = None
    """When its images are forgotten [s since 1970]."""
    model: str
    """Image model; empty if the service has not named any."""
    size: str | None = None
    """Width and height of its images [pixel]."""
    n: int
    """Its images."""
    seed: int
    """Seed of the first image."""
    server: str = ""
    """Edge server that has it, or had it last; empty while none has."""
    position: int = 0
    """Requests that are served before it there."""
    predicted_start_s: float
    """Predicted time until it is begun [s]; 0 if it was."""
    step: int = 0
    """Denoising steps done."""
    steps: int
    """Denoising steps in all."""
    error: ErrorDetail | None = None
    """Why it failed."""


class Deleted(Answer):
    """A job that is forgotten."""

    id: str
    """Its id."""
    object: Literal["image.job.deleted"] = "image.job.deleted"
    """What this is."""
    deleted: Literal[True] = True
    """That it is."""


class Model(Answer):
    """An image model."""

    id: str
    """Its name."""
    object: Literal["model"] = "model"
    """What this is."""
    created: int
    """When the service began [s since 1970]."""
    owned_by: str = "lad-rllib"
    """Who serves it."""


class Models(Answer):
    """Image models."""

    object: Literal["list"] = "list"
    """What this is."""
    data: list[Model]
    """The models, the one of requests that name none first."""

"""What clients send and get: OpenAI's Images API with the extensions that other image servers have, too."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

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


class Answer(BaseModel):
    """What the service answers; a client must bear further fields."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid", protected_namespaces=())


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


class ErrorDetail(Answer):
    """What went wrong."""

    message: str
    """One line: what is wrong and what to do."""
    type: str
    """Kind of error, one of OpenAI's."""
    param: str | None
    """Parameter that it is about."""
    code: str | None
    """Name of the problem for programs."""


class Error(Answer):
    """Every answer other than success."""

    error: ErrorDetail
    """What went wrong."""


class Health(Answer):
    """Whether the service works."""

    status: Literal["ok", "no server is up"]
    """What it is."""
    servers_up: int
    """Edge servers that are up."""


class ServerRow(Answer):
    """An edge server."""

    name: str
    """Its name."""
    kind: str
    """Kind of its engine; empty if not known here."""
    models: list[str]
    """Image models that it has; empty: it does not choose between models."""
    order: str
    """Order of service."""
    state: Literal["up", "down", "draining"]
    """Whether it gets requests, and why not."""
    reason: str
    """Why it is not up, one line."""
    queue_s: float
    """Predicted time until it is done with what it has [s]."""
    tasks: int
    """Requests that wait for it or run there."""
    over_expected: float
    """Measured over expected computing delay of its latest images."""


class Fleet(Answer):
    """The fleet, and how it does: figures of the last five minutes, null before the first request."""

    policy: str
    """What decides where requests go."""
    in_flight: int
    """Requests that have come and not ended."""
    load: float | None
    """Work that came over what the fleet could have done meanwhile."""
    p50_s: float | None
    """Median delay [s]."""
    p95_s: float | None
    """95th percentile of the delay [s]."""
    p99_s: float | None
    """99th percentile of the delay [s]."""
    slo: float | None
    """Share of the requests that were answered in time."""
    servers: list[ServerRow]
    """The servers."""


class Replay(Answer):
    """Delays of the latest requests, as they were or played again with a scheduler."""

    scheduler: str
    """``as it was``, ``the present one``, or the scheduler's name."""
    mean_s: float
    """Mean delay [s]."""
    p50_s: float
    """Median delay [s]."""
    p95_s: float
    """95th percentile of the delay [s]."""
    p99_s: float
    """99th percentile of the delay [s]."""
    slo: float
    """Share of the requests in time."""


class Replays(Answer):
    """What other schedulers would have done with the same requests and the same outages."""

    requests: int
    """Requests that were played again."""
    outages: int
    """Servers that were lost meanwhile."""
    rows: list[Replay]
    """Reality, the present scheduler played again (the difference is the simulator's error), and others; empty while
    there are too few requests."""


class FleetFile(RootModel[dict[str, Any]]):
    """A fleet as in a fleet file."""


class NewServer(RootModel[dict[str, Any]]):
    """A server to start: an entry as in a fleet file."""


class Changed(Answer):
    """A change of a server."""

    name: str
    """The server."""
    state: str
    """What it is now."""


class PolicyRecord(Answer):
    """What became of a policy."""

    time: str
    """When [UTC]."""
    event: Literal[
        "began",
        "shadow",
        "canary",
        "swapped",
        "rejected",
        "stopped",
        "kept",
        "swapped by hand",
        "went back",
        "left",
        "worse",
        "recovered",
    ]
    """What happened."""
    policy: str
    """The policy."""
    policy_hash: str
    """First digits of the SHA-256 of its weights; empty: it has none."""
    previous: str
    """Policy that was in charge before, where that changed."""
    why: str
    """Why, one line."""
    figures: dict[str, Any]
    """Numbers that the step rests on."""


class Tried(Answer):
    """A policy that is tried on live requests."""

    policy: str
    """The policy."""
    policy_hash: str
    """First digits of the SHA-256 of its weights; empty: it has none."""
    stage: Literal["shadow", "canary"]
    """Whether it decides without effect, or for its share of the requests."""
    share: float
    """Share of the requests for which it decides."""
    seconds: float
    """Since when it is tried [s]."""
    why: str
    """What it waits for, one line."""
    figures: dict[str, Any]
    """Numbers so far."""


class PolicyLook(Answer):
    """The latest look at the policy in charge: what became of the latest requests, and what others would have done."""

    why: str
    """In what it is worse, and than whom."""
    requests: int
    """Requests that were looked at."""
    worse_s: float
    """For how long it has been so at every look [s]."""
    ratios: dict[str, dict[str, float]]
    """Mean and 99th percentile over those of each other scheduler, with 95 % intervals."""


class Policies(Answer):
    """Who decides, what is tried, and what became of policies."""

    policy: str
    """The policy in charge."""
    policy_hash: str
    """First digits of the SHA-256 of its weights; empty: it has none."""
    shares: dict[str, float]
    """Share of the requests for which each policy decides."""
    trial: Tried | None
    """What is tried; null: nothing is."""
    look: PolicyLook | None
    """The latest look at the policy in charge; null: there was none, or the heuristic itself is in charge."""
    records: list[PolicyRecord]
    """What became of policies, the oldest first."""


class NewTrial(Declared):
    """A policy to try on live requests."""

    policy: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    """As of a new policy; null: nothing is tried, and ``why`` is recorded: whoever looked found nothing better."""
    why: Annotated[str, Field(max_length=2000)] = ""
    """Why it may be better, for the record."""


class NewPolicy(Declared):
    """What is to decide where requests go."""

    policy: Annotated[str, Field(min_length=1, max_length=1000)]
    """Folder of a checkpoint on the service's machine, name of a shipped policy, or of a scheduler."""

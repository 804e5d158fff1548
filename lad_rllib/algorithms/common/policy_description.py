"""What ``policy.json`` says of a trained policy: types and bounds of every field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_WEIGHT_BYTES = 2 * 2**30
"""Largest file of weights that is read."""

_STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)
_Width = Annotated[int, Field(ge=1, le=1_000_000)]
_Count = Annotated[int, Field(ge=1, le=100_000)]
_Positive = Annotated[float, Field(gt=0)]


class NetworkArguments(BaseModel):
    """Keyword arguments of the networks; which of them there are depends on the class."""

    model_config = _STRICT

    hidden_sizes: list[_Width] = Field(default=[], min_length=1, max_length=64)
    policy_denoising_steps: int = Field(default=5, ge=1, le=10_000)
    denoiser_output: Literal["softmax", "linear"] = "softmax"
    beta_min: _Positive = 0.1
    beta_max: _Positive = 10.0
    clip_denoised: _Positive | None = None
    initial_alpha: _Positive = 0.05
    actor: Literal["diffusion", "mlp"] = "diffusion"
    latent_start: Literal["memory", "noise", "zero", "learned"] = "memory"
    shared_actor: bool = True
    prior_queue_weight: float = 1.0
    in_slot_view: Literal["none", "own", "all"] = "none"
    latent_decay: float = 0.5
    epsilon: float = Field(default=0.0, ge=0, lt=1)
    kernels: Literal["auto", "torch", "compiled"] = "auto"


class Fleet(BaseModel):
    """What the networks were built for.

    Attributes:
        stations: Base stations B.
        max_tasks: Task indices N of a station.
        servers: Edge servers A.
        capacities_gcycles_per_s: Computing capacities [Gcycle/s] of A servers; None if training did not say.
        slot_s: Length of a slot [s]; None if training did not say.
    """

    model_config = _STRICT

    stations: _Count
    max_tasks: _Count
    servers: _Count
    capacities_gcycles_per_s: list[_Positive] | None = None
    slot_s: _Positive | None = None


class Acting(BaseModel):
    """How decisions are made with the networks; see :class:`LADTSConfig` for each."""

    model_config = _STRICT

    latent_index: Literal["station_slot_task", "station_task"]
    latent_content: Literal["probabilities", "logits"]
    draws: Literal["independent", "stratified", "coordinated"]
    queue_unit: Literal["gcycles", "seconds", "slots"]
    starts_from_noise: bool


class WeightFile(BaseModel):
    """Size and checksum of the weights' file."""

    model_config = _STRICT

    bytes: int = Field(ge=0, le=MOST_WEIGHT_BYTES)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class PolicyDescription(BaseModel):
    """All of ``policy.json``.

    Attributes:
        format_version: Version of this description.
        lad_rllib: Version of the package that wrote it.
        title: The algorithm's name in text, such as ``"LAD-TS"``.
        networks: One of :data:`NETWORKS`.
        arguments: Keyword arguments of the networks.
        fleet: What they were built for.
        acting: How decisions are made with them.
        meaning: Every setting that the weights' meaning depends on.
        setting: Setting of the environment: a preset's name, or its values.
        latent_by_slot: Whether the latent memory has an entry for each slot; None: there is no memory.
        weights: Size and checksum of the weights' file.
    """

    model_config = _STRICT

    format_version: Literal[1]
    lad_rllib: str
    title: str = Field(pattern=r"^[\w .+-]{1,80}$")
    networks: Literal["StationNetworks", "SystemNetworks", "QNetworks"]
    arguments: NetworkArguments
    fleet: Fleet
    acting: Acting
    meaning: dict[str, Any]
    setting: str | dict[str, Any]
    latent_by_slot: bool | None
    weights: WeightFile

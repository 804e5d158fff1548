"""What ``policy.json`` says of a trained policy: types and bounds of every field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_WEIGHT_BYTES = 2 * 2**30
"""Largest file of weights that is read."""

_STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)
_Count = Annotated[int, Field(ge=1, le=100_000)]
_Positive = Annotated[float, Field(gt=0)]


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


class WeightFile(BaseModel):
    """Size and checksum of the weights' file."""

    model_config = _STRICT

    bytes: int = Field(ge=0, le=MAX_WEIGHT_BYTES)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class PolicyDescription(BaseModel):
    """What every ``policy.json`` has.

    Attributes:
        format_version: Version of this description.
        lad_rllib: Version of the package that wrote it.
        algorithm: The algorithm's name, see :data:`lad_rllib.algorithms.CONFIGS`.
        hyperparameters: Its hyperparameters by name.
        setting: Setting of the environment: a preset's name, or its values.
        weights: Size and checksum of the weights' file.
    """

    model_config = _STRICT

    format_version: Literal[1]
    lad_rllib: str
    algorithm: str = Field(pattern=r"^[\w.+-]{1,80}$")
    hyperparameters: dict[str, Any]
    setting: str | dict[str, Any]
    weights: WeightFile


class FleetPolicyDescription(PolicyDescription):
    """All of ``policy.json`` of a policy that decides slot by slot.

    Attributes:
        fleet: What the networks were built for.
        queue_unit: Unit of the queues that they see.
        latent_by_slot: Whether the latent memory has an entry for each slot; None: there is no memory.
    """

    fleet: Fleet
    queue_unit: Literal["gcycles", "seconds", "slots"]
    latent_by_slot: bool | None

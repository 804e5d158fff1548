"""Who decides in the service, what is tried, and what became of policies."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from lad_rllib.api.wire.base import Answer
from lad_rllib.declared import Declared


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

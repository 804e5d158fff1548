"""Types and bounds that several groups of a setting share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

MAX_COUNT = 10**9
"""Most stations, servers and tasks that can be asked for; what memory holds is checked with all of them known."""
MAX_STEPS = 100_000
"""Most denoising steps of a task."""


def _increasing(pair: list[Any]) -> list[Any]:
    if pair[0] > pair[1]:
        raise ValueError("must be a range [low, high] with low at most high")
    return pair


PAIR = (Field(min_length=2, max_length=2), AfterValidator(_increasing))
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
CountOrZero = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Positive = Annotated[float, Field(gt=0, le=1e12)]
NotNegative = Annotated[float, Field(ge=0, le=1e12)]
PositivePair = Annotated[list[Positive], *PAIR]
NotNegativePair = Annotated[list[NotNegative], *PAIR]
StepsPair = Annotated[list[Annotated[int, Field(ge=1, le=MAX_STEPS)]], *PAIR]
ServerIndex = Annotated[int, Field(ge=-1, le=MAX_COUNT)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]

"""What requests ask for: a mix of kinds of images, models, LoRAs, tenants and priorities, each drawn independently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from lad_rllib.declared import Declared
from lad_rllib.simulator.field_types import (
    MAX_STEPS,
    Count,
    Fraction,
    NotNegative,
    NotNegativePair,
    Positive,
    PositivePair,
    StepsPair,
)
from lad_rllib.simulator.requests.requests import Requests, plain_requests

Share = Annotated[float, Field(gt=0, le=1e9)]
Pixels = Annotated[int, Field(ge=1, le=65_536)]
MAX_NAMED = 100_000
"""Most models and sets of LoRAs."""
Named = Annotated[int, Field(ge=1, le=MAX_NAMED)]

IMAGE_KINDS: dict[str, tuple[dict[str, Any], ...]] = {
    # Random draws of the diffusion benchmark of vLLM-Omni, benchmarks/diffusion.
    "vllm-omni": (
        {"share": 0.15, "width": 512, "height": 512, "steps": 20},
        {"share": 0.25, "width": 768, "height": 768, "steps": 20},
        {"share": 0.45, "width": 1024, "height": 1024, "steps": 25},
        {"share": 0.15, "width": 1536, "height": 1536, "steps": 35},
    ),
    # Distributions of arXiv 2412.18212; the density is work in Gcycle for each step.
    "paper": ({"steps": [1, 14], "density": [0.1024, 0.3072], "upload_mbit": [2.0, 5.0], "result_mbit": [0.6, 1.0]},),
}
"""Named mixes of images."""


class ImageKind(Declared):
    """One kind of image that is asked for. A pair is a range that values are drawn from uniformly."""

    share: Share = 1.0
    """Share of requests of this kind, relative to the other kinds."""
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)] | StepsPair = 20
    """Denoising steps; a range includes both ends."""
    width: Pixels = 512
    """Width [pixel]."""
    height: Pixels = 512
    """Height [pixel]."""
    images: Count = 1
    """Images drawn at once."""
    guided: bool = False
    """Whether guidance is on."""
    density: Positive | PositivePair = 1.0
    """Work of a step relative to an ordinary one; that of arXiv 2412.18212 in Gcycle."""
    upload_mbit: NotNegative | NotNegativePair = 0.0
    """Data sent to the server [Mbit]."""
    result_mbit: NotNegative | NotNegativePair = 0.0
    """Data sent back [Mbit]."""

    def draw(self, rng: np.random.Generator, size: int) -> dict[str, ArrayLike]:
        """Attributes of requests of this kind."""
        steps = (
            rng.integers(self.steps[0], self.steps[1], size=size, endpoint=True)
            if isinstance(self.steps, list)
            else self.steps
        )
        drawn = {name: _uniform(rng, getattr(self, name), size) for name in ("density", "upload_mbit", "result_mbit")}
        plain = {name: getattr(self, name) for name in ("width", "height", "images", "guided")}
        return {"steps": np.asarray(steps, np.float64), **drawn, **plain}


class Mix(Declared):
    """Group ``traffic.mix``."""

    images: Literal["vllm-omni", "paper"] | Annotated[list[ImageKind], Field(min_length=1)] = "vllm-omni"
    """Kinds of images with their shares: a list, or by name ``vllm-omni`` (the sizes and steps of vLLM-Omni's diffusion
    benchmark) or ``paper`` (the distributions of arXiv 2412.18212)."""
    models: Named | Annotated[dict[str, Share], Field(min_length=1)] = 1
    """Image models: how many, or the share of each by its name."""
    lora_sets: Annotated[int, Field(ge=0, le=MAX_NAMED)] = 0
    """Sets of LoRAs that there are."""
    lora_share: Fraction = 0.0
    """Share of requests that use one of them."""
    zipf: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Exponent of popularity of models and of sets of LoRAs that are given as a number: the share of the k-th is as
    ``1 / k ** zipf``; 0: all alike."""
    tenants: dict[str, Share] = {}
    """Share of requests of each tenant by its name; none: one tenant without a name."""
    priorities: Annotated[list[Share], Field(min_length=1)] = [1.0]
    """Share of requests with priority 0, 1, 2, ..."""
    stations: Count = 1
    """Base stations, at each of which equally many requests arrive."""

    def draw(self, rng: np.random.Generator, arrival_s: NDArray[np.float64]) -> Requests:
        """Requests that arrive at given times."""
        size = len(arrival_s)
        columns = self._images(rng, size)
        models = self.models if isinstance(self.models, dict) else _popularity("model", self.models, self.zipf)
        loras = _popularity("loras", self.lora_sets, self.zipf)
        uses_loras = rng.random(size) < (self.lora_share if loras else 0.0)
        tenants = self.tenants or {"": 1.0}
        return plain_requests(
            arrival_s,
            **columns,
            model=_choose(rng, models.values(), size),
            loras=np.where(uses_loras, 1 + _choose(rng, loras.values() or [1.0], size), 0),
            tenant=_choose(rng, tenants.values(), size),
            priority=_choose(rng, self.priorities, size),
            station=rng.integers(self.stations, size=size),
            models=tuple(models),
            lora_sets=("", *loras),
            tenants=tuple(tenants),
        )

    @property
    def kinds(self) -> list[ImageKind]:
        """Kinds of images."""
        return [ImageKind(**one) for one in IMAGE_KINDS[self.images]] if isinstance(self.images, str) else self.images

    def _images(self, rng: np.random.Generator, size: int) -> dict[str, Any]:
        kinds = self.kinds
        kind = _choose(rng, [one.share for one in kinds], size)
        columns = {name: np.zeros(size) for name in kinds[0].draw(rng, 0)}
        for index, one in enumerate(kinds):
            here = kind == index
            for name, values in one.draw(rng, int(here.sum())).items():
                columns[name][here] = values
        return columns


def _uniform(rng: np.random.Generator, values: float | Sequence[float], size: int) -> ArrayLike:
    return rng.uniform(values[0], values[1], size) if isinstance(values, Sequence) else values


def _choose(rng: np.random.Generator, shares: Any, size: int) -> NDArray[np.int64]:
    """Indices drawn with these shares, which need not add up to 1."""
    upto = np.cumsum([*shares], dtype=np.float64)
    return np.minimum(np.searchsorted(upto, rng.random(size) * upto[-1], side="right"), len(upto) - 1)


def _popularity(name: str, number: int, exponent: float) -> Mapping[str, float]:
    """Shares of things that are numbered from 1 by their popularity."""
    return {f"{name}-{rank}": rank**-exponent for rank in range(1, number + 1)}

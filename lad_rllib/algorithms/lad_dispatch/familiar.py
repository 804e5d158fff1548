"""What a policy has seen of each number of a token while it learned, and what lies beyond it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib.algorithms.lad_dispatch.features import NUM_FEATURES

FloatArray = NDArray[np.float32]

MARGIN, LEAST_MARGIN = 0.25, 0.5
"""How far beyond what was seen a number still counts as familiar: over the width of what was seen, and at least."""
ARRAYS = ("seen.low", "seen.high")
"""Names of the range in a file of weights."""


@dataclass
class SeenRange:
    """Least and greatest value of each number of a token that was learned from, shape (F,).

    >>> seen = SeenRange()
    >>> seen.widen(np.ones((1, 2, NUM_FEATURES), np.float32), np.array([[1.0, 0.0]], np.float32))
    >>> seen.low.max(), seen.high.min()
    (np.float32(1.0), np.float32(1.0))
    """

    low: FloatArray = field(default_factory=lambda: np.full(NUM_FEATURES, np.inf, np.float32))
    high: FloatArray = field(default_factory=lambda: np.full(NUM_FEATURES, -np.inf, np.float32))

    def widen(self, tokens: FloatArray, share: FloatArray) -> None:
        """Take note of tokens (M, A, F) of servers that are up, which have a share of capacity (M, A)."""
        up = tokens[share > 0]
        self.low, self.high = np.minimum(self.low, up.min(axis=0)), np.maximum(self.high, up.max(axis=0))

    def include(self, other: SeenRange) -> None:
        """Take note of what was seen elsewhere."""
        self.low, self.high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)

    def arrays(self) -> dict[str, FloatArray]:
        """The range by :data:`ARRAYS`; nothing where nothing was seen."""
        return dict(zip(ARRAYS, (self.low, self.high), strict=True)) if np.isfinite(self.low).all() else {}

    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """What counts as familiar: the range with a margin on both sides, see :data:`MARGIN`."""
        wider = np.maximum(np.float32(MARGIN) * (self.high - self.low), np.float32(LEAST_MARGIN))
        return self.low - wider, self.high + wider

    def get_state(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {"low": self.low, "high": self.high}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.low, self.high = np.array(state["low"], np.float32), np.array(state["high"], np.float32)

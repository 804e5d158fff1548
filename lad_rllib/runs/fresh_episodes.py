"""Schedulers of requests on fresh episodes, which all of them get alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.scheduling.request_scheduler import player
from lad_rllib.simulator.requests import RequestSetting

FloatArray = NDArray[np.float64]

YARDSTICK = "least-work-left"


@dataclass(frozen=True)
class FreshEpisodes:
    """Episodes of one fleet.

    Attributes:
        setting: The fleet.
        episodes: How many.
        seed: Their seed, and that of choices.
    """

    setting: RequestSetting
    episodes: int
    seed: int

    def delays_s(self, scheduler: Any) -> FloatArray:
        """Delays of all requests under a scheduler [s]."""
        play = player(scheduler, self.setting.world, self.setting.history())
        rngs = [np.random.default_rng([self.seed, episode]) for episode in range(self.episodes)]
        return np.concatenate([play(self.setting.draw(rng), rng).delay_s for rng in rngs])


@dataclass(frozen=True)
class HeldOutCheck:
    """Fleets on which policies are scored while they learn on others.

    Attributes:
        fleets: Episodes of each.
    """

    fleets: Sequence[FreshEpisodes]

    def ratios(self, scheduler: Any) -> FloatArray:
        """Mean delay of a scheduler over that of least work left, on each fleet."""
        return self._means_s(scheduler) / self._yardstick_s

    @cached_property
    def _yardstick_s(self) -> FloatArray:
        return self._means_s(make_scheduler(YARDSTICK, one_by_one=True))

    def _means_s(self, scheduler: Any) -> FloatArray:
        return np.array([fleet.delays_s(scheduler).mean() for fleet in self.fleets])


def geometric_mean(ratios: FloatArray) -> float:
    """Geometric mean, in which a ratio and its inverse weigh the same.

    >>> geometric_mean(np.array([0.5, 2.0]))
    1.0
    """
    return float(np.exp(np.log(ratios).mean()))


def mean_and_p99_s(delay_s: FloatArray) -> dict[str, float]:
    """Columns of a row of results: mean and 99th percentile of delays [s]."""
    return {"mean_s": float(delay_s.mean()), "p99_s": float(np.percentile(delay_s, 99))}

"""Whether a policy may take another's place: the same requests replayed by each, with intervals over windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lad_rllib.scheduling.request_scheduler import RequestScheduler, player
from lad_rllib.simulator.requests import Requests, RequestSetting

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

DRAWS = 1000
"""Times that the windows are drawn anew for an interval."""

PERCENTILES = (50, 95, 99)

Verdict = Literal["better", "heuristic", "keep"]
"""The new policy decides from now on; neither policy is as good as the heuristic, which does; or nothing changes."""


@dataclass(frozen=True)
class Replayed:
    """How a scheduler fares with the requests of a log.

    Attributes:
        name: The scheduler.
        windows_s: Service delays of each window [s], in order.
    """

    name: str
    windows_s: tuple[FloatArray, ...]

    @property
    def delay_s(self) -> FloatArray:
        """All service delays [s]."""
        return np.concatenate(self.windows_s)

    def parts(self, first: int) -> tuple[Replayed, Replayed]:
        """The first windows, and the others."""
        return Replayed(self.name, self.windows_s[:first]), Replayed(self.name, self.windows_s[first:])

    @property
    def mean_s(self) -> float:
        """Mean service delay [s]."""
        return float(self.delay_s.mean())

    def percentile_s(self, percentile: float) -> float:
        """A percentile of the service delays [s]."""
        return float(np.percentile(self.delay_s, percentile))

    def over(self, other: Replayed) -> dict[str, float]:
        """Ratios of mean and 99th percentile to another's on the same requests, with 95 % intervals over windows."""
        drawn = np.random.default_rng(0).integers(len(self.windows_s), size=(DRAWS, len(self.windows_s)))
        row: dict[str, float] = {}
        for name, measure in (("mean", np.mean), ("p99", _p99)):
            ratio = measure(self.delay_s) / measure(other.delay_s)
            ratios = [measure(_joined(self, pick)) / measure(_joined(other, pick)) for pick in drawn]
            low, high = np.percentile(ratios, [2.5, 97.5])
            row |= {f"{name}_ratio": float(ratio), f"{name}_low": float(low), f"{name}_high": float(high)}
        return row

    def row(self, present: Replayed) -> dict[str, Any]:
        """A row of the table: delays, and ratios to the present scheduler's."""
        delays = {f"p{percentile}_s": self.percentile_s(percentile) for percentile in PERCENTILES}
        return {"scheduler": self.name, "mean_s": self.mean_s, **delays, **self.over(present)}


def _p99(delay_s: FloatArray) -> np.floating[Any]:
    value: np.floating[Any] = np.percentile(delay_s, 99)
    return value


def _joined(one: Replayed, windows: IntArray) -> FloatArray:
    return np.concatenate([one.windows_s[index] for index in windows])


def replay(
    name: str, scheduler: RequestScheduler, setting: RequestSetting, requests: Requests, windows: int, seed: int
) -> Replayed:
    """Let a scheduler serve the requests of a log in one go, so that queues go over from window to window.

    Args:
        name: Its name.
        scheduler: The scheduler.
        setting: Where requests are served, and what a service knew of its traffic before.
        requests: The requests.
        windows: Windows of equally many requests that the delays are cut into.
        seed: Seed of the scheduler's draws.
    """
    served = player(scheduler, setting.world, setting.history())(requests, np.random.default_rng([seed, 1]))
    return Replayed(name, tuple(np.array_split(served.delay_s, windows)))


def judge(candidate: Replayed, present: Replayed, guard: Replayed) -> tuple[Verdict, list[str]]:
    """The verdict on a new policy, and its reasons.

    ``better`` needs all of: the mean is below the present one's with the whole interval, the 99th percentile is not
    above it, and neither is above the heuristic's. Failing that, ``heuristic`` needs the same of the heuristic against
    the present scheduler.

    Args:
        candidate: The new policy.
        present: Who decides at present.
        guard: The heuristic that neither may be worse than.
    """
    objections = _objections(candidate, present)
    if guard.name != present.name:
        objections += _worse(candidate, guard)
    if not objections:
        return "better", [f"{candidate.name} is better than {present.name}, and no worse than {guard.name}"]
    if guard.name != present.name and not _objections(guard, present):
        return "heuristic", [*objections, f"{guard.name} is better than {present.name}"]
    return "keep", objections


def _objections(one: Replayed, present: Replayed) -> list[str]:
    """Why a scheduler may not take the present one's place; empty if it may."""
    high = one.over(present)["mean_high"]
    found = _worse(one, present)
    if high >= 1 and one.mean_s <= present.mean_s:
        found.append(f"{one.name}: mean over {present.name}'s may be {high:.3f}, which is not surely below 1")
    return found


def _worse(one: Replayed, other: Replayed) -> list[str]:
    """In what a scheduler is worse than another."""
    measures = (("mean", one.mean_s, other.mean_s), ("p99", one.percentile_s(99), other.percentile_s(99)))
    return [
        f"{one.name}: {name} {own:.3g} s is above {other.name}'s {limit:.3g} s"
        for name, own, limit in measures
        if own > limit
    ]

"""Whether a policy may take another's place: the same requests replayed by each, with intervals over windows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lad_rllib.scheduling.request_scheduler import RequestScheduler, player
from lad_rllib.simulator.requests import Requests, RequestSetting

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

DRAWS = 1000
"""Times that the windows are drawn anew for an interval."""

PERCENTILES = (50, 95, 99)

Verdict = Literal["better", "heuristic", "keep", "undecided"]
"""The new policy decides from now on; neither policy is as good as the heuristic, which does; nothing changes; or what
was replayed is too little to say."""

MARGIN = 0.05
"""What may not be worse is surely not worse by more than this share: so far above 1 may the interval's end be."""

BLOCK = 25
"""Requests of a block of a log that episodes are put together from."""


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

    def over(self, other: Replayed, draws: int = DRAWS) -> dict[str, float]:
        """Ratios of mean and 99th percentile to another's on the same requests, with 95 % intervals over windows.

        Args:
            other: The other one.
            draws: Times that the windows are drawn anew for an interval.
        """
        drawn = np.random.default_rng(0).integers(len(self.windows_s), size=(draws, len(self.windows_s)))
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


def replay_resampled(
    name: str,
    scheduler: RequestScheduler,
    setting: RequestSetting,
    requests: Requests,
    episodes: int,
    seed: int,
    *,
    number: int | None = None,
    busier: float = 1.0,
) -> Replayed:
    """Let a scheduler serve episodes that are made of a log's requests, for what one log leaves open.

    An episode is put together from blocks of requests that followed one another, as they came, drawn with replacement
    (block bootstrap); each begins with empty queues.

    Args:
        name: Its name.
        scheduler: The scheduler.
        setting: As of :func:`replay`.
        requests: The log's requests.
        episodes: Episodes; each is a window of the result.
        seed: Seed of the draws of blocks, the same for all schedulers, and of the scheduler's.
        number: Requests of an episode; None: as many as the log has.
        busier: So many times as many requests come in a second as in the log.
    """
    play = player(scheduler, setting.world, setting.history())
    delays = []
    for episode in range(episodes):
        drawn = resampled(requests, np.random.default_rng([seed, 2, episode]), number)
        drawn = replace(drawn, arrival_s=drawn.arrival_s / busier)
        delays.append(play(drawn, np.random.default_rng([seed, 3, episode])).delay_s)
    return Replayed(name, tuple(delays))


def resampled(requests: Requests, rng: np.random.Generator, number: int | None = None) -> Requests:
    """So many requests, in blocks of :data:`BLOCK` that are drawn with replacement; gaps between requests go along."""
    there = len(requests)
    number = there if number is None else number
    starts = rng.integers(max(there - BLOCK, 1), size=-(-number // BLOCK))
    picked = np.minimum((starts[:, None] + np.arange(BLOCK)).ravel()[:number], there - 1)
    gap_s = np.diff(requests.arrival_s, prepend=requests.arrival_s[0])
    return replace(requests[picked], arrival_s=np.cumsum(gap_s[picked]))


def judge(
    candidate: Replayed, present: Replayed, guard: Replayed, *, is_final: bool = False
) -> tuple[Verdict, list[str]]:
    """The verdict on a new policy, and its reasons.

    ``better`` needs all of: the mean is below the present one's with the whole interval, the 99th percentile is not
    above it, and neither is above the heuristic's; and where it is not above, the interval ends below 1 and
    :data:`MARGIN`, as a percentile of few requests is below another's by chance, too. If all that speaks against it may
    be chance, as the intervals have 1 in them, the verdict is ``undecided``, unless it is final. Failing that,
    ``heuristic`` needs the same of the heuristic against the present scheduler.

    Args:
        candidate: The new policy.
        present: Who decides at present.
        guard: The heuristic that neither may be worse than.
        is_final: Whether nothing more is replayed.
    """
    objections = _objections(candidate, present)
    if guard.name != present.name:
        objections += _worse(candidate, guard)
    reasons = [objection.text for objection in objections]
    if not objections:
        return "better", [f"{candidate.name} is better than {present.name}, and no worse than {guard.name}"]
    if not is_final and not any(objection.is_sure for objection in objections):
        return "undecided", reasons
    if guard.name != present.name and not _objections(guard, present):
        return "heuristic", [*reasons, f"{guard.name} is better than {present.name}"]
    return "keep", reasons


class _Objection(NamedTuple):
    """Why a scheduler may not take another's place.

    Attributes:
        text: In words.
        is_sure: Whether the whole interval says so.
    """

    text: str
    is_sure: bool


def _objections(one: Replayed, present: Replayed) -> list[_Objection]:
    """Why a scheduler may not take the present one's place; empty if it may."""
    return _worse(one, present, mean_margin=0.0)


def _worse(one: Replayed, other: Replayed, mean_margin: float = MARGIN) -> list[_Objection]:
    """In what a scheduler is worse than another, or may be by more than a margin."""
    row, found = one.over(other), []
    means, tails = (one.mean_s, other.mean_s), (one.percentile_s(99), other.percentile_s(99))
    for name, (own_s, limit_s), margin in (("mean", means, mean_margin), ("p99", tails, MARGIN)):
        high = row[f"{name}_high"]
        if own_s > limit_s:
            text = f"{one.name}: {name} {own_s:.3g} s is above {other.name}'s {limit_s:.3g} s"
            found.append(_Objection(text, row[f"{name}_low"] > 1))
        elif high >= 1 + margin:
            text = f"{one.name}: {name} over {other.name}'s may be {high:.3f}, which is not surely below {1 + margin:g}"
            found.append(_Objection(text, is_sure=False))
    return found

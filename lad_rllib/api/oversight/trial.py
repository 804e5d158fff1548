"""The trial of a policy on live requests: in shadow, then on a canary share, then in charge or rejected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lad_rllib.api.oversight.guard import DRAWS, rounded, surely_worse
from lad_rllib.api.settings import VERDICTS, ApiSettings
from lad_rllib.scheduling.judgement import Replayed
from lad_rllib.service.beside import BesideFigures
from lad_rllib.service.decision import DecidedBy
from lad_rllib.service.guarded import FAILURES, SLOW_S

Stage = Literal["shadow", "canary"]
Do = Literal["wait", "canary", "swap", "reject"]

WINDOWS, FEWEST = 10, 10
"""Windows of time in which both shares are compared, and the fewest requests of a share."""

MUCH = 1.5
"""A share whose mean is surely so many times the others' is ended at once; else there is a verdict when it has had as
many requests as are wanted, twice as many, four times, ...: who looks all the time finds something by chance."""

CANARY_NAME = "the other requests"


class Step(NamedTuple):
    """What is to be done with a policy that is tried.

    Attributes:
        do: That.
        why: One line for a person.
        figures: What it rests on.
    """

    do: Do
    why: str
    figures: dict[str, Any]


@dataclass
class Trial:
    """A policy that is tried.

    Attributes:
        by: The policy's name and fingerprint.
        settings: How many requests each stage takes, and the longest time.
        began_s: When it began [s].
        stage: Where it is.
        last: The latest step.
        next_verdict: Requests of its share at which there is a verdict.
    """

    by: DecidedBy
    settings: ApiSettings
    began_s: float
    stage: Stage = "shadow"
    last: Step = field(default_factory=lambda: Step("wait", "it has begun", {}))
    next_verdict: int = field(init=False)

    def __post_init__(self) -> None:
        self.next_verdict = self.settings.canary_requests

    def is_due(self, requests: int) -> bool:
        """Whether there is a verdict on a share of so many requests, for which others are replayed."""
        return requests >= self.next_verdict

    def after_shadow(self, now_s: float, beside: BesideFigures, replays: Mapping[str, Replayed] | None) -> Step:
        """Whether it may decide for a share of the requests.

        Args:
            now_s: The time [s].
            beside: What it did beside the present policy.
            replays: The same requests replayed: by the candidate first, and by others; None: too few yet.
        """
        figures: dict[str, Any] = {"beside": {key: _short(value) for key, value in asdict(beside).items()}}
        if beside.failures >= FAILURES:
            return self._step("reject", f"it failed {beside.failures} times: {beside.reason}", figures)
        if beside.decisions and beside.median_s > SLOW_S and beside.decisions + beside.left_out >= FAILURES:
            slow = f"its decisions take {1000 * beside.median_s:.1f} ms, more than {1000 * SLOW_S:g} ms"
            return self._step("reject", slow, figures)
        wanted = self.settings.shadow_requests
        if replays is None or beside.decisions < wanted:
            return self._wait(now_s, f"it has decided {beside.decisions} of {wanted} requests in shadow", figures)
        worse, ratios = _against(replays)
        figures["ratios"] = rounded(ratios)
        if worse:
            return self._step("reject", f"replayed: {'; '.join(worse)}", figures)
        why = (
            f"it decided {beside.decisions} requests in shadow, failed {beside.failures} times and is not surely worse"
        )
        return self._step("canary", why, figures)

    def after_canary(
        self, now_s: float, shares: Mapping[str, float] | None, left: str, replays: Mapping[str, Replayed] | None
    ) -> Step:
        """Whether it may be in charge.

        Args:
            now_s: The time [s].
            shares: Delays of its share over those of the others, see :func:`compare_shares`; None: too few yet.
            left: Why it was left for least-work-left, one line; empty: it was not.
            replays: As of :meth:`after_shadow`, the second the present policy's; None: no verdict is due.
        """
        if left:
            return self._step("reject", left, {})
        if shares is None:
            return self._wait(now_s, "too few requests have come", {})
        seen, worse = int(shares["requests"]), surely_worse(dict(shares), CANARY_NAME)
        figures: dict[str, Any] = {"shares": {key: _short(value) for key, value in shares.items()}}
        if worse and (replays is not None or shares["mean_low"] > MUCH):
            return self._step("reject", f"its share of the requests: {'; '.join(worse)}", figures)
        if replays is None:
            return self._wait(now_s, f"it has decided {seen} of {self.next_verdict} requests of its share", figures)
        while self.is_due(seen):
            self.next_verdict *= 2
        replayed_worse, ratios = _against(replays)
        figures["ratios"] = rounded(ratios)
        if replayed_worse:
            return self._step("reject", f"replayed: {'; '.join(replayed_worse)}", figures)
        present = next(iter(ratios))
        row = ratios[present]
        interval = f"{row['mean_ratio']:.3f} ({row['mean_low']:.3f}–{row['mean_high']:.3f}) times that of {present}"
        longer = [name for name, other in ratios.items() if other["p99_ratio"] > 1.0]
        if row["mean_high"] < 1.0 and not longer:
            why = f"mean {interval}, replayed; its share of {seen} requests is not surely worse than the others"
            return self._step("swap", why, figures)
        undecided = f"mean {interval}, replayed, is not surely better"
        if row["mean_high"] < 1.0:
            undecided = f"99th percentile {ratios[longer[0]]['p99_ratio']:.3f} times that of {longer[0]}, replayed"
        if self.next_verdict > VERDICTS * self.settings.canary_requests:
            return self._step("reject", undecided, figures)
        return self._wait(now_s, undecided, figures)

    def _wait(self, now_s: float, why: str, figures: dict[str, Any]) -> Step:
        if now_s - self.began_s > self.settings.trial_s:
            return self._step("reject", f"undecided after {self.settings.trial_s:g} s: {why}", figures)
        return self._step("wait", why, figures)

    def _step(self, do: Do, why: str, figures: dict[str, Any]) -> Step:
        self.last = Step(do, why, figures)
        return self.last


def _against(replays: Mapping[str, Replayed]) -> tuple[list[str], dict[str, dict[str, float]]]:
    """In what the first is surely worse than the others, and its ratios to them."""
    own, *others = replays.values()
    ratios = {other.name: own.over(other, DRAWS) for other in others}
    return [text for name, row in ratios.items() for text in surely_worse(row, name)], ratios


def compare_shares(delay_s: NDArray[np.float64], is_own: NDArray[np.bool_]) -> dict[str, float] | None:
    """Delays of one share of the requests over those of the others that came at the same time, with 95 % intervals.

    Windows of time count as much for the others as they do for the share, so that a busy hour, in which the share has
    more or fewer requests, changes nothing. Intervals are over windows.

    Args:
        delay_s: Delay of each request, in order of arrival [s], shape (K,).
        is_own: Whether each is of the share (K,).

    Returns:
        ``requests`` of the share, and ``mean`` and ``p99`` with ``_ratio``, ``_low`` and ``_high``; None: there are too
        few.
    """
    parts = np.array_split(np.arange(len(delay_s)), WINDOWS)
    windows = [(delay_s[part][is_own[part]], delay_s[part][~is_own[part]]) for part in parts]
    windows = [(own, others) for own, others in windows if len(own) and len(others)]
    if len(windows) < WINDOWS // 2 or int(is_own.sum()) < FEWEST:
        return None
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(windows), size=(DRAWS, len(windows)))
    found = _ratios(windows)
    draws = np.array([_ratios([windows[index] for index in pick]) for pick in drawn])
    row = {"requests": float(is_own.sum())}
    for column, name in enumerate(("mean", "p99")):
        low, high = np.percentile(draws[:, column], [2.5, 97.5])
        row |= {f"{name}_ratio": found[column], f"{name}_low": float(low), f"{name}_high": float(high)}
    return row


def _ratios(windows: list[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> tuple[float, float]:
    """Ratio of mean and 99th percentile, the others weighted as the share is spread over the windows."""
    own = np.concatenate([mine for mine, _ in windows])
    others = np.concatenate([theirs for _, theirs in windows])
    weight = np.concatenate([np.full(len(theirs), len(mine) / len(theirs)) for mine, theirs in windows])
    order = np.argsort(others)
    reached = np.cumsum(weight[order]) / weight.sum()
    p99_s = others[order][min(int(np.searchsorted(reached, 0.99)), len(others) - 1)]
    own_p99_s = np.percentile(own, 99, method="inverted_cdf")
    return float(own.mean() / np.average(others, weights=weight)), float(own_p99_s / p99_s)


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value

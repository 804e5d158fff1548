"""Watches the policy in charge: it may not be worse than a heuristic for longer than a stated time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib.scheduling.judgement import Replayed

DRAWS = 200
"""Times that the windows are drawn anew for an interval: looks are frequent."""

FEWEST, MOST = 50, 1000
"""Fewest and most requests that a look judges."""

BEFORE, MOST_BEFORE = 3, 2000
"""So many times as many requests before these are replayed with them, at most, and at most so many: servers are idle
where a replay begins, and what was sent then was sent to queues as they were."""

MEASURES = {"mean": "mean", "p99": "99th percentile"}


@dataclass(frozen=True)
class Look:
    """What one look at the policy in charge says.

    Attributes:
        requests: Requests that it looked at.
        ratios: Ratios of what was done to what each other scheduler would have done, by its name.
        worse: In what it is worse, and than whom; empty: in nothing.
        worse_s: For how long it has been so at every look [s].
        is_over: Whether that is too long.
    """

    requests: int
    ratios: dict[str, dict[str, float]]
    worse: list[str]
    worse_s: float
    is_over: bool

    @property
    def why(self) -> str:
        """The reasons in one line."""
        return "; ".join(self.worse) or "worse in nothing"

    def figures(self) -> dict[str, Any]:
        """Numbers for a record."""
        return {"requests": self.requests, "worse_s": round(self.worse_s, 1), "ratios": rounded(self.ratios)}


class Guard:
    """Takes looks, and says when the policy in charge has been worse for too long.

    Half of the stated time is for the requests of a look, which are those of the latest half, and half for looks that
    all say the same: with enough requests, a policy that is worse from its first one on is found within the time.

    Args:
        go_back_after_s: The stated time [s].

    Attributes:
        last: The latest look; None: there was none since the policy came into charge.
    """

    def __init__(self, go_back_after_s: float) -> None:
        self.window_s = self._hold_s = go_back_after_s / 2.0
        self.last: Look | None = None
        self._since_s: float | None = None

    def forget(self) -> None:
        """Another policy is in charge, or too little is known."""
        self.last, self._since_s = None, None

    def judged(self, arrival_s: Sequence[float] | NDArray[np.float64], now_s: float) -> tuple[int, int]:
        """Which requests a look replays, and which of these it judges: the latest time's, or the latest ones.

        Args:
            arrival_s: When the requests came for which the policy in charge decided, in order, until now [s].
            now_s: The time, by the same clock [s].

        Returns:
            The first one that is replayed, and the first one that is judged; all from there on are.
        """
        number = len(arrival_s)
        recent = number - int(np.searchsorted(arrival_s, now_s - self.window_s))
        latest = min(max(recent, FEWEST), MOST, number)
        return max(0, number - latest - min(BEFORE * latest, MOST_BEFORE)), number - latest

    def look(self, now_s: float, sent: Replayed, others: Sequence[Replayed]) -> Look:
        """Compare what was done with what others would have done, with the same requests.

        Args:
            now_s: The time [s].
            sent: The requests as they were sent.
            others: The same as others would have sent them.
        """
        ratios = {other.name: sent.over(other, DRAWS) for other in others}
        worse = [text for other, row in ratios.items() for text in surely_worse(row, other)]
        self._since_s = None if not worse else now_s if self._since_s is None else self._since_s
        worse_s = 0.0 if self._since_s is None else now_s - self._since_s
        self.last = Look(len(sent.delay_s), ratios, worse, worse_s, bool(worse) and worse_s >= self._hold_s)
        return self.last


def surely_worse(row: dict[str, float], other: str) -> list[str]:
    """In what something is worse than another with the whole interval of its ratio, in words."""
    return [
        f"{name} {row[f'{key}_ratio']:.2f} ({row[f'{key}_low']:.2f}–{row[f'{key}_high']:.2f}) times that of {other}"
        for key, name in MEASURES.items()
        if row[f"{key}_low"] > 1.0
    ]


def rounded(ratios: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Ratios with three digits behind the point."""
    return {name: {key: round(value, 3) for key, value in row.items()} for name, row in ratios.items()}

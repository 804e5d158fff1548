"""How fast a server is at present, from its latest images."""

from __future__ import annotations

import statistics
from collections import deque

WINDOW, MIN_IMAGES = 16, 4
"""Latest images that tell how fast a server is at present, and how many are needed."""

DRIFT_FACTOR = 1.5
"""A server that takes more than this times the expected delay, or less than its inverse, has drifted: a warning names
it, and schedulers see its measured speed instead of the calibrated one."""


class MeasuredSpeed:
    """Computing delays of a server's latest images over those that the fleet's model expects.

    Attributes:
        over_expected: Median of measured over expected delay; 1 while too few images are known.

    >>> speed = MeasuredSpeed()
    >>> for computing_s in (3.0, 3.1, 2.9, 3.0): speed.add(computing_s, expected_s=1.0)
    >>> speed.over_expected, speed.has_drifted
    (3.0, True)
    """

    def __init__(self) -> None:
        self.over_expected = 1.0
        self._ratios: deque[float] = deque(maxlen=WINDOW)

    def add(self, computing_s: float, expected_s: float) -> None:
        """Count an image that took ``computing_s`` instead of ``expected_s`` [s]."""
        if computing_s > 0 and expected_s > 0:
            self._ratios.append(computing_s / expected_s)
            if len(self._ratios) >= MIN_IMAGES:
                self.over_expected = statistics.median(self._ratios)

    @property
    def has_drifted(self) -> bool:
        """Whether the server is slower or faster than expected by more than :data:`DRIFT_FACTOR`."""
        return not 1 / DRIFT_FACTOR <= self.over_expected <= DRIFT_FACTOR

"""A clock that runs faster (or slower) than the wall clock, so that a day of an emulated server takes minutes."""

from __future__ import annotations

import math
import time

from lad_rllib.errors import ConfigurationError

MAX_WAIT_S = 1e9
"""Longest wait [s, wall clock]: threads cannot wait much longer."""


class ScaledClock:
    """Monotonic time of a server.

    Args:
        time_scale: Wall seconds per second of the server: 1 is real time, 0.01 a hundred times faster. Below some
            0.001 the machine's own delays (about 0.1 ms for waking a thread) outweigh the emulated ones.

    Raises:
        ConfigurationError: for a scale that is not positive and finite.
    """

    def __init__(self, time_scale: float = 1.0) -> None:
        if not (time_scale > 0 and math.isfinite(time_scale)):
            raise ConfigurationError(f"time_scale must be positive and finite, got {time_scale}")
        self.time_scale = time_scale

    def now_s(self) -> float:
        """Time of the server [s], from an arbitrary origin."""
        return time.perf_counter() / self.time_scale

    def wall_s(self, seconds: float) -> float:
        """Wall seconds that ``seconds`` of the server take, at most :data:`MAX_WAIT_S`.

        >>> ScaledClock(0.5).wall_s(4.0)
        2.0
        """
        return min(seconds * self.time_scale, MAX_WAIT_S)

    def sleep_until(self, moment_s: float) -> None:
        """Sleep until the server's clock shows ``moment_s``; absolute, so that late wake-ups do not add up."""
        left = self.wall_s(moment_s - self.now_s())
        if left > 0:
            time.sleep(left)

"""What a pipeline's noise schedule makes of a number of denoising steps: which numbers it takes, and how many calls."""

from __future__ import annotations

import threading
from typing import Any

from lad_rllib.edge.errors import InvalidRequest, one_line

MAX_MIN_STEPS = 16
"""The minimum of every known schedule is at most this."""

_PROBE_STEPS = 20
"""A schedule that cannot even plan so many steps by itself is planned by its pipeline; nothing is known beforehand."""


class NoiseSchedule:
    """A copy of a pipeline's scheduler, to ask without disturbing an image; safe for threads.

    Schedules of higher order, and those that warm up (PNDM), call the denoiser more often than the steps asked for, and
    some need a minimum of steps.

    Args:
        scheduler: The diffusers scheduler.
    """

    def __init__(self, scheduler: Any) -> None:
        self.name = type(scheduler).__name__
        self._lock = threading.Lock()
        self._copy = type(scheduler).from_config(scheduler.config)
        self._calls: dict[int, int | str] = {}  # or why not
        self._plans = isinstance(self._plan(_PROBE_STEPS), int)

    def calls(self, denoising_steps: int) -> int:
        """Calls of the denoiser for an image with so many steps.

        Raises:
            InvalidRequest: if the schedule has no plan for so many steps.
        """
        plan = self._plan(denoising_steps) if self._plans else denoising_steps
        if isinstance(plan, int):
            return plan
        minimum = self.min_steps()
        advice = f"ask for at least {minimum}" if denoising_steps < minimum else "ask for another number"
        raise InvalidRequest(f"denoising_steps {denoising_steps}: {self.name} has no plan for it; {advice} ({plan})")

    def min_steps(self) -> int:
        """Fewest steps that it can plan; 1 if it is not known."""
        if not self._plans:
            return 1
        return next((n for n in range(1, MAX_MIN_STEPS + 1) if isinstance(self._plan(n), int)), 1)

    def _plan(self, denoising_steps: int) -> int | str:
        with self._lock:
            if denoising_steps not in self._calls:
                try:
                    self._copy.set_timesteps(denoising_steps)
                    self._calls[denoising_steps] = len(self._copy.timesteps)
                except Exception as error:
                    self._calls[denoising_steps] = one_line(error)
            return self._calls[denoising_steps]

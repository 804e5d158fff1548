"""When a server that keeps failing stops serving, and how it finds out that it is well again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from lad_rllib.edge.engines.engine import Engine
from lad_rllib.edge.errors import EdgeError
from lad_rllib.edge.task import ImageTask

MAX_FAILURES_IN_ROW = 3
"""Tasks that may fail one after the other before a server has to show that it can still make an image."""

PROBE_STEPS = 4
"""Denoising steps of a probe image: few, and enough for every scheduler of image models."""

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0
"""Wait before a server that cannot make its probe image is built anew, doubled each time [s, wall clock]."""


class FailureCount:
    """Failures in a row.

    Args:
        most: So many, and the server must recover.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._in_row = 0
        self.served_since_recovery = 0

    def served(self) -> None:
        """An image was made."""
        self._in_row = 0
        self.served_since_recovery += 1

    def recovered(self) -> None:
        """Begin anew."""
        self._in_row = self.served_since_recovery = 0

    def reason_to_recover(self, error: EdgeError) -> str:
        """Count a failure; why the server must not go on, or nothing.

        Only errors of the engine count, not those of the task, a deadline, or a cancelled task.
        """
        if error.needs_restart:
            return f"its device is lost ({error})"
        if not error.of_engine:
            return ""
        self._in_row += 1
        return f"{self._in_row} tasks in a row failed, the last with: {error}" if self._in_row >= self._most else ""


def probe(engine: Engine) -> None:
    """Make one small image of the engine's default size; raises what the engine raises."""
    engine.generate(ImageTask("probe", "a grey cat", PROBE_STEPS), lambda step: None)


def waits_s() -> Iterator[float]:
    """Waits between two attempts [s]: 0.5, 1, 2, … 60."""
    wait_s = FIRST_WAIT_S
    while True:
        yield wait_s
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)


def end_process(after_s: float = 1.0) -> None:
    """End this process, so that Ray starts it again: nothing less gives a device a new context.

    Args:
        after_s: Time in which the answers to those who wait go out [s].
    """
    time.sleep(after_s)
    os._exit(1)

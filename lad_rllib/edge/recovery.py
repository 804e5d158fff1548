"""When a server that keeps failing stops serving, and how it shows that it can serve again."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence

from lad_rllib.edge.engines.engine import Engine
from lad_rllib.edge.errors import EdgeError, ServerUnavailable
from lad_rllib.edge.task import ImageTask

MAX_FAILURES_IN_ROW = 3
"""Tasks that may fail one after the other before a server has to show that it can still make an image."""

PROBE_STEPS = 4
"""Denoising steps of a probe image: few, and enough for every scheduler of image models."""

MIN_WAIT_S, MAX_WAIT_S = 0.5, 60.0
"""Wait before a server that cannot make its probe image is built anew, doubled each time [s, wall clock]."""


class FailureCount:
    """Failures in a row.

    Args:
        limit: At so many the server must recover.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
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
        """Count a failure; why the server must recover, or an empty text.

        Only errors of the engine count, not those of the task, a deadline, or a cancelled task. An engine that works
        elsewhere and does not answer is enough by itself.
        """
        if isinstance(error, ServerUnavailable):
            return str(error)
        if error.needs_restart:
            return f"its device is lost ({error})"
        if not error.of_engine:
            return ""
        self._in_row += 1
        return f"{self._in_row} tasks in a row failed, the last with: {error}" if self._in_row >= self._limit else ""


class ManagedEngine:
    """A server's engine: whether it is loaded and warm, and how to build it anew.

    Args:
        engine: The engine.
        make_engine: Builds another one; None: the engine is kept.
        warm_up_sizes: Sizes of the warm-up before the first image; None: the engine's default; ``()``: none.

    Attributes:
        engine: The present engine.
        is_loaded: Whether its model is loaded.
        is_cold: Whether it has neither warmed up nor made an image.
    """

    def __init__(
        self,
        engine: Engine,
        make_engine: Callable[[], Engine] | None = None,
        warm_up_sizes: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self.engine = engine
        self.is_loaded, self.is_cold = False, True
        self._make_engine, self._warm_up_sizes = make_engine, warm_up_sizes

    def load(self) -> None:
        """Load the model if that has not happened yet."""
        if not self.is_loaded:
            self.engine.load()
            self.is_loaded = True

    def warm_up(self, sizes: Sequence[tuple[int, int]] | None) -> None:
        """Load the model and make an image of each size; None: the default size."""
        self.load()
        self.engine.warm_up(sizes)
        self.is_cold = False

    def prepare(self) -> None:
        """Load, and warm up if the server is to do so before its first image."""
        self.load()
        if self.is_cold and (self._warm_up_sizes is None or self._warm_up_sizes):
            self.warm_up(self._warm_up_sizes)

    def rebuild(self) -> None:
        """Take a new engine in place of the present one, if one can be built."""
        if self._make_engine is not None:
            self.engine = self._make_engine()
            self.is_loaded, self.is_cold = False, True
            gc.collect()  # the former engine's memory, before the new one takes some

    def probe(self) -> None:
        """Make one small image of the default size; raises what the engine raises."""
        self.engine.generate(ImageTask("probe", "a grey cat", PROBE_STEPS), lambda step: None)


def waits_s() -> Iterator[float]:
    """Waits between two attempts [s]: 0.5, 1, 2, … 60."""
    wait_s = MIN_WAIT_S
    while True:
        yield wait_s
        wait_s = min(2 * wait_s, MAX_WAIT_S)


def end_process(after_s: float = 1.0) -> None:
    """End this process, so that Ray starts it again: nothing less gives a device a new context.

    Args:
        after_s: Time for the answers to reach those who wait [s].
    """
    time.sleep(after_s)
    os._exit(1)

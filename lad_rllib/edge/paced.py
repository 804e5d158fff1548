"""A real engine made slower on purpose, so that one machine has servers of unequal speed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from lad_rllib.edge.engine import Engine, EngineDescription, EngineOutput, StepCallback
from lad_rllib.edge.fit import DelayFit
from lad_rllib.edge.task import ImageTask
from lad_rllib.errors import ConfigurationError


class PacedEngine:
    """Emulates a device that is ``slowdown`` times slower than this one: the same images, later.

    After each denoising step, and after the end of the image, it sleeps ``slowdown - 1`` times what that part really
    took; the parts of a record still add up. While it sleeps the core is free for others. An image can be stopped at
    each step, as without it. Loading and warming up are not slowed down.

    It is for engines that compute. One that sleeps until planned moments (``EmulatedEngine``) would sleep less after
    each pause: emulate a slower device by its profile instead.

    Args:
        engine: The engine that makes the images.
        slowdown: How many times longer an image takes, at least 1.

    Raises:
        ConfigurationError: for a slowdown below 1, or an engine in scaled time.
    """

    def __init__(self, engine: Engine, slowdown: float) -> None:
        if not 1 <= slowdown < float("inf"):
            raise ConfigurationError(f"slowdown must be at least 1 and finite, got {slowdown}")
        if engine.time_scale != 1:
            raise ConfigurationError(
                f"slowdown {slowdown:g} is for real engines, not for one with time_scale {engine.time_scale:g}; "
                "emulate a slower device by its profile"
            )
        self.engine = engine
        self.slowdown = slowdown
        self.time_scale = engine.time_scale

    def load(self) -> None:
        """As the engine."""
        self.engine.load()

    def warm_up(self, sizes: Sequence[tuple[int, int]] | None = None) -> None:
        """As the engine, at its own speed."""
        self.engine.warm_up(sizes)

    def check(self, task: ImageTask) -> None:
        """As the engine."""
        self.engine.check(task)

    def generate(self, task: ImageTask, on_step: StepCallback) -> EngineOutput:
        """The engine's image, ``slowdown`` times later; ``on_step`` comes after the step's pause and may stop it."""
        begin_s = resumed_s = time.perf_counter()

        def after_step(step: int) -> None:
            nonlocal resumed_s
            self._pause(resumed_s)
            resumed_s = time.perf_counter()
            on_step(step)

        output = self.engine.generate(task, after_step)
        self._pause(resumed_s)
        # The engine's own parts hold some of the pauses; encoding and PNG have none, the rest is what the clock says.
        encode_s, png_s = output.encode_s * self.slowdown, output.png_s * self.slowdown
        return replace(
            output,
            encode_s=encode_s,
            denoise_s=max(0.0, resumed_s - begin_s - encode_s),
            decode_s=max(0.0, time.perf_counter() - resumed_s - png_s),
            png_s=png_s,
        )

    def _pause(self, since_s: float) -> None:
        time.sleep((self.slowdown - 1) * (time.perf_counter() - since_s))

    def describe(self) -> EngineDescription:
        """The engine, its expected delay at this pace, and a note about it."""
        description = self.engine.describe()
        expected = description.expected
        if expected is not None:
            expected = DelayFit(
                expected.overhead_s * self.slowdown, expected.per_step_s * self.slowdown, origin=expected.origin
            )
        note = "; ".join(filter(None, [description.note, f"slowed down {self.slowdown:g} times on purpose"]))
        return replace(description, expected=expected, note=note)

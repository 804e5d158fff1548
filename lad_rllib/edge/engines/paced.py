"""A real engine paced to a slower device, so that one machine has servers of unequal speed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from lad_rllib.edge.engines.engine import Engine, EngineDescription, EngineOutput, StepCallback
from lad_rllib.edge.task import ImageTask
from lad_rllib.errors import ConfigurationError


class PacedEngine:
    """Emulates a device that takes at least ``step_s`` for a denoising step: the same images, later.

    The end of step ``k`` waits until ``k * step_s`` after the image's beginning. While it waits the core is free for
    others, and a later step makes up for time that the machine lost to them: servers paced far below the machine's
    speed keep their speed beside one another. The parts of a record still add up, and an image can be stopped at each
    step. Loading, warming up and what follows the last step are not paced.

    Args:
        engine: The engine that makes the images.
        step_s: Least time per denoising step [s].

    Raises:
        ConfigurationError: for a time that is not positive, or an engine in scaled time, whose profile says how slow it
            is.
    """

    def __init__(self, engine: Engine, step_s: float) -> None:
        if not 0 < step_s < float("inf"):
            raise ConfigurationError(f"step_s must be positive and finite, got {step_s}")
        if engine.time_scale != 1:
            raise ConfigurationError(
                f"a pace of {step_s:g} s a step is for real engines, not for one with time_scale "
                f"{engine.time_scale:g}; emulate a slower device by its profile"
            )
        self.engine = engine
        self.step_s = step_s
        self.time_scale = engine.time_scale

    def load(self) -> None:
        """As the engine."""
        self.engine.load()

    def warm_up(self, sizes: Sequence[tuple[int, int]] | None = None) -> None:
        """As the engine, not paced."""
        self.engine.warm_up(sizes)

    def check(self, task: ImageTask) -> None:
        """As the engine."""
        self.engine.check(task)

    def generate(self, task: ImageTask, on_step: StepCallback) -> EngineOutput:
        """The engine's image at this pace; ``on_step`` comes after the step's pause and may stop it."""
        begin_s = resumed_s = time.perf_counter()
        suspended_s = 0.0

        def after_step(step: int) -> float:
            nonlocal begin_s, resumed_s, suspended_s
            if step == 0:  # loading is not paced
                begin_s = time.perf_counter()
            time.sleep(max(0.0, begin_s + suspended_s + step * self.step_s - time.perf_counter()))
            away_s = on_step(step) or 0.0
            suspended_s += away_s
            resumed_s = time.perf_counter()
            return away_s

        output = self.engine.generate(task, after_step)
        end_s = time.perf_counter()
        # The engine's own denoising and decoding hold some of the pauses; encoding and PNG have none.
        return replace(
            output,
            denoise_s=max(0.0, resumed_s - begin_s - suspended_s - output.encode_s),
            decode_s=max(0.0, end_s - resumed_s - output.png_s),
        )

    def describe(self, model: str | None = None) -> EngineDescription:
        """The engine, and a note about its pace."""
        description = self.engine.describe(model) if model else self.engine.describe()
        note = "; ".join(filter(None, [description.note, f"paced to {self.step_s:g} s a step on purpose"]))
        return replace(description, note=note)

"""An engine that takes as long as a device would: a service-time model and a made-up image."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Sequence

import numpy as np

from lad_rllib.edge.clock import ScaledClock
from lad_rllib.edge.engines.engine import EngineDescription, EngineOutput, StepCallback
from lad_rllib.edge.engines.profiles import DeviceProfile, get_profile
from lad_rllib.edge.task import ImageTask

ENCODE_SHARE = 0.4
DECODE_SHARE = 0.6
"""Split of the overhead before and after the steps; an assumption, only the sum is in a profile."""


class EmulatedEngine:
    """Sleeps ``(overhead + steps * per step) * jitter`` per image.

    The jitter is one lognormal factor per image with mean 1, drawn in the order in which images are made; the steps
    of an image end at equal distances, at absolute times, so that late wake-ups of the machine do not add up. A size
    other than the profile's is served with the work in proportion to the pixels.

    Args:
        profile: A :class:`DeviceProfile` or the name of a shipped one.
        time_scale: Wall seconds per emulated second; 0.01 runs a hundred times faster.
        seed: Seed of the jitter.
        cold_start: Whether ``load`` takes the profile's ``cold_start_s``.
        make_png: Whether to make an image: colours that depend on prompt, seed and steps.
    """

    def __init__(
        self,
        profile: DeviceProfile | str,
        *,
        time_scale: float = 1.0,
        seed: int = 0,
        cold_start: bool = False,
        make_png: bool = True,
    ) -> None:
        self.profile = get_profile(profile) if isinstance(profile, str) else profile
        self.time_scale = time_scale
        self._clock = ScaledClock(time_scale)
        self._rng = np.random.default_rng(seed)
        self._cold_start = cold_start
        self._make_png = make_png

    def load(self) -> None:
        """Take the time of loading, if a cold start is emulated."""
        if self._cold_start:
            self._clock.sleep_until(self._clock.now_s() + self.profile.cold_start_s)

    def warm_up(self, sizes: Sequence[tuple[int, int]] | None = None) -> None:
        """Load the drawing library, which the first picture would do otherwise."""
        if self._make_png:
            draw_png(ImageTask("warm-up", "warm-up", 1), 8, 8)

    def check(self, task: ImageTask) -> None:
        """Every task can be emulated."""

    def generate(self, task: ImageTask, on_step: StepCallback) -> EngineOutput:
        """Sleep as long as the image would take; ``on_step`` may raise to stop it."""
        width, height = task.width or self.profile.width, task.height or self.profile.height
        factor = self._jitter() * width * height / (self.profile.width * self.profile.height)
        overhead_s, per_step_s = self.profile.overhead_s * factor, self.profile.per_step_s * factor
        clock, begin_s = self._clock, self._clock.now_s()
        steps_begin_s = begin_s + ENCODE_SHARE * overhead_s
        clock.sleep_until(steps_begin_s)
        encoded_s = clock.now_s()
        for step in range(1, task.denoising_steps + 1):
            clock.sleep_until(steps_begin_s + step * per_step_s)
            on_step(step)
        denoised_s = clock.now_s()
        png = draw_png(task, width, height) if self._make_png else None
        drawn_s = clock.now_s()
        clock.sleep_until(begin_s + overhead_s + task.denoising_steps * per_step_s)
        return EngineOutput(
            png=png,
            image_mbit=self.profile.result_mbit,
            width=width,
            height=height,
            steps_done=task.denoising_steps,
            dtype="emulated",
            encode_s=encoded_s - begin_s,
            denoise_s=denoised_s - encoded_s,
            decode_s=clock.now_s() - drawn_s,
            png_s=drawn_s - denoised_s,
            denoiser_calls=task.denoising_steps,
        )

    def _jitter(self) -> float:
        variance = math.log1p(self.profile.jitter**2)
        return float(np.exp(self._rng.normal(-variance / 2, math.sqrt(variance))))

    def describe(self) -> EngineDescription:
        """The profile, and that nothing is computed."""
        profile = self.profile
        return EngineDescription(
            kind="emulated",
            model=profile.name,
            device="none",
            dtype="emulated",
            memory_profile="none",
            width=profile.width,
            height=profile.height,
            expected=profile.expected,
            note=f"{profile.origin}: {profile.source}",
        )


def draw_png(task: ImageTask, width: int, height: int, max_pixels: int = 64) -> bytes:
    """A small picture of coloured stripes, the same for the same prompt, seed and steps.

    Args:
        task: Whose picture.
        width: Width asked for [pixel].
        height: Height asked for [pixel].
        max_pixels: Longer sides are drawn with so many pixels, to save time [pixel].
    """
    from PIL import Image

    digest = hashlib.sha256(f"{task.prompt}\n{task.seed}\n{task.denoising_steps}".encode()).digest()
    stripes = np.frombuffer(digest[:24], np.uint8).reshape(8, 3)
    size = (min(width, max_pixels), min(height, max_pixels))
    buffer = io.BytesIO()
    Image.fromarray(stripes[None]).resize(size, Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()

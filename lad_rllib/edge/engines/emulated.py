"""An engine that takes as long as a device would: a service-time model and a made-up image."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lad_rllib.edge.clock import ScaledClock
from lad_rllib.edge.engines.engine import EngineDescription, EngineOutput, StepCallback
from lad_rllib.edge.engines.profiles import DeviceProfile, get_profile
from lad_rllib.edge.engines.residency import ResidencySettings, check_has
from lad_rllib.edge.fit import delay_line
from lad_rllib.edge.task import ImageTask

ENCODE_SHARE = 0.4
DECODE_SHARE = 0.6
"""Split of the overhead before and after the steps; an assumption, only the sum is in a profile."""


class EmulatedEngine:
    """Sleeps ``(overhead + steps * per step) * jitter`` per task, and ``swap_s`` before it if its model is not there.

    The jitter is one lognormal factor per task with mean 1, drawn in the order in which tasks are served; the steps of
    an image end at equal distances, at absolute times, so that late wake-ups of the machine do not add up. How times
    grow with pixels, guidance and images at once is the profile's (:attr:`DeviceProfile.service`).

    Args:
        profile: A :class:`DeviceProfile` or the name of a shipped one.
        time_scale: Wall seconds per emulated second; 0.01 runs a hundred times faster.
        seed: Seed of the jitter.
        cold_start: Whether ``load`` takes the profile's ``cold_start_s``.
        make_png: Whether to make an image: colours that depend on prompt, seed, steps, model and LoRAs.
        models: Models that it has, the first for tasks that name none; empty: any that a task names.
        loras: LoRAs that it has; empty: any that a task names.
        memory: Fields of :class:`~lad_rllib.edge.engines.residency.ResidencySettings`.
    """

    def __init__(
        self,
        profile: DeviceProfile | str,
        *,
        time_scale: float = 1.0,
        seed: int = 0,
        cold_start: bool = False,
        make_png: bool = True,
        models: Sequence[str] = (),
        loras: Sequence[str] = (),
        **memory: Any,
    ) -> None:
        self.profile = get_profile(profile) if isinstance(profile, str) else profile
        self.time_scale = time_scale
        self._clock = ScaledClock(time_scale)
        self._rng = np.random.default_rng(seed)
        self._cold_start = cold_start
        self._make_png = make_png
        self._models, self._loras = tuple(models), tuple(loras)
        self.residency = ResidencySettings(**memory).empty()

    def load(self) -> None:
        """Take the time of loading the first model, if a cold start is emulated."""
        self.residency = self.residency.use(self._model(None))[0]
        if self._cold_start:
            self._clock.sleep_until(self._clock.now_s() + self.profile.cold_start_s)

    def warm_up(self, sizes: Sequence[tuple[int, int]] | None = None) -> None:
        """Load the drawing library, which the first picture would do otherwise."""
        if self._make_png:
            draw_pngs(ImageTask("warm-up", "warm-up", 1), 8, 8)

    def check(self, task: ImageTask) -> None:
        """Refuse a model or a LoRA that the server does not have."""
        check_has("model", self._models, [task.model] if task.model else [])
        check_has("LoRA", self._loras, task.loras)

    def _model(self, name: str | None) -> str:
        return name or next(iter(self._models), self.profile.name)

    def generate(self, task: ImageTask, on_step: StepCallback) -> EngineOutput:
        """Sleep as long as the image would take; ``on_step`` may raise to stop it."""
        width, height = task.width or self.profile.width, task.height or self.profile.height
        line, jitter = delay_line(self.profile.service, self.describe().kind_of(task)), self._jitter()
        overhead_s, per_step_s = line.overhead_s * jitter, line.per_step_s * jitter
        swap_s = self._swap(task, on_step)
        clock, begin_s = self._clock, self._clock.now_s()
        steps_begin_s, suspended_s = begin_s + ENCODE_SHARE * overhead_s, 0.0
        clock.sleep_until(steps_begin_s)
        encoded_s = clock.now_s()
        for step in range(1, task.denoising_steps + 1):
            clock.sleep_until(steps_begin_s + suspended_s + step * per_step_s)
            suspended_s += on_step(step) or 0.0
        denoised_s = clock.now_s()
        pngs = draw_pngs(task, width, height) if self._make_png else []
        drawn_s = clock.now_s()
        clock.sleep_until(begin_s + suspended_s + overhead_s + task.denoising_steps * per_step_s)
        return EngineOutput(
            png=pngs[0] if pngs else None,
            more_pngs=tuple(pngs[1:]),
            image_mbit=self.profile.result_mbit * task.images,
            model=self._model(task.model),
            loras=" ".join(task.loras),
            images=task.images,
            swap_s=swap_s,
            width=width,
            height=height,
            steps_done=task.denoising_steps,
            dtype="emulated",
            encode_s=encoded_s - begin_s,
            denoise_s=denoised_s - encoded_s - suspended_s,
            decode_s=clock.now_s() - drawn_s,
            png_s=drawn_s - denoised_s,
            denoiser_calls=task.denoising_steps,
        )

    def _swap(self, task: ImageTask, on_step: StepCallback) -> float:
        """Bring the task's model and LoRAs into memory; returns how long that took [s]."""
        begin_s = self._clock.now_s()
        self.residency, swap = self.residency.use(self._model(task.model), task.loras)
        if not swap:
            return 0.0
        wait_s = self.profile.swap_s * swap.loads_model + self.profile.lora_swap_s * len(swap.loads)
        self._clock.sleep_until(begin_s + wait_s)
        on_step(0)
        return self._clock.now_s() - begin_s

    def _jitter(self) -> float:
        variance = math.log1p(self.profile.jitter**2)
        return float(np.exp(self._rng.normal(-variance / 2, math.sqrt(variance))))

    def describe(self, model: str | None = None) -> EngineDescription:
        """The profile, and that nothing is computed."""
        profile = self.profile
        return EngineDescription(
            kind="emulated",
            model=self._model(model),
            device="none",
            dtype="emulated",
            memory_profile="none",
            width=profile.width,
            height=profile.height,
            service=profile.service,
            swap_s=profile.swap_s,
            lora_swap_s=profile.lora_swap_s,
            note=f"{profile.origin}: {profile.source}",
            models=self._models,
            residency=self.residency,
            can_suspend=True,
        )


def draw_pngs(task: ImageTask, width: int, height: int, max_pixels: int = 64) -> list[bytes]:
    """Small pictures of coloured stripes, the same for the same prompt, seed, steps, model and LoRAs.

    Args:
        task: Whose pictures.
        width: Width asked for [pixel].
        height: Height asked for [pixel].
        max_pixels: Longer sides are drawn with so many pixels, to save time [pixel].
    """
    from PIL import Image

    size = (min(width, max_pixels), min(height, max_pixels))
    pngs = []
    for seed in range(task.seed, task.seed + task.images):
        look = (task.prompt, seed, task.denoising_steps, *filter(None, (task.model, *task.loras)))
        digest = hashlib.sha256("\n".join(map(str, look)).encode()).digest()
        stripes = np.frombuffer(digest[:24], np.uint8).reshape(8, 3)
        buffer = io.BytesIO()
        Image.fromarray(stripes[None]).resize(size, Image.Resampling.NEAREST).save(buffer, "PNG")
        pngs.append(buffer.getvalue())
    return pngs

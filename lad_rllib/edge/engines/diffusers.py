"""A real engine: any text-to-image pipeline of diffusers, one image at a time, every part timed."""

from __future__ import annotations

import functools
import inspect
import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from lad_rllib.declared import Declared, Text
from lad_rllib.edge.engines.device import DeviceMemory, find_device
from lad_rllib.edge.engines.engine import EngineDescription, EngineOutput, StepCallback
from lad_rllib.edge.engines.image_watch import ImageWatch
from lad_rllib.edge.engines.memory import MEMORY_PROFILES
from lad_rllib.edge.engines.memory import memory_profile as find_memory_profile
from lad_rllib.edge.engines.noise_schedule import NoiseSchedule
from lad_rllib.edge.engines.pipeline import denoiser_of, load_pipeline
from lad_rllib.edge.engines.prompt_limits import tokens_cut
from lad_rllib.edge.errors import DeviceBroken, EdgeError, InvalidRequest, ModelLoadFailed, OutOfMemory, one_line
from lad_rllib.edge.failures import failure_kind
from lad_rllib.edge.settings import Side
from lad_rllib.edge.task import MAX_GUIDANCE, SIZE_MULTIPLE, ImageTask

WARM_UP_STEPS = (2, 4, 8, 20)
"""Steps that a warm-up tries after the minimum of the noise schedule."""


class DiffusersSettings(Declared):
    """Settings of a diffusers pipeline, declared once for engines in code and for entries of a fleet file."""

    model: Text
    """Folder of a pipeline, or a name of the Hugging Face hub."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Number format; ``auto``: float16 on CUDA (as the paper), else float32."""
    device: Text = "auto"
    """torch device; ``auto``: CUDA where there is one."""
    memory_profile: Literal[tuple(MEMORY_PROFILES)] = "full"  # type: ignore[valid-type]
    """How the pipeline is laid out in memory."""
    guidance: Annotated[float, Field(ge=0, le=MAX_GUIDANCE)] | None = None
    """Guidance scale of tasks that name none; null: the pipeline's."""
    negative_prompt: str = ""
    """What images should not show."""
    width: Side | None = None
    """Width of tasks that name none [pixel]; null: the model's."""
    height: Side | None = None
    """Height of tasks that name none [pixel]; null: the model's."""
    max_sequence_length: Annotated[int, Field(ge=0, le=2**16)] | None = None
    """Tokens of T5; null: 0 without T5 (every step would process its zeros), else the pipeline's."""


class DiffusersEngine:
    """Generates images with a diffusers pipeline.

    The same prompt, seed, steps, size and guidance give the same image in every process with the same model, dtype and
    kind of device: each image has a generator of its own, on the CPU.

    Args:
        model: Folder of a pipeline, or a name of the Hugging Face hub.
        embedding_cache_size: Prompts whose embeddings are kept (SD3 pipelines).
        settings: Further fields of :class:`DiffusersSettings`.

    Raises:
        ConfigurationError: for an unknown or impossible memory profile, dtype or device, before anything is loaded.
    """

    time_scale = 1.0

    def __init__(self, model: str | Path, *, embedding_cache_size: int = 64, **settings: Any) -> None:
        self.settings = DiffusersSettings(model=str(model), **settings)
        self.device = find_device(self.settings.device)
        self.memory_profile = find_memory_profile(self.settings.memory_profile, self.device)
        default_dtype = "float16" if self.device.startswith("cuda") else "float32"
        self.dtype = default_dtype if self.settings.dtype == "auto" else self.settings.dtype
        self.guidance, self.width, self.height = self.settings.guidance, self.settings.width, self.settings.height
        self.pipeline: Any = None
        self.embed = functools.lru_cache(embedding_cache_size)(self._encode)
        self._memory = DeviceMemory(self.device)
        self._accepted: frozenset[str] = frozenset()
        self._schedule: NoiseSchedule | None = None
        self._default_tokens: int | None = None
        self._multiple, self._max_side = SIZE_MULTIPLE, 0

    def load(self) -> None:
        """Load the pipeline and lay it out.

        Raises:
            ModelLoadFailed: one line that says why.
        """
        import torch

        self.pipeline = pipeline = load_pipeline(
            self.settings.model, self.memory_profile, self.device, getattr(torch, self.dtype)
        )
        call = inspect.signature(pipeline.__call__).parameters
        self._accepted = frozenset(call)
        self._refuse_unknown_settings()
        if self.guidance is None and "guidance_scale" in call:
            self.guidance = call["guidance_scale"].default
        if "max_sequence_length" in call:
            self._default_tokens = call["max_sequence_length"].default
        self._schedule = NoiseSchedule(pipeline.scheduler)
        denoiser = denoiser_of(pipeline)
        config = getattr(denoiser, "config", None)
        scale, patch = getattr(pipeline, "vae_scale_factor", 8), getattr(config, "patch_size", None) or 1
        side = getattr(config, "sample_size", None)
        if isinstance(side, int):
            self.width, self.height = self.width or side * scale, self.height or side * scale
        self._multiple = max(SIZE_MULTIPLE, scale * patch)
        self._max_side = (getattr(config, "pos_embed_max_size", None) or 0) * scale * patch

    def _refuse_unknown_settings(self) -> None:
        for setting in ("guidance", "negative_prompt", "width", "height", "max_sequence_length"):
            argument = "guidance_scale" if setting == "guidance" else setting
            if getattr(self.settings, setting) not in (None, "") and argument not in self._accepted:
                raise ModelLoadFailed(
                    f"{setting} has no effect: a {type(self.pipeline).__name__}, as in {self.settings.model}, takes no "
                    f"{argument}; leave it out"
                )

    def warm_up(self, sizes: Sequence[tuple[int, int]] | None = None) -> None:
        """Generate one image per size (width, height) with as few steps as work; None: the model's own size.

        One step is enough for most noise schedules. Others have no plan for it, or divide by zero on the way.

        Raises:
            EdgeError: if no number of steps works.
        """
        for width, height in sizes if sizes is not None else [(self.width, self.height)]:
            self._warm_up(width, height)

    def _warm_up(self, width: int | None, height: int | None) -> None:
        min_steps = self.describe().min_steps
        for steps in [min_steps, *(n for n in WARM_UP_STEPS if n > min_steps)]:
            task = ImageTask("warm-up", "warm-up", steps, width, height)
            self.check(task)
            try:
                self.generate(task, lambda step: None)
            except (OutOfMemory, DeviceBroken):
                raise
            except Exception:
                if steps == WARM_UP_STEPS[-1]:
                    raise
            else:
                return

    def check(self, task: ImageTask) -> None:
        """Refuse a size or a number of steps that the model cannot make (known once it is loaded)."""
        for name, side in (("width", task.width), ("height", task.height)):
            if side is not None and side % self._multiple:
                raise InvalidRequest(f"{name} must be a multiple of {self._multiple} for this model, got {side}")
            if side is not None and self._max_side and side > self._max_side:
                raise InvalidRequest(f"{name} must be at most {self._max_side} for this model, got {side}")
        if self._schedule is not None:
            self._schedule.calls(task.denoising_steps)

    def generate(self, task: ImageTask, on_step: StepCallback) -> EngineOutput:
        """Generate the image of a task that ``check`` accepts; after running out of memory once more with empty caches.

        Raises:
            OutOfMemory: if the second attempt does not fit either.
            NonFiniteImage: if the model's values overflow; no picture is made of them.
            DeviceBroken: if the process has lost its device.
            EdgeError: what ``on_step`` raises.
        """
        for attempt in (1, 2):
            try:
                return self._generate(task, on_step, attempt)
            except EdgeError:
                self._free(keep_cache=True)
                raise
            except Exception as error:
                kind, reason = failure_kind(error), one_line(error)
                if kind is DeviceBroken or (kind is None and self._memory.is_broken()):
                    raise DeviceBroken(f"{self.device} is lost to this process, start it again: {reason}") from error
                self._free(keep_cache=kind is not OutOfMemory)
                if kind is not OutOfMemory:
                    raise
        width, height = task.width or self.width, task.height or self.height
        raise OutOfMemory(f"{width}x{height} does not fit into the memory of {self.device}, ask for less: {reason}")

    def _generate(self, task: ImageTask, on_step: StepCallback, attempt: int) -> EngineOutput:
        self._memory.reset_peak()
        begin_s = time.perf_counter()
        arguments = self._arguments(task) | self._prompt_arguments(task)
        limit = arguments.get("max_sequence_length", self._default_tokens)
        cut = tokens_cut(self.pipeline, task.prompt, limit)
        negative_cut = tokens_cut(self.pipeline, self.settings.negative_prompt, limit) if self._is_guided(task) else {}
        encoded_s = last_step_s = time.perf_counter()

        def after_call(steps_done: int) -> None:
            nonlocal last_step_s
            self._memory.synchronise()
            last_step_s = time.perf_counter()
            on_step(steps_done)

        watch = ImageWatch(self.pipeline, self._accepted, task.denoising_steps, self.dtype, after_call)
        with watch.following() as further:
            output = self.pipeline(**arguments, **further)
        image = output.images[0]
        decoded_s = time.perf_counter()
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        png = buffer.getvalue()
        peak_mib = self._memory.peak_mib()
        return EngineOutput(
            png=png,
            image_mbit=len(png) * 8 / 1e6,
            width=image.width,
            height=image.height,
            steps_done=task.denoising_steps,
            dtype=self.dtype,
            encode_s=encoded_s - begin_s,
            denoise_s=last_step_s - encoded_s,
            decode_s=decoded_s - last_step_s,
            png_s=time.perf_counter() - decoded_s,
            peak_memory_mib=peak_mib,
            attempt=attempt,
            denoiser_calls=watch.calls,
            prompt_tokens_cut=max(cut.values(), default=0),
            prompt_cut_by=" ".join(cut),
            negative_prompt_tokens_cut=max(negative_cut.values(), default=0),
            negative_prompt_cut_by=" ".join(negative_cut),
            safety_check=_safety_check(output),
            settings_ignored=self._ignored_settings(task),
        )

    def _ignored_settings(self, task: ImageTask) -> str:
        asked = {"width": task.width, "height": task.height, "guidance_scale": task.guidance}
        ignored = [name for name, value in asked.items() if value is not None and name not in self._accepted]
        return " ".join(name.removesuffix("_scale") for name in ignored)

    def _arguments(self, task: ImageTask) -> dict[str, Any]:
        """Arguments of the pipeline's call besides prompt and callback."""
        import torch

        steps = task.denoising_steps
        arguments: dict[str, Any] = {
            "num_inference_steps": steps,
            "generator": torch.Generator("cpu").manual_seed(task.seed),
            "width": task.width or self.width,
            "height": task.height or self.height,
            "guidance_scale": self._guidance(task),
            "output_type": "pil",
            "sigmas": flow_match_sigmas(self.pipeline.scheduler, steps),
            "max_sequence_length": self._sequence_length() if self._is_sd3() else self.settings.max_sequence_length,
        }
        return {name: value for name, value in arguments.items() if name in self._accepted and value is not None}

    def _prompt_arguments(self, task: ImageTask) -> dict[str, Any]:
        """The prompt; for pipelines of SD3 as embeddings from the cache."""
        if not self._is_sd3():
            negative = {"negative_prompt": self.settings.negative_prompt} if self.settings.negative_prompt else {}
            return {"prompt": task.prompt} | (negative if "negative_prompt" in self._accepted else {})
        embeds, pooled = self.embed(task.prompt)
        arguments = {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}
        if self._is_guided(task):
            embeds, pooled = self.embed(self.settings.negative_prompt)
            arguments |= {"negative_prompt_embeds": embeds, "negative_pooled_prompt_embeds": pooled}
        return arguments

    def _encode(self, text: str) -> tuple[Any, Any]:
        import torch

        with torch.no_grad():
            embeds, _, pooled, _ = self.pipeline.encode_prompt(
                prompt=text,
                prompt_2=None,
                prompt_3=None,
                do_classifier_free_guidance=False,
                max_sequence_length=self._sequence_length(),
            )
        self._memory.synchronise()
        return embeds, pooled

    def _guidance(self, task: ImageTask) -> float | None:
        return self.guidance if task.guidance is None else task.guidance

    def _is_guided(self, task: ImageTask) -> bool:
        """Whether a denoising step looks at the negative prompt, too."""
        return (self._guidance(task) or 0) > 1

    def _sequence_length(self) -> int:
        default = 0 if self.pipeline.text_encoder_3 is None else 256
        return default if self.settings.max_sequence_length is None else self.settings.max_sequence_length

    def _is_sd3(self) -> bool:
        return type(self.pipeline).__name__ == "StableDiffusion3Pipeline"

    def _free(self, keep_cache: bool) -> None:
        """Leave nothing of an image that failed on the device."""
        self.pipeline.maybe_free_model_hooks()
        if not keep_cache:
            self.embed.cache_clear()
            self._memory.free()

    def describe(self) -> EngineDescription:
        """Model, device, number format, memory profile and default size (None before ``load`` if it decides)."""
        return EngineDescription(
            kind="diffusers",
            model=self.settings.model,
            device=self.device,
            dtype=self.dtype,
            memory_profile=self.memory_profile.name,
            width=self.width,
            height=self.height,
            min_steps=1 if self._schedule is None else self._schedule.min_steps(),
        )


def flow_match_sigmas(scheduler: Any, denoising_steps: int) -> list[float] | None:
    """Noise levels at which the N steps start: 1, (N - 1)/N, ..., 1/N; None for other noise schedules than flow match.

    The schedule's own default ends at its least noise level instead, so that the last of N steps does nearly nothing.
    """
    if type(scheduler).__name__ != "FlowMatchEulerDiscreteScheduler":
        return None
    return [1.0 - step / denoising_steps for step in range(denoising_steps)]


def _safety_check(output: Any) -> str:
    """What the pipeline's safety checker said; ``none``, ``passed`` or ``blanked``."""
    flags = getattr(output, "nsfw_content_detected", None) or getattr(output, "nsfw_detected", None)
    if not flags:
        return "none"
    return "blanked" if flags[0] else "passed"

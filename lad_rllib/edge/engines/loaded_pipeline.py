"""A pipeline of diffusers in memory: what it takes, and how it draws; every part of an image timed."""

from __future__ import annotations

import copy
import functools
import inspect
import io
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lad_rllib.edge.engines.device import DeviceMemory
from lad_rllib.edge.engines.diffusers_settings import DiffusersSettings
from lad_rllib.edge.engines.engine import EngineOutput, StepCallback
from lad_rllib.edge.engines.image_watch import ImageWatch
from lad_rllib.edge.engines.loras import Adapters
from lad_rllib.edge.engines.noise_schedule import NoiseSchedule
from lad_rllib.edge.engines.pipeline import denoiser_of
from lad_rllib.edge.engines.prompt_limits import tokens_cut
from lad_rllib.edge.engines.residency import Swap
from lad_rllib.edge.errors import InvalidRequest, ModelLoadFailed
from lad_rllib.edge.task import SIZE_MULTIPLE, ImageTask


@dataclass
class PipelineFacts:
    """What a model takes and makes, known once it was loaded, and kept when it makes room for another.

    Attributes:
        accepted: Names of the arguments that its pipeline's call accepts.
        guidance: Guidance scale of tasks that name none; None: it has none.
        width: Width of tasks that name none [pixel]; None: the pipeline's own affair.
        height: Height [pixel]; the same.
        multiple: Sides are multiples of it [pixel].
        max_side: Longest side [pixel]; 0: unknown.
        default_tokens: The pipeline's own ``max_sequence_length``, or None.
        schedule: Its noise schedule.
    """

    accepted: frozenset[str]
    guidance: float | None
    width: int | None
    height: int | None
    multiple: int
    max_side: int
    default_tokens: int | None
    schedule: NoiseSchedule

    @classmethod
    def of(cls, pipeline: Any, settings: DiffusersSettings) -> PipelineFacts:
        """Those of a loaded pipeline under a server's settings."""
        call = inspect.signature(pipeline.__call__).parameters
        config = getattr(denoiser_of(pipeline), "config", None)
        scale, patch = getattr(pipeline, "vae_scale_factor", 8), getattr(config, "patch_size", None) or 1
        side = getattr(config, "sample_size", None)
        own_side = side * scale if isinstance(side, int) else None
        default = {name: call[name].default for name in ("guidance_scale", "max_sequence_length") if name in call}
        guidance = default.get("guidance_scale") if settings.guidance is None else settings.guidance
        return cls(
            accepted=frozenset(call),
            guidance=guidance,
            width=settings.width or own_side,
            height=settings.height or own_side,
            multiple=max(SIZE_MULTIPLE, scale * patch),
            max_side=(getattr(config, "pos_embed_max_size", None) or 0) * scale * patch,
            default_tokens=default.get("max_sequence_length"),
            schedule=NoiseSchedule(pipeline.scheduler),
        )

    def check(self, task: ImageTask) -> None:
        """Refuse a size, a number of steps, or a number of images that the model cannot make."""
        for name, side in (("width", task.width), ("height", task.height)):
            if side is not None and side % self.multiple:
                raise InvalidRequest(f"{name} must be a multiple of {self.multiple} for this model, got {side}")
            if side is not None and self.max_side and side > self.max_side:
                raise InvalidRequest(f"{name} must be at most {self.max_side} for this model, got {side}")
        if task.images > 1 and not {"num_images_per_prompt", "generator"} <= self.accepted:
            raise InvalidRequest(f"images must be 1 for this model, which draws one at a time, got {task.images}")
        self.schedule.calls(task.denoising_steps)


class LoadedPipeline:
    """Draws with one pipeline; an image may be drawn in the midst of another one.

    Args:
        model: The model's name.
        pipeline: The diffusers pipeline.
        settings: Of the server.
        dtype: Number format of the computation, for records.
        memory: Of the device.
        embedding_cache_size: Prompts whose embeddings are kept (SD3 pipelines).

    Raises:
        ModelLoadFailed: for a setting that the pipeline does not take.
    """

    def __init__(
        self,
        model: str,
        pipeline: Any,
        settings: DiffusersSettings,
        dtype: str,
        memory: DeviceMemory,
        embedding_cache_size: int,
    ) -> None:
        self.model, self.pipeline = model, pipeline
        self.facts = PipelineFacts.of(pipeline, settings)
        self.embed = functools.lru_cache(embedding_cache_size)(self.encode)
        self._settings, self._dtype, self._memory = settings, dtype, memory
        self._adapters = Adapters(pipeline, model, settings.loras)
        self._loras: tuple[str, ...] = ()
        self._images_begun = 0
        self._refuse_unknown_settings()

    def _refuse_unknown_settings(self) -> None:
        for setting in ("guidance", "negative_prompt", "width", "height", "max_sequence_length"):
            argument = "guidance_scale" if setting == "guidance" else setting
            if getattr(self._settings, setting) not in (None, "") and argument not in self.facts.accepted:
                raise ModelLoadFailed(
                    f"{setting} has no effect: a {type(self.pipeline).__name__}, as in {self.model}, takes no "
                    f"{argument}; leave it out"
                )

    def change_loras(self, swap: Swap) -> None:
        """Load LoRAs, then remove others; if one cannot be loaded, leave them as they were.

        Raises:
            InvalidRequest: if the model takes none, or not this one.
        """
        for number, name in enumerate(swap.loads):
            try:
                self._adapters.load(name)
            except InvalidRequest:
                for loaded in swap.loads[:number]:
                    self._adapters.unload(loaded)
                raise
        for name in swap.unloads:
            self._adapters.unload(name)

    def use(self, loras: Sequence[str]) -> None:
        """Draw with these loaded LoRAs from now on, and with no others."""
        self._loras = tuple(loras)
        self._adapters.activate(self._loras)

    def draw(self, task: ImageTask, on_step: StepCallback, attempt: int) -> EngineOutput:
        """Draw the images of a task; its steps' callback may draw another task's meanwhile."""
        facts, memory, loras = self.facts, self._memory, self._loras
        memory.reset_peak()
        begin_s = time.perf_counter()
        arguments = self._arguments(task) | self._prompt_arguments(task)
        limit = arguments.get("max_sequence_length", facts.default_tokens)
        cut = tokens_cut(self.pipeline, task.prompt, limit)
        negative_cut = tokens_cut(self.pipeline, self._negative_prompt(task), limit) if self._guided(task) else {}
        encoded_s = last_step_s = time.perf_counter()
        suspended_s = 0.0

        def after_call(steps_done: int) -> None:
            nonlocal last_step_s, suspended_s
            memory.synchronise()
            last_step_s = time.perf_counter()
            if away_s := on_step(steps_done):
                suspended_s += away_s
                last_step_s += away_s
                self.use(loras)

        with self._own_pipeline() as pipeline:
            watch = ImageWatch(pipeline, facts.accepted, task.denoising_steps, self._dtype, after_call)
            with watch.following() as further:
                output = pipeline(**arguments, **further)
        decoded_s = time.perf_counter()
        pngs = [_png(image) for image in output.images]
        peak_mib = memory.peak_mib()
        return EngineOutput(
            png=pngs[0],
            more_pngs=tuple(pngs[1:]),
            image_mbit=sum(map(len, pngs)) * 8 / 1e6,
            model=self.model,
            loras=" ".join(loras),
            images=len(pngs),
            width=output.images[0].width,
            height=output.images[0].height,
            steps_done=task.denoising_steps,
            dtype=self._dtype,
            encode_s=encoded_s - begin_s,
            denoise_s=last_step_s - encoded_s - suspended_s,
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

    @contextmanager
    def _own_pipeline(self) -> Iterator[Any]:
        """The pipeline, or in the midst of another image a copy on the same networks.

        A call keeps its guidance in the pipeline and its progress in the noise schedule, which the other image needs
        again as they are.
        """
        pipeline = self.pipeline
        if self._images_begun:
            pipeline = copy.copy(pipeline)
            pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
        self._images_begun += 1
        try:
            yield pipeline
        finally:
            self._images_begun -= 1

    def _ignored_settings(self, task: ImageTask) -> str:
        asked = {
            "width": task.width,
            "height": task.height,
            "guidance_scale": task.guidance,
            "negative_prompt": task.negative_prompt or None,
        }
        ignored = [name for name, value in asked.items() if value is not None and name not in self.facts.accepted]
        return " ".join(name.removesuffix("_scale") for name in ignored)

    def _negative_prompt(self, task: ImageTask) -> str:
        return self._settings.negative_prompt if task.negative_prompt is None else task.negative_prompt

    def _arguments(self, task: ImageTask) -> dict[str, Any]:
        """Arguments of the pipeline's call besides prompt and callback."""
        import torch

        steps, is_sd3 = task.denoising_steps, self._is_sd3()
        generators = [torch.Generator("cpu").manual_seed((task.seed + i) % 2**63) for i in range(task.images)]
        arguments: dict[str, Any] = {
            "num_inference_steps": steps,
            "generator": generators if task.images > 1 else generators[0],
            "num_images_per_prompt": task.images if task.images > 1 and not is_sd3 else None,
            "width": task.width or self.facts.width,
            "height": task.height or self.facts.height,
            "guidance_scale": self._guidance(task),
            "output_type": "pil",
            "sigmas": flow_match_sigmas(self.pipeline.scheduler, steps),
            "max_sequence_length": self._sequence_length() if is_sd3 else self._settings.max_sequence_length,
        }
        return {name: value for name, value in arguments.items() if name in self.facts.accepted and value is not None}

    def _prompt_arguments(self, task: ImageTask) -> dict[str, Any]:
        """The prompt; for pipelines of SD3 as embeddings from the cache, one for each image."""
        if not self._is_sd3():
            text = self._negative_prompt(task)
            negative = {"negative_prompt": text} if text and "negative_prompt" in self.facts.accepted else {}
            return {"prompt": task.prompt} | negative
        texts = {"": task.prompt} | ({"negative_": self._negative_prompt(task)} if self._guided(task) else {})
        arguments = {}
        for kind, text in texts.items():
            embeds, pooled = self.embed(text, self._loras)
            arguments[f"{kind}prompt_embeds"] = embeds.repeat(task.images, 1, 1)
            arguments[f"{kind}pooled_prompt_embeds"] = pooled.repeat(task.images, 1)
        return arguments

    def encode(self, text: str, loras: tuple[str, ...] = ()) -> tuple[Any, Any]:
        """Embeddings of a text under the LoRAs in use, which are named to tell cached ones apart."""
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
        return self.facts.guidance if task.guidance is None else task.guidance

    def _guided(self, task: ImageTask) -> bool:
        """Whether a denoising step looks at the negative prompt, too."""
        return (self._guidance(task) or 0) > 1

    def _sequence_length(self) -> int:
        default = 0 if self.pipeline.text_encoder_3 is None else 256
        return default if self._settings.max_sequence_length is None else self._settings.max_sequence_length

    def _is_sd3(self) -> bool:
        return type(self.pipeline).__name__ == "StableDiffusion3Pipeline"

    def free(self, keep_cache: bool) -> None:
        """Leave nothing of an image that failed on the device."""
        self.pipeline.maybe_free_model_hooks()
        if not keep_cache:
            self.embed.cache_clear()
            self._memory.free()


def flow_match_sigmas(scheduler: Any, denoising_steps: int) -> list[float] | None:
    """Noise levels at which the N steps start: 1, (N - 1)/N, ..., 1/N; None for other noise schedules than flow match.

    The schedule's own default ends at its least noise level instead, so that the last of N steps does nearly nothing.
    """
    if type(scheduler).__name__ != "FlowMatchEulerDiscreteScheduler":
        return None
    return [1.0 - step / denoising_steps for step in range(denoising_steps)]


def _png(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _safety_check(output: Any) -> str:
    """What the pipeline's safety checker said; ``none``, ``passed`` or ``blanked`` (one of the images, at least)."""
    flags = getattr(output, "nsfw_content_detected", None) or getattr(output, "nsfw_detected", None)
    if not flags:
        return "none"
    return "blanked" if any(flags) else "passed"

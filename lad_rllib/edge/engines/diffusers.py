"""A real engine: any text-to-image pipelines of diffusers, one request at a time, several models in turn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lad_rllib.edge.engines.device import DeviceMemory, find_device
from lad_rllib.edge.engines.diffusers_settings import DiffusersSettings
from lad_rllib.edge.engines.engine import EngineDescription, EngineOutput, StepCallback
from lad_rllib.edge.engines.loaded_pipeline import LoadedPipeline, PipelineFacts
from lad_rllib.edge.engines.loras import check_loras_can_be_loaded
from lad_rllib.edge.engines.memory import memory_profile as find_memory_profile
from lad_rllib.edge.engines.pipeline import load_pipeline
from lad_rllib.edge.engines.residency import check_has
from lad_rllib.edge.errors import DeviceBroken, EdgeError, InvalidRequest, OutOfMemory, one_line
from lad_rllib.edge.failures import failure_kind
from lad_rllib.edge.task import ImageTask

WARM_UP_STEPS = (2, 4, 8, 20)
"""Steps that a warm-up tries after the minimum of the noise schedule."""


class DiffusersEngine:
    """Generates images with diffusers pipelines: one, or several of which the ones used last stay in memory.

    The same prompt, seed, steps, size, guidance and LoRAs give the same image in every process with the same model,
    dtype and kind of device: each image has a generator of its own, on the CPU. Several images of one task are drawn
    together; each is the one drawn alone, up to the rounding of larger matrix products.

    Args:
        model: Folder of a pipeline, a name of the Hugging Face hub, or one of ``models``; None: the first of these.
        embedding_cache_size: Prompts whose embeddings are kept for each model (SD3 pipelines).
        settings: Further fields of :class:`~lad_rllib.edge.engines.diffusers_settings.DiffusersSettings`.

    Raises:
        ConfigurationError: for an unknown or impossible memory profile, dtype or device, or for LoRAs without the
            package ``peft``, before anything is loaded.
    """

    time_scale = 1.0

    def __init__(self, model: str | Path | None = None, *, embedding_cache_size: int = 64, **settings: Any) -> None:
        named: dict[str, Any] = {} if model is None else {"model": str(model)}
        self.settings = DiffusersSettings(**named, **settings)
        self.device = find_device(self.settings.device)
        self.memory_profile = find_memory_profile(self.settings.memory_profile, self.device)
        check_loras_can_be_loaded(self.settings.loras)
        default_dtype = "float16" if self.device.startswith("cuda") else "float32"
        self.dtype = default_dtype if self.settings.dtype == "auto" else self.settings.dtype
        self.residency = self.settings.empty()
        self._embedding_cache_size = embedding_cache_size
        self._memory = DeviceMemory(self.device)
        self._facts: dict[str, PipelineFacts] = {}
        self._loaded: dict[str, LoadedPipeline] = {}

    @property
    def current(self) -> LoadedPipeline:
        """The model used last."""
        return self._loaded[self.residency.models[-1][0]]

    @property
    def pipeline(self) -> Any:
        """The diffusers pipeline used last."""
        return self.current.pipeline

    def load(self) -> None:
        """Load the first model and lay it out.

        Raises:
            ModelLoadFailed: one line that says why.
        """
        self._bring_in(self.settings.model, ())

    def _bring_in(self, model: str, loras: Sequence[str]) -> LoadedPipeline:
        """Have a model and LoRAs in memory, and draw with them; what was used least recently makes room.

        Raises:
            ModelLoadFailed: if the model cannot be loaded; the server goes on with its others.
            InvalidRequest: if a LoRA cannot be.
        """
        residency, swap = self.residency.use(model, loras)
        for evicted in swap.evicts:
            del self._loaded[evicted]
        self.residency = self.residency.without(*swap.evicts)
        if swap.evicts:
            self._memory.free()
        if swap.loads_model:
            self._loaded[model] = self._load(model)
            self.residency = self.residency.use(model)[0]
        self._loaded[model].change_loras(swap)
        self._loaded[model].use(loras)
        self.residency = residency
        return self._loaded[model]

    def _load(self, model: str) -> LoadedPipeline:
        import torch

        path = self.settings.paths[model]
        pipeline = load_pipeline(path, self.memory_profile, self.device, getattr(torch, self.dtype))
        loaded = LoadedPipeline(model, pipeline, self.settings, self.dtype, self._memory, self._embedding_cache_size)
        self._facts[model] = loaded.facts
        return loaded

    def warm_up(self, sizes: Sequence[tuple[int, int]] | None = None) -> None:
        """Generate one image per size (width, height) with as few steps as work; None: the model's own size.

        One step is enough for most noise schedules. Others have no plan for it, or divide by zero on the way.

        Raises:
            EdgeError: if no number of steps works.
        """
        for width, height in sizes if sizes is not None else [(None, None)]:
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
        """Refuse an unknown model or LoRA, and (known once a model was loaded) what the model cannot make."""
        check_has("model", self.settings.paths, [task.model] if task.model else [])
        if task.loras and not self.settings.loras:
            raise InvalidRequest("this server has no LoRAs; ask for none")
        check_has("LoRA", self.settings.loras, task.loras)
        facts = self._facts.get(task.model or self.settings.model)
        if facts is not None:
            facts.check(task)

    def generate(self, task: ImageTask, on_step: StepCallback) -> EngineOutput:
        """Make the images of a task that ``check`` accepts; after running out of memory, once more with empty caches.

        Raises:
            ModelLoadFailed: if the task's model cannot be loaded.
            InvalidRequest: if a LoRA does not fit the model, or the model, once loaded, cannot make what is asked.
            OutOfMemory: if the second attempt does not fit either.
            NonFiniteImage: if the model's values overflow; no picture is made of them.
            DeviceBroken: if the process has lost its device.
            EdgeError: what ``on_step`` raises.
        """
        begin_s = time.perf_counter()
        before = self.residency
        model = self._bring_in(task.model or self.settings.model, task.loras)
        swap_s = time.perf_counter() - begin_s
        model.facts.check(task)
        if before.use(model.model, task.loras)[1]:
            on_step(0)
        for attempt in (1, 2):
            try:
                return replace(model.draw(task, on_step, attempt), swap_s=swap_s)
            except EdgeError:
                model.free(keep_cache=True)
                raise
            except Exception as error:
                kind, reason = failure_kind(error), one_line(error)
                if kind is DeviceBroken or (kind is None and self._memory.is_broken()):
                    raise DeviceBroken(f"{self.device} is lost to this process, start it again: {reason}") from error
                model.free(keep_cache=kind is not OutOfMemory)
                if kind is not OutOfMemory:
                    raise
        width, height = task.width or model.facts.width, task.height or model.facts.height
        raise OutOfMemory(f"{width}x{height} does not fit into the memory of {self.device}, ask for less: {reason}")

    def describe(self, model: str | None = None) -> EngineDescription:
        """Model, device, number format, memory profile, default size (None before the model was loaded), residency."""
        model = model or self.settings.model
        facts = self._facts.get(model)
        guidance = self.settings.guidance if facts is None else facts.guidance
        return EngineDescription(
            kind="diffusers",
            model=model,
            device=self.device,
            dtype=self.dtype,
            memory_profile=self.memory_profile.name,
            width=self.settings.width if facts is None else facts.width,
            height=self.settings.height if facts is None else facts.height,
            guided=guidance is None or guidance > 1,
            min_steps=1 if facts is None else facts.schedule.min_steps(),
            models=tuple(self.settings.paths),
            residency=self.residency,
            can_suspend=self.memory_profile.name != "model_offload",  # each image would unload the other's networks
        )

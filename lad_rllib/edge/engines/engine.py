"""What an edge server needs from whatever makes its images: the one interface of emulated and real engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from lad_rllib.edge.errors import GenerationFailed
from lad_rllib.edge.fit import DelayFit
from lad_rllib.edge.task import MAX_TRANSFER_MBIT, ImageTask

StepCallback = Callable[[int], None]
"""Called with the number of denoising steps done, after each of them; after each call of the denoiser where a schedule
makes several for a step, so that a number may come twice. Never more than asked. What it raises stops the image."""


SAFETY_CHECKS = ("none", "passed", "blanked")
"""What the model's safety checker said: there is none, the image passed, or it was replaced by a blank one."""


@dataclass(frozen=True)
class EngineOutput:
    """One image and how long its parts took.

    Attributes:
        png: The image as a PNG file, or None.
        image_mbit: Size of the image that travels back to the user [Mbit].
        width: Width [pixel].
        height: Height [pixel].
        steps_done: Denoising steps done.
        dtype: Number format of the computation.
        encode_s: Prompt to embeddings [s].
        denoise_s: All denoising steps [s].
        decode_s: Latent image to pixels [s].
        png_s: Pixels to a PNG file [s].
        peak_memory_mib: Most memory in use [MiB], or None.
        attempt: Attempt that succeeded, from 1.
        denoiser_calls: Calls of the denoiser; some noise schedules make more than the steps asked for.
        prompt_tokens_cut: Tokens of the prompt beyond the limit of a text encoder, which the image knows nothing of;
            the most of any encoder.
        prompt_cut_by: The encoders that cut it, separated by spaces.
        negative_prompt_tokens_cut: Tokens of the server's negative prompt that were cut; 0 where the guidance
            makes no use of it.
        negative_prompt_cut_by: The encoders that cut it.
        safety_check: One of :data:`SAFETY_CHECKS`.

    Raises:
        GenerationFailed: for an image larger than 80000 Mbit, which no link ends to send.
    """

    png: bytes | None
    image_mbit: float
    width: int
    height: int
    steps_done: int
    dtype: str
    encode_s: float
    denoise_s: float
    decode_s: float
    png_s: float
    peak_memory_mib: float | None = None
    attempt: int = 1
    denoiser_calls: int = 0
    prompt_tokens_cut: int = 0
    prompt_cut_by: str = ""
    negative_prompt_tokens_cut: int = 0
    negative_prompt_cut_by: str = ""
    safety_check: str = "none"

    def __post_init__(self) -> None:
        if not 0 <= self.image_mbit <= MAX_TRANSFER_MBIT:
            raise GenerationFailed(f"image_mbit must be 0 to {MAX_TRANSFER_MBIT:g}, the engine says {self.image_mbit}")


@dataclass(frozen=True)
class EngineDescription:
    """What a dispatcher or a user may want to know about an engine.

    Attributes:
        kind: ``emulated`` or ``diffusers``.
        model: Image model or emulated device.
        device: Where it computes.
        dtype: Number format of the computation.
        memory_profile: How the model is laid out in memory.
        width: Width of an image if the task names none [pixel]; None before a model that decides it is loaded.
        height: Height likewise.
        expected: Computing delay before anything is measured, or None.
        note: Where the numbers come from, for people.
        least_steps: Fewest denoising steps of an image.
    """

    kind: str
    model: str
    device: str
    dtype: str
    memory_profile: str
    width: int | None
    height: int | None
    expected: DelayFit | None = None
    note: str = ""
    least_steps: int = 1


@runtime_checkable
class Engine(Protocol):
    """Makes images, one at a time, always from the same thread.

    An engine raises :class:`~lad_rllib.edge.errors.EdgeError` where one of its names fits; the server calls anything
    else :class:`~lad_rllib.edge.errors.GenerationFailed` (or ``ModelLoadFailed`` while loading).
    """

    time_scale: float
    """Wall seconds per second of the engine; 1 for a real one."""

    def load(self) -> None:
        """Make ready to generate. Called once, before anything else but ``describe`` and ``check``."""
        ...

    def warm_up(self, sizes: Sequence[tuple[int, int]] | None = None) -> None:
        """Run each size (width, height) once, so that the first user does not pay for it; None: the default size."""
        ...

    def check(self, task: ImageTask) -> None:
        """Raise ``InvalidRequest`` if this engine cannot serve the task; may know less before ``load``."""
        ...

    def generate(self, task: ImageTask, on_step: StepCallback) -> EngineOutput:
        """Make the task's image; ``on_step`` is called after each denoising step."""
        ...

    def describe(self) -> EngineDescription:
        """What this engine is. Cheap, and callable while an image is generated."""
        ...

"""The interface that makes an edge server's images: emulated and real engines have it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from lad_rllib.edge.errors import GenerationFailed
from lad_rllib.edge.fit import DelayFit
from lad_rllib.edge.record import ImageRecord
from lad_rllib.edge.task import MAX_TRANSFER_MBIT, ImageTask

StepCallback = Callable[[int], None]
"""Called with the number of denoising steps done, after each of them; after each call of the denoiser where a schedule
makes several for a step, so that a number may come twice. Never more than asked. What it raises stops the image."""


@dataclass(frozen=True, kw_only=True)
class EngineOutput(ImageRecord):
    """One image with its record: size, model run and how long its parts took.

    Attributes:
        png: The image as a PNG file, or None.
        image_mbit: Size of the image that travels back to the user [Mbit].

    Raises:
        GenerationFailed: for an image larger than 80000 Mbit, which no link ends to send.
    """

    png: bytes | None
    image_mbit: float

    def __post_init__(self) -> None:
        if not 0 <= self.image_mbit <= MAX_TRANSFER_MBIT:
            raise GenerationFailed(f"image_mbit must be 0 to {MAX_TRANSFER_MBIT:g}, the engine says {self.image_mbit}")

    def record(self) -> dict[str, Any]:
        """The fields of the image's :class:`~lad_rllib.edge.record.ImageRecord`."""
        return {name: getattr(self, name) for name in ImageRecord.__annotations__}


@dataclass(frozen=True)
class EngineDescription:
    """What an engine is, for dispatchers and users.

    Attributes:
        kind: ``emulated`` or ``diffusers``.
        model: Image model or emulated device.
        device: Where it computes.
        dtype: Number format of the computation.
        memory_profile: How the model is laid out in memory.
        width: Width of an image if the task names none [pixel]; None before a model that decides it is loaded.
        height: Height if the task names none [pixel]; None before a model that decides it is loaded.
        expected: Computing delay before anything is measured, or None.
        note: Where the numbers come from, for people.
        min_steps: Fewest denoising steps of an image.
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
    min_steps: int = 1


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
        """Make the image of a task that ``check`` accepts; ``on_step`` is called after each denoising step."""
        ...

    def describe(self) -> EngineDescription:
        """What this engine is. Cheap, and callable while an image is generated."""
        ...

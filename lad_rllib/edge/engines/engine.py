"""The interface that makes an edge server's images: emulated and real engines have it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from lad_rllib.edge.engines.residency import Residency
from lad_rllib.edge.errors import GenerationFailed
from lad_rllib.edge.fit import ImageKind
from lad_rllib.edge.record import ImageRecord
from lad_rllib.edge.task import MAX_TRANSFER_MBIT, ImageTask
from lad_rllib.simulator.requests import ServiceModel

StepCallback = Callable[[int], float | None]
"""Called with the number of denoising steps done, after each of them; after each call of the denoiser where a schedule
makes several for a step, so that a number may come twice. Never more than asked. First with 0 where a model or LoRAs
had to be brought into memory, once they are there. What it raises stops the image. It returns for how long the image
was suspended for others [s, engine's clock], which is no part of its delay; None: it was not."""


@dataclass(frozen=True, kw_only=True)
class EngineOutput(ImageRecord):
    """The images of a task with their record: size, model run and how long their parts took.

    Attributes:
        png: The image as a PNG file, or None.
        more_pngs: Further images of the task.
        image_mbit: Size of all images, which travel back to the user [Mbit].

    Raises:
        GenerationFailed: for images larger than 80000 Mbit, which no link ends to send.
    """

    png: bytes | None
    more_pngs: tuple[bytes, ...] = ()
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
        kind: ``emulated``, ``diffusers`` or ``http``.
        model: Image model or emulated device; of several models the first.
        device: Where it computes.
        dtype: Number format of the computation.
        memory_profile: How the model is laid out in memory.
        width: Width of an image if the task names none [pixel]; None before a model that decides it is loaded.
        height: Height if the task names none [pixel]; None before a model that decides it is loaded.
        service: Computing delay before anything is measured, or None.
        swap_s: Time to bring another model into memory before anything is measured [s].
        lora_swap_s: The same for a LoRA [s].
        guided: Whether tasks that name no guidance are drawn with guidance.
        note: Where the numbers come from, for people.
        min_steps: Fewest denoising steps of an image.
        models: Names of models that tasks may ask for; empty: it does not choose between models.
        residency: Models and LoRAs in memory; None: it does not choose between models.
        can_suspend: Whether ``generate`` may be called for another task by a step's callback.
        foreign_requests: Requests of other clients that an engine shared with them had when it last told; None: it is
            not shared, or does not tell.
    """

    kind: str
    model: str
    device: str
    dtype: str
    memory_profile: str
    width: int | None
    height: int | None
    service: ServiceModel | None = None
    swap_s: float = 0.0
    lora_swap_s: float = 0.0
    guided: bool = True
    note: str = ""
    min_steps: int = 1
    models: tuple[str, ...] = ()
    residency: Residency | None = None
    can_suspend: bool = False
    foreign_requests: int | None = None

    def kind_of(self, task: ImageTask) -> ImageKind:
        """What a task's time depends on besides its steps; sides are 0 where even the engine knows none yet."""
        return ImageKind(
            width=task.width or self.width or 0,
            height=task.height or self.height or 0,
            model=task.model or self.model,
            guided=self.guided if task.guidance is None else task.guidance > 1,
            images=task.images,
            has_loras=bool(task.loras),
        )


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
        """Make the images of a task that ``check`` accepts; ``on_step`` is called after each denoising step."""
        ...

    def describe(self, model: str | None = None) -> EngineDescription:
        """What this engine is, to tasks that name ``model``. Cheap, and callable while an image is generated.

        An engine with one model need not take the argument: it is left out where no model is named.
        """
        ...

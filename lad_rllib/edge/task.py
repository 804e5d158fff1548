"""What an edge server is asked for: images from one prompt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

from lad_rllib.declared import shown
from lad_rllib.edge.errors import InvalidRequest

MAX_DENOISING_STEPS = 1000
"""More steps than any image model was trained with."""

MAX_SIDE = 16384
"""Longest side of an image [pixel]: four times what the largest image models draw."""

MAX_TRANSFER_MBIT = 80_000.0
"""Largest request or image [Mbit]: 10 GB."""

MAX_GUIDANCE = 1000.0
"""Largest guidance scale; models are used with 1 to 20, and far larger ones overflow."""

MAX_IMAGES = 64
"""Most images of one request."""

MAX_PRIORITY = 1000
"""Greatest priority, and minus the least."""

MAX_LORAS = 32
"""Most LoRAs of one request."""

MAX_DEADLINE_S = 1e9
"""Longest deadline [s]: 30 years."""

SIZE_MULTIPLE = 8
"""Image sides are multiples of this many pixels: every latent image model reduces by at least as much."""

REQUEST_OVERHEAD_BYTES = 2048
"""Bytes of a request beside its prompt, as in the rules for recorded requests (docs/reference/request-log.md)."""

_NUMBERS = (
    "priority",
    "denoising_steps",
    "width",
    "height",
    "seed",
    "guidance",
    "deadline_s",
    "station",
    "input_mbit",
    "images",
)
"""Fields that may be NumPy's numbers, which are turned into Python's."""


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and half_character(value) is None


def half_character(text: object) -> int | None:
    r"""Position of the first lone surrogate of a text, which no encoding can write; None if there is none.

    JSON makes one of a text that was cut inside an emoji.

    >>> half_character("a cat \ud83d"), half_character("a cat")
    (6, None)
    """
    try:
        if isinstance(text, str):
            text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None


@dataclass(frozen=True)
class ImageTask:
    """One text-to-image request (an AIGC task).

    Attributes:
        task_id: Name of the task, unique on a server while it is there.
        prompt: What to draw.
        denoising_steps: Denoising steps of the image model ``z`` (the quality demand), 1 to 1000.
        width: Width [pixel], a multiple of 8 up to 16384; None takes the server's.
        height: Height [pixel]; the same.
        seed: The same seed, prompt, size and steps give the same image on every server with the same model and dtype.
        guidance: Guidance scale, 0 to 1000; None takes the server's. Above 1 a denoising step costs twice as much.
        deadline_s: Seconds after submission after which the image is useless, up to 1e9; None: no deadline.
        station: Base station at which the task arrived.
        input_mbit: Size of the request ``d`` [Mbit], up to 80000; None: the prompt in UTF-8 and 2048 bytes.
        images: Images to draw at once, 1 to 64, with the seeds ``seed``, ``seed + 1``, ...
        model: Name of the image model; None takes the server's first.
        loras: Names of the LoRAs to draw with, at most 32.
        priority: Priority, -1000 to 1000; greater ones go first where the order of service heeds it.
        tenant: On whose account it is served.
        negative_prompt: What the images should not show; None takes the server's.

    Raises:
        InvalidRequest: for a value that no server can serve.
    """

    task_id: str
    prompt: str
    denoising_steps: int
    width: int | None = None
    height: int | None = None
    seed: int = 0
    guidance: float | None = None
    deadline_s: float | None = None
    station: int = 0
    input_mbit: float | None = None
    images: int = 1
    model: str | None = None
    loras: tuple[str, ...] = ()
    priority: int = 0
    tenant: str = ""
    negative_prompt: str | None = None

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            value = getattr(self, name)
            if isinstance(value, np.generic):
                object.__setattr__(self, name, value.item())
        if not isinstance(self.task_id, str) or not self.task_id:
            raise InvalidRequest(f"task_id must be a non-empty text, got {shown(self.task_id)}")
        for name in ("task_id", "prompt", "negative_prompt"):
            broken = half_character(getattr(self, name))
            if broken is not None:
                self._refuse(f"{name} has half a character at position {broken}; cut texts between characters")
        if not isinstance(self.prompt, str) or not self.prompt.strip():
            self._refuse(f"prompt must be a text that says what to draw, got {shown(self.prompt)}")
        if self.negative_prompt is not None and not isinstance(self.negative_prompt, str):
            self._refuse(f"negative_prompt must be a text, got {shown(self.negative_prompt)}")
        if not _is_whole(self.denoising_steps) or not 1 <= self.denoising_steps <= MAX_DENOISING_STEPS:
            self._refuse(f"denoising_steps must be 1 to {MAX_DENOISING_STEPS}, got {shown(self.denoising_steps)}")
        for name in ("width", "height"):
            side = getattr(self, name)
            if side is not None and not (_is_whole(side) and 0 < side <= MAX_SIDE and side % SIZE_MULTIPLE == 0):
                self._refuse(f"{name} must be a multiple of {SIZE_MULTIPLE} pixels up to {MAX_SIDE}, got {shown(side)}")
        if not _is_whole(self.seed) or not 0 <= self.seed < 2**63:
            self._refuse(f"seed must be a whole number from 0 to 2**63 - 1, got {shown(self.seed)}")
        if not _is_whole(self.station) or self.station < 0:
            self._refuse(f"station must be a whole number of at least 0, got {shown(self.station)}")
        for name, low, high in (("images", 1, MAX_IMAGES), ("priority", -MAX_PRIORITY, MAX_PRIORITY)):
            value = getattr(self, name)
            if not _is_whole(value) or not low <= value <= high:
                self._refuse(f"{name} must be a whole number from {low} to {high}, got {shown(value)}")
        if self.model is not None and not _is_name(self.model):
            self._refuse(f"model must be the name of an image model, got {shown(self.model)}")
        if not isinstance(self.tenant, str) or half_character(self.tenant) is not None:
            self._refuse(f"tenant must be a name, got {shown(self.tenant)}")
        loras = self.loras
        if isinstance(loras, str) or not isinstance(loras, Iterable) or not all(_is_name(one) for one in loras):
            self._refuse(f"loras must be a list of names, got {shown(loras)}")
        object.__setattr__(self, "loras", tuple(loras))
        if len(set(self.loras)) < len(self.loras):
            self._refuse(f"loras must be different names, got {shown(self.loras)}")
        if len(self.loras) > MAX_LORAS:
            self._refuse(f"loras may be at most {MAX_LORAS}, got {len(self.loras)}")
        for name, most in (("guidance", MAX_GUIDANCE), ("input_mbit", MAX_TRANSFER_MBIT)):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and 0 <= value <= most):
                self._refuse(f"{name} must be a number from 0 to {most:g}, got {shown(value)}")
        if self.deadline_s is not None and not (_is_number(self.deadline_s) and 0 < self.deadline_s <= MAX_DEADLINE_S):
            self._refuse(
                f"deadline_s must be a positive number up to {MAX_DEADLINE_S:g} s, got {shown(self.deadline_s)}"
            )

    def _refuse(self, message: str) -> None:
        task_id = self.task_id.encode(errors="backslashreplace").decode()
        raise InvalidRequest(f"{message} (task {task_id})", task_id=task_id)

    @property
    def upload_mbit(self) -> float:
        """Size of the request [Mbit], stated or from the prompt.

        >>> ImageTask("a", "x" * 452, 1).upload_mbit
        0.02
        """
        if self.input_mbit is not None:
            return self.input_mbit
        return (len(self.prompt.encode()) + REQUEST_OVERHEAD_BYTES) * 8 / 1e6

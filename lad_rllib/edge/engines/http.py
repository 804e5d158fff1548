"""An engine that has its images made by an image server which runs already, over HTTP."""

from __future__ import annotations

import asyncio
import io
import os
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from lad_rllib.edge.engines.engine import EngineDescription, EngineOutput, StepCallback
from lad_rllib.edge.engines.http_settings import HttpSettings
from lad_rllib.edge.engines.peers import PEERS, KeyRefused, Peer
from lad_rllib.edge.engines.residency import check_has
from lad_rllib.edge.errors import (
    GenerationFailed,
    InvalidRequest,
    ModelLoadFailed,
    QueueFull,
    ServerUnavailable,
    one_line,
)
from lad_rllib.edge.recovery import PROBE_STEPS
from lad_rllib.edge.task import ImageTask
from lad_rllib.errors import ConfigurationError

if TYPE_CHECKING:
    from httpx import AsyncClient

LOOK_S = 0.1
"""Time between two looks whether a task was cancelled or its deadline has passed [s]."""

DROP_S = 3.0
"""Longest wait until an image server has heard that a task is not wanted any more [s]."""

Got = TypeVar("Got")


class HttpEngine:
    """Passes each task on to an image server, one at a time, and waits for its images.

    A task that is cancelled or past its deadline is dropped there, too. The image server's refusals and failures get
    the names of :mod:`lad_rllib.edge.errors`: down, full, failed or invalid. It is reached directly, by no proxy.

    Args:
        settings: Fields of :class:`~lad_rllib.edge.engines.http_settings.HttpSettings`.

    Raises:
        ConfigurationError: for settings that contradict one another, or a key that is not in the environment.
    """

    time_scale = 1.0

    def __init__(self, **settings: Any) -> None:
        self.settings = HttpSettings(**settings)
        self._headers = {"Authorization": f"Bearer {_key(self.settings.key_env)}"} if self.settings.key_env else {}
        self._peer: Peer = PEERS[self.settings.flavour](self.settings)
        self._verify = ssl.create_default_context() if self.settings.base_url.startswith("https:") else False
        self._model = self.settings.model
        self._size: tuple[int | None, int | None] = (self.settings.width, self.settings.height)
        self._others: int | None = None

    def load(self) -> None:
        """See that the image server answers, and has the model.

        Raises:
            ModelLoadFailed: if it refuses the key, or lists other models.
            ServerUnavailable: if it does not answer.
        """
        try:
            listed = self._run(self._peer.models)
        except KeyRefused as error:
            raise ModelLoadFailed(str(error)) from error
        for model in filter(None, map(self._name_there, [self._model, *self.settings.models])):
            if listed and model not in listed:
                raise ModelLoadFailed(f"{self.settings.base_url} has no model {model}; it lists {', '.join(listed)}")
        if self._model is None and len(listed) == 1:
            self._model = listed[0]

    def warm_up(self, sizes: Sequence[tuple[int, int]] | None = None) -> None:
        """Have an image of each size (width, height) made; None: the default size."""
        for width, height in sizes if sizes is not None else [(None, None)]:
            task = ImageTask("warm-up", "warm-up", PROBE_STEPS, width, height)
            self.check(task)
            self.generate(task, lambda step: None)

    def check(self, task: ImageTask) -> None:
        """Refuse LoRAs, an unknown model, and what the image server cannot be asked."""
        if task.loras:
            raise InvalidRequest("this server passes no LoRAs on; ask for none")
        check_has("model", self.settings.models, [task.model] if task.model else [])
        self._peer.check(task)

    def generate(self, task: ImageTask, on_step: StepCallback) -> EngineOutput:
        """Have the images of a task made; ``on_step`` is called with 0 while they are, and with all steps at the end.

        Raises:
            EdgeError: what the image server answers, by its name, and what ``on_step`` raises.
        """
        begin_s = time.perf_counter()
        files = self._run(lambda client: self._draw(client, self._asked(task), on_step))
        drawn_s = time.perf_counter()
        if len(files) != task.images:
            raise GenerationFailed(f"{self.settings.base_url} made {len(files)} images, {task.images} were asked for")
        pngs, sizes = zip(*map(_as_png, files), strict=True)
        width, height = sizes[0]
        if task.width is None and task.height is None:
            self._size = (width, height)
        on_step(task.denoising_steps)
        return EngineOutput(
            png=pngs[0],
            more_pngs=tuple(pngs[1:]),
            image_mbit=sum(map(len, pngs)) * 8 / 1e6,
            model=task.model or self.describe().model,
            images=task.images,
            width=width,
            height=height,
            steps_done=task.denoising_steps,
            dtype="unknown",
            denoise_s=drawn_s - begin_s,
            png_s=time.perf_counter() - drawn_s,
        )

    def _asked(self, task: ImageTask) -> dict[str, Any]:
        """What a task asks for, by the names of placeholders."""
        settings = self.settings
        return {
            "prompt": task.prompt,
            "negative_prompt": settings.negative_prompt if task.negative_prompt is None else task.negative_prompt,
            "steps": task.denoising_steps,
            "seed": task.seed,
            "width": task.width or settings.width,
            "height": task.height or settings.height,
            "guidance": settings.guidance if task.guidance is None else task.guidance,
            "images": task.images,
            "model": self._name_there(task.model or settings.model),
        }

    def _name_there(self, model: str | None) -> str | None:
        """What the image server calls a model."""
        return None if model is None else self.settings.models.get(model, model)

    async def _draw(self, client: AsyncClient, asked: dict[str, Any], on_step: StepCallback) -> list[bytes]:
        """The files of the images; sees every 0.1 s whether they are still wanted."""
        self._others, limit = await self._peer.others(client), self.settings.max_foreign
        if limit is not None and self._others is not None and self._others >= limit:
            raise QueueFull(f"{self.settings.base_url} has {self._others} requests of others, the limit is {limit}")
        drawing = asyncio.create_task(_within(self.settings.timeout_s, self._peer.draw(client, asked)))
        try:
            while not (await asyncio.wait({drawing}, timeout=LOOK_S))[0]:
                on_step(0)
        finally:
            if not drawing.done():
                drawing.cancel()
                await asyncio.wait({drawing}, timeout=DROP_S)
        return drawing.result()

    def _run(self, question: Callable[[AsyncClient], Coroutine[Any, Any, Got]]) -> Got:
        """What the image server answers.

        Raises:
            ServerUnavailable: if it does not, or not in time.
        """
        import httpx

        async def answer() -> Got:
            timeout = httpx.Timeout(None, connect=self.settings.connect_timeout_s)
            async with httpx.AsyncClient(
                base_url=self.settings.base_url,
                headers=self._headers,
                timeout=timeout,
                verify=self._verify,
                trust_env=False,
            ) as client:
                return await question(client)

        try:
            return asyncio.run(answer())
        except (httpx.TransportError, TimeoutError) as error:
            raise ServerUnavailable(f"{self.settings.base_url} does not answer ({one_line(error)})") from error

    def describe(self, model: str | None = None) -> EngineDescription:
        """Where the image server is, its model, and the requests of others that it had when it last told."""
        settings, (width, height) = self.settings, self._size
        return EngineDescription(
            kind="http",
            model=model or self._model or settings.flavour,
            device=settings.base_url,
            dtype="unknown",
            memory_profile="none",
            width=width,
            height=height,
            guided=settings.guidance is None or settings.guidance > 1,
            note=f"asked as {settings.flavour}",
            models=tuple(settings.models),
            foreign_requests=self._others,
        )


async def _within(timeout_s: float, drawing: Awaitable[list[bytes]]) -> list[bytes]:
    async with asyncio.timeout(timeout_s):
        return await drawing


def _key(variable: str) -> str:
    """The key that an environment variable holds."""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigurationError(f"key_env names {variable}, which is not in the environment; set it to the key")
    return key


def _as_png(file: bytes) -> tuple[bytes, tuple[int, int]]:
    """An image as a PNG file, and its width and height."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(file)) as image:
            if image.format == "PNG":
                return file, image.size
            buffer = io.BytesIO()
            image.convert("RGB").save(buffer, "PNG")
            return buffer.getvalue(), image.size
    except Exception as error:  # Pillow raises many kinds
        raise GenerationFailed(f"the image server sent no image that can be read ({one_line(error)})") from error

"""Image servers that run already, and how each kind of them is asked: OpenAI's Images API, and ComfyUI's queue.

Both follow the documented behaviour of these servers (vLLM-Omni, SGLang and LocalAI; ComfyUI's routes ``/prompt``,
``/queue``, ``/history``, ``/view`` and ``/interrupt``).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urljoin, urlsplit

from lad_rllib.edge.engines.http_settings import HttpSettings
from lad_rllib.edge.engines.workflow import Workflow
from lad_rllib.edge.errors import (
    EdgeError,
    GenerationFailed,
    InvalidRequest,
    OutOfMemory,
    QueueFull,
    ServerUnavailable,
    one_line,
)
from lad_rllib.edge.failures import is_out_of_memory
from lad_rllib.edge.task import ImageTask

if TYPE_CHECKING:
    from httpx import AsyncClient

MAX_ANSWER_BYTES = 256 * 2**20
"""Longest answer that is read."""

POLL_S = 0.2
"""Time between two looks at ComfyUI's history [s]."""

_METRIC = re.compile(rb"^\S*num_requests_(?:running|waiting)(?:\{.*\})? +([0-9.eE+]+)", re.MULTILINE)
_INVALID = (400, 404, 405, 413, 415, 422)
_REFUSED_KEY = (401, 403)
_UNAVAILABLE = (502, 503, 504, 529)


class KeyRefused(ServerUnavailable):
    """The image server lets nobody in with this key."""


@dataclass(frozen=True)
class Answer:
    """An answer whose body was read.

    Attributes:
        status: HTTP status.
        body: The body.
    """

    status: int
    body: bytes

    def content(self) -> Any:
        """The body's JSON, if the status says that all is well.

        Raises:
            EdgeError: by its status.
        """
        if self.status >= 300:
            raise self.error()
        try:
            return json.loads(self.body)
        except ValueError:
            raise GenerationFailed("the image server answered no JSON") from None

    def error(self) -> EdgeError:
        """What a status other than 2xx means."""
        said = f"the image server answered {self.status}: {self._message()}"
        if self.status == 429:
            return QueueFull(said)
        if self.status in _REFUSED_KEY:
            return KeyRefused(f"{said}; see that key_env names the right key")
        if self.status in _UNAVAILABLE:
            return ServerUnavailable(said)
        if self.status in _INVALID:
            return InvalidRequest(said)
        return _failed(said)

    def _message(self) -> str:
        """What the body says, in one line."""
        text = self.body[:2000].decode(errors="replace")
        with contextlib.suppress(ValueError):
            found = json.loads(self.body)
            for key in ("error", "message", "detail"):
                found = found.get(key, found) if isinstance(found, Mapping) else found
            text = found if isinstance(found, str) else json.dumps(found)
        return " ".join(text.split())[:200] or "nothing"


async def ask(client: AsyncClient, method: str, path: str, **request: Any) -> Answer:
    """Send a request and read the answer, at most :data:`MAX_ANSWER_BYTES` of it."""
    async with client.stream(method, path, **request) as response:
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > MAX_ANSWER_BYTES:
                raise GenerationFailed(f"the image server answered more than {MAX_ANSWER_BYTES:,} bytes")
        return Answer(response.status_code, bytes(body))


class Peer(Protocol):
    """An image server; its methods are called with a client of its address."""

    def check(self, task: ImageTask) -> None:
        """Raise ``InvalidRequest`` for what it cannot be asked."""
        ...

    async def models(self, client: AsyncClient) -> list[str]:
        """Names of its models as it lists them; raises if it does not answer."""
        ...

    async def others(self, client: AsyncClient) -> int | None:
        """Requests that it has; None if it does not tell."""
        ...

    async def draw(self, client: AsyncClient, asked: Mapping[str, Any]) -> list[bytes]:
        """Have it draw, and return the files of the images; drops the request where the wait is cancelled.

        Args:
            client: A client of its address.
            asked: Values by the names of :data:`~lad_rllib.edge.engines.workflow.PLACEHOLDERS`; None: its own.
        """
        ...


class OpenAIPeer:
    """A server with OpenAI's Images API and the usual further fields.

    Such a server tells nothing before the images are there, and drops a request whose connection is closed.

    Args:
        settings: Where it is, and what it calls things.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings

    def check(self, task: ImageTask) -> None:
        """See :class:`Peer`."""
        sides = (task.width or self._settings.width, task.height or self._settings.height)
        if sides.count(None) == 1:
            raise InvalidRequest("this server has no size of its own; ask for width and height, or for neither")

    async def models(self, client: AsyncClient) -> list[str]:
        """See :class:`Peer`."""
        answer = await ask(client, "GET", "/v1/models", timeout=self._settings.answer_timeout_s)
        if answer.status == 404:  # it lists none
            return []
        with contextlib.suppress(TypeError, KeyError):
            return [str(one["id"]) for one in answer.content()["data"]]
        return []

    async def others(self, client: AsyncClient) -> int | None:
        """See :class:`Peer`."""
        if self._settings.metrics_path is None:
            return None
        answer = await ask(client, "GET", self._settings.metrics_path, timeout=self._settings.answer_timeout_s)
        found = _METRIC.findall(answer.body) if answer.status < 300 else []
        return round(sum(map(float, found))) if found else None

    async def draw(self, client: AsyncClient, asked: Mapping[str, Any]) -> list[bytes]:
        """See :class:`Peer`."""
        size = None if asked["width"] is None else f"{asked['width']}x{asked['height']}"
        body = {
            "prompt": asked["prompt"],
            "model": asked["model"],
            "n": asked["images"],
            "size": size,
            "seed": asked["seed"],
            "response_format": "b64_json",
            "guidance_scale": asked["guidance"],
            "negative_prompt": asked["negative_prompt"] or None,
            self._settings.steps_key: asked["steps"],
        }
        body = {key: value for key, value in body.items() if value is not None}
        content = (await ask(client, "POST", "/v1/images/generations", json=body)).content()
        data = content.get("data") if isinstance(content, Mapping) else None
        if not isinstance(data, list):
            raise GenerationFailed("the image server's answer has no data")
        return [await self._image(client, one) for one in data]

    async def _image(self, client: AsyncClient, one: Any) -> bytes:
        """An image from its base64, or from its address at the same server."""
        one = one if isinstance(one, Mapping) else {}
        if isinstance(one.get("b64_json"), str):
            try:
                return base64.b64decode(one["b64_json"])
            except binascii.Error:
                raise GenerationFailed("the image server's b64_json is not base64") from None
        url = urljoin(f"{self._settings.base_url}/", str(one.get("url", "")))
        if not one.get("url") or urlsplit(url)[:2] != urlsplit(self._settings.base_url)[:2]:
            raise GenerationFailed("the image server gave an image neither as b64_json nor at an address of its own")
        answer = await ask(client, "GET", url)
        if answer.status >= 300:
            raise answer.error()
        return answer.body


class ComfyUIPeer:
    """A ComfyUI: prompts wait in its queue, and images are fetched once its history has them.

    Args:
        settings: Where it is, and its workflow.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self._answer_s = settings.answer_timeout_s
        self.workflow = Workflow(settings.workflow or {})

    def check(self, task: ImageTask) -> None:
        """See :class:`Peer`."""
        self.workflow.check(task)

    async def models(self, client: AsyncClient) -> list[str]:
        """See :class:`Peer`; which models there are is the workflow's business."""
        answer = await ask(client, "GET", "/system_stats", timeout=self._answer_s)
        if answer.status >= 300:
            raise answer.error()
        return []

    async def others(self, client: AsyncClient) -> int | None:
        """See :class:`Peer`."""
        running, pending = await self._queue(client)
        return len(running) + len(pending)

    async def _queue(self, client: AsyncClient) -> tuple[list[str], list[str]]:
        """Ids of prompts that run, and of those that wait."""
        content = (await ask(client, "GET", "/queue", timeout=self._answer_s)).content()
        try:
            running, pending = ([str(one[1]) for one in content[f"queue_{key}"]] for key in ("running", "pending"))
        except (TypeError, KeyError, IndexError):
            raise GenerationFailed("the image server's /queue is not ComfyUI's") from None
        return running, pending

    async def draw(self, client: AsyncClient, asked: Mapping[str, Any]) -> list[bytes]:
        """See :class:`Peer`."""
        graph = self.workflow.filled(asked)
        answer = await ask(client, "POST", "/prompt", json={"prompt": graph}, timeout=self._answer_s)
        content = answer.content()
        if not isinstance(content, Mapping) or not isinstance(content.get("prompt_id"), str):
            raise GenerationFailed("the image server's /prompt gave no prompt_id")
        prompt_id = content["prompt_id"]
        try:
            outputs = await self._outputs(client, prompt_id)
        except asyncio.CancelledError:
            await self._drop(client, prompt_id)
            raise
        images = [one for node in outputs.values() for one in node.get("images", []) if one.get("type") == "output"]
        files = []
        for image in images:
            where = {key: image.get(key, "") for key in ("filename", "subfolder", "type")}
            answer = await ask(client, "GET", "/view", params=where)
            if answer.status >= 300:
                raise answer.error()
            files.append(answer.body)
        return files

    async def _outputs(self, client: AsyncClient, prompt_id: str) -> dict[str, Any]:
        """What the nodes of a prompt gave, once they have."""
        missed = 0
        while missed < 3:  # between queue and history a prompt may be in neither
            content = (await ask(client, "GET", f"/history/{prompt_id}", timeout=self._answer_s)).content()
            if prompt_id in content:
                return _outputs(content[prompt_id])
            running, pending = await self._queue(client)
            missed = 0 if prompt_id in (*running, *pending) else missed + 1
            await asyncio.sleep(POLL_S)
        raise ServerUnavailable("the image server has lost the prompt; it was started again, or its queue cleared")

    async def _drop(self, client: AsyncClient, prompt_id: str) -> None:
        """Take a prompt out of the queue, or interrupt it."""
        with contextlib.suppress(Exception):  # nobody waits for it
            await ask(client, "POST", "/queue", json={"delete": [prompt_id]}, timeout=self._answer_s)
            if prompt_id in (await self._queue(client))[0]:
                await ask(client, "POST", "/interrupt", json={"prompt_id": prompt_id}, timeout=self._answer_s)


def _outputs(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs of a prompt's entry in the history.

    Raises:
        EdgeError: if it failed.
    """
    status = entry.get("status") or {}
    if status.get("status_str") != "error":
        return dict(entry.get("outputs", {}))
    said = dict(one for one in status.get("messages", []) if len(one) == 2)
    failure = said.get("execution_error")
    if failure is None:
        raise GenerationFailed("the prompt was interrupted at the image server")
    cause = RuntimeError(f"{failure.get('exception_type', '')}: {failure.get('exception_message', '')}")
    raise _failed(f"the image server failed: {one_line(cause).partition(': ')[2]}")


def _failed(said: str) -> EdgeError:
    """A failure over there; a device that is lost to another process is no reason to start this one again."""
    return OutOfMemory(said) if is_out_of_memory(RuntimeError(said)) else GenerationFailed(said)


PEERS: dict[str, type[OpenAIPeer] | type[ComfyUIPeer]] = {"openai": OpenAIPeer, "comfyui": ComfyUIPeer}
"""How each flavour is asked."""

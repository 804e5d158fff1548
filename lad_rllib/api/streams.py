"""Answers that come in events, and clients that leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lad_rllib.api.feed import Watch

Answer = TypeVar("Answer")

KEEP_ALIVE_S = 10.0
"""Silence after which a stream sends a comment, so that nothing between takes it for dead [s]."""


class ClientGone(Exception):
    """The client has left before its answer was there."""


async def disconnected(receive: Receive) -> None:
    """Return when the client has left; its request was read before."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def while_connected(request: Request, work: Awaitable[Answer]) -> Answer:
    """What some work comes to, unless the client leaves before; then the work is cancelled.

    Raises:
        ClientGone: if it has left.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(disconnected(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        gone.cancel()
        task.cancel()


class EventStream(Response):
    """Events until they end or the client leaves, and comments in long silences.

    Args:
        events: The events; closed in any case.
    """

    media_type = "text/event-stream"

    def __init__(self, events: Watch | AsyncGenerator[bytes]) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        gone: asyncio.Future[Any] = asyncio.ensure_future(disconnected(receive))
        coming: asyncio.Future[Any] | None = None
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while not gone.done():
                coming = coming or asyncio.ensure_future(anext(self._events))
                await asyncio.wait({coming, gone}, timeout=KEEP_ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
                body = b": the service is at work\n\n"
                if coming.done():
                    try:
                        body, coming = coming.result(), None
                    except StopAsyncIteration:
                        break
                if not gone.done():
                    await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()
            if coming is not None:
                coming.cancel()
                await asyncio.wait({coming})
            await self._events.aclose()

"""What every request passes before it is read: an id, headers for browsers, and limits on its body."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lad_rllib.api.errors import ApiError
from lad_rllib.api.origin import origin_of
from lad_rllib.api.settings import ApiSettings
from lad_rllib.api.streams import ClientGone

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Ids of requests that are taken from clients."""

SAFE_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""Headers of every answer that does not say otherwise."""

LEFT = 499
"""Status in the log of a request whose client left before the answer."""

FAILED = ApiError(
    500, "the service failed at this request; its log says more under this answer's x-request-id", "internal_error"
)

_LOG = logging.getLogger("lad_rllib.api")


class Named:
    """Gives every request an id, the client's own if it has a fit one, and logs how it was answered.

    Args:
        app: Answers the request.
        tells: Whether the answer has the id; False where a proxy adds it, which has given every request one.
    """

    def __init__(self, app: ASGIApp, *, tells: bool) -> None:
        self._app, self._tells = app, tells

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers_in = Headers(scope=scope)
        given = headers_in.get("x-request-id", "")
        name = given if REQUEST_ID.fullmatch(given) else f"req-{secrets.token_hex(8)}"
        scope.setdefault("state", {})["request_id"] = name
        origin = origin_of(name, headers_in)
        begin_s, status = time.perf_counter(), LEFT

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                if self._tells:
                    headers["x-request-id"] = name
                for key, value in SAFE_HEADERS.items():
                    headers.setdefault(key, value)
            await send(message)

        with origin.current():
            try:
                await self._app(scope, receive, answer)
            except ClientGone:
                pass
            except Exception:
                _LOG.exception("request %s failed", name)
                if status == LEFT:
                    await FAILED.response()(scope, receive, answer)
            finally:
                seconds = round(time.perf_counter() - begin_s, 6)
                about = {"request_id": name, "method": scope["method"], "path": scope["path"], "status": status}
                more = {"tasks": origin.tasks} if origin.tasks else {}
                _LOG.info(
                    "%(method)s %(path)r: %(status)d", about, extra={"request": {**about, "seconds": seconds, **more}}
                )


class BodyLimits:
    """Refuses bodies that are too long or too slow, as they are read.

    Args:
        app: Answers the request.
        settings: The limits.
    """

    def __init__(self, app: ASGIApp, settings: ApiSettings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most, read, is_whole = self._settings.max_body_bytes, 0, False
        until = time.monotonic() + self._settings.body_s

        async def limited() -> Message:
            nonlocal read, is_whole
            if is_whole:
                return await receive()
            try:
                async with asyncio.timeout(until - time.monotonic()):
                    message = await receive()
            except TimeoutError:
                raise self._refusal(408, f"the body took longer than {self._settings.body_s:g} s", "slow") from None
            read += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if read > most:
                raise self._refusal(413, f"the body has more than {most} bytes, the limit", "body_too_large")
            return message

        said = Headers(scope=scope).get("content-length", "")
        if said.isdecimal() and len(said) < 20 and int(said) > most:
            refusal = self._refusal(413, f"the body has {said} bytes, the limit is {most}", "body_too_large")
            await refusal.response()(scope, receive, send)
            return
        await self._app(scope, limited, send)

    @staticmethod
    def _refusal(status: int, message: str, code: str) -> ApiError:
        """An answer after which the connection is closed, so that the rest of the body is not waited for."""
        return ApiError(status, message, code, headers={"connection": "close"})

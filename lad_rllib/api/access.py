"""Finds out who asks before a request is read: by its API key, or, without keys, whether it is on this machine."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from lad_rllib.api.clients import Client
from lad_rllib.api.errors import ApiError
from lad_rllib.api.keys import KeyRing

OPEN_TO_ALL = re.compile(r"/|/docs|/healthz|/openapi\.json|/page/.*|/v1/images/[^/]+/content")
"""Paths that need no key: the page without its data, and images, whose addresses nobody guesses."""

FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
"""Headers of proxies: the client is not the one at the other end of the connection."""

LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}


class Access:
    """Lets requests with a key in, or all where there are no keys; others get 401.

    Without keys a request of another site's page in somebody's browser is refused if it is more than a question, and
    changes of the service are for clients on this machine that call it by a local name.

    Args:
        app: Answers the request; finds the :class:`~lad_rllib.api.clients.Client` in its state.
        keys: The API keys; None: there are none.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing | None) -> None:
        self._app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            client = self._of_key(scope, headers) if self._keys is not None else _of_place(scope, headers)
        except ApiError as error:
            await error.response()(scope, receive, send)
            return
        scope["state"]["client"] = client
        await self._app(scope, receive, send)

    def _of_key(self, scope: Scope, headers: Headers) -> Client:
        """Who has the key of a request."""
        assert self._keys is not None
        kind, _, key = headers.get("authorization", "").partition(" ")
        client = self._keys.holder(key.strip()) if kind.lower() == "bearer" else None
        if client is not None:
            return client
        if OPEN_TO_ALL.fullmatch(scope["path"]):
            return Client()
        message = "the API key is not known" if key else "send an API key: Authorization: Bearer KEY"
        raise ApiError(401, message, "invalid_api_key", headers={"www-authenticate": "Bearer"})


def _of_place(scope: Scope, headers: Headers) -> Client:
    """Anyone, an admin on this machine."""
    changes = scope["method"] not in ("GET", "HEAD", "OPTIONS")
    if changes and _is_of_other_site(headers):
        raise ApiError(403, "a page of another site asked for this; without API keys that is refused", "other_site")
    return Client(is_admin=_is_local(scope, headers))


def _is_of_other_site(headers: Headers) -> bool:
    """Whether a browser sent it for the page of another site."""
    origin = headers.get("origin")
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return True
    return origin is not None and urlsplit(origin).netloc != headers.get("host", "")


def _is_local(scope: Scope, headers: Headers) -> bool:
    """Whether the client is on this machine, and calls it by a local name: a name may be made to lead here."""
    try:
        is_near = ipaddress.ip_address(scope["client"][0]).is_loopback
        called = urlsplit(f"//{headers.get('host', '')}").hostname
    except (TypeError, ValueError):  # no address, or no host
        return False
    return is_near and called in LOCAL_NAMES and not any(name in headers for name in FORWARDED)

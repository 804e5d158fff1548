"""Answers that several routes have, for the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header
from starlette.responses import Response

from lad_rllib.api.wire import Error
from lad_rllib.service.delivery import Delivery

IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)]
"""A text that the client makes up for each request; sent again with the same, a request is not served again."""

MEANINGS = {
    400: "The request cannot be read.",
    401: "The API key is missing or wrong.",
    403: "The API key may not do this.",
    404: "It does not exist, or no longer does.",
    408: "The body came too slowly.",
    409: "It was cancelled.",
    413: "The body is too long.",
    422: "Something in the request is not valid, or beyond a limit.",
    429: "The service, or the holder of the key, has too much to do; `Retry-After` says when to try again.",
    500: "The image failed.",
    503: "No edge server is up; `Retry-After` says when to try again.",
    504: "The deadline passed.",
}

PNG_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}, "description": "A PNG file."}
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Errors that a route may answer."""
    return {status: {"model": Error, "description": MEANINGS[status]} for status in statuses}


def png_response(png: bytes, name: str, *, elsewhere: bool = False) -> Response:
    """An image as an answer; it is the client's alone.

    Args:
        png: The file.
        name: What a browser would call it, without the ending; letters, digits and hyphens.
        elsewhere: Whether pages of other sites may show it.
    """
    headers = {"cache-control": "private, no-store", "content-disposition": f'inline; filename="{name}.png"'}
    if elsewhere:
        headers["cross-origin-resource-policy"] = "cross-origin"
    return Response(png, media_type="image/png", headers=headers)


def size_of(delivery: Delivery) -> str:
    """Width and height of a delivery's images [pixel]."""
    record = delivery.record
    return f"{record.width}x{record.height}" if record else ""

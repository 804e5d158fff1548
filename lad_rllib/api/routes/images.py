"""Images, as OpenAI's Images API has them."""

from __future__ import annotations

import base64
import re
import time

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from lad_rllib.api.clients import client_of
from lad_rllib.api.errors import unknown
from lad_rllib.api.gateway import Gateway
from lad_rllib.api.jobs import Job
from lad_rllib.api.routes.answers import PNG_ANSWER, errors
from lad_rllib.api.streams import while_connected
from lad_rllib.api.wire import Image, ImageRequest, Images, Served
from lad_rllib.edge.task import ImageTask
from lad_rllib.service.delivery import Delivery

HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?|\[[0-9a-fA-F:]+\](:[0-9]{1,5})?")
"""What a Host header may be to become part of an address."""


def image_routes(gateway: Gateway) -> APIRouter:
    """The routes of images."""
    router = APIRouter(tags=["images"])

    @router.post(
        "/v1/images/generations",
        summary="Draw images and wait for them",
        responses={200: {"model": Images}, **errors(400, 401, 408, 409, 413, 422, 429, 500, 503, 504)},
    )
    async def generate(request: Request, asked: ImageRequest) -> Response:
        job = await while_connected(request, gateway.submit(asked, client_of(request)))
        delivery, pngs = await while_connected(request, gateway.finished(job))
        return JSONResponse(answer(gateway, request, asked, job, delivery, pngs).model_dump(exclude_none=True))

    @router.get(
        "/v1/images/{image_id}/content",
        summary="An image by its address",
        responses={**PNG_ANSWER, **errors(404, 422)},
        response_class=Response,
    )
    async def content(image_id: str) -> Response:
        png = gateway.pictures.get(image_id)
        if png is None:
            raise unknown("image", image_id[:80])
        return png_response(png, "image")

    return router


def png_response(png: bytes, name: str) -> Response:
    """An image as an answer; it is the client's alone.

    Args:
        png: The file.
        name: What a browser would call it, without the ending; letters, digits and hyphens.
    """
    headers = {"cache-control": "private, no-store", "content-disposition": f'inline; filename="{name}.png"'}
    return Response(png, media_type="image/png", headers=headers)


def answer(
    gateway: Gateway, request: Request, asked: ImageRequest, job: Job, delivery: Delivery, pngs: list[bytes]
) -> Images:
    """The answer to a request whose images are there."""
    images = []
    for number, png in enumerate(pngs):
        seed = seed_of(job.task, number)
        if asked.response_format == "url":
            images.append(Image(url=address(gateway, request, png), seed=seed))
        else:
            images.append(Image(b64_json=base64.b64encode(png).decode(), seed=seed))
    return Images(created=int(time.time()), data=images, size=size_of(delivery), served=served(delivery))


def address(gateway: Gateway, request: Request, png: bytes) -> str:
    """An address at which an image is for a while."""
    base = gateway.settings.public_url
    if base is None:
        host = request.headers.get("host", "")
        base = f"{request.url.scheme}://{host}" if HOST.fullmatch(host) else ""
    return f"{base.rstrip('/')}/v1/images/{gateway.pictures.keep(png, gateway.settings.url_s)}/content"


def seed_of(task: ImageTask, number: int) -> int:
    """Seed of one of a task's images."""
    return (task.seed + number) % 2**63


def size_of(delivery: Delivery) -> str:
    """Width and height of a delivery's images [pixel]."""
    record = delivery.record
    return f"{record.width}x{record.height}" if record else ""


def served(delivery: Delivery) -> Served:
    """How a request was served."""
    record = delivery.record
    assert record is not None  # it did not fail
    return Served(
        id=delivery.task.task_id,
        model=record.model,
        server=delivery.server,
        attempts=delivery.attempts,
        steps=record.steps_done,
        delay_s=round(delivery.service_delay_s, 6),
        waiting_s=round(record.waiting_s, 6),
        computing_s=round(record.computing_s, 6),
    )

"""Images, as OpenAI's Images API has them."""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from lad_rllib.api.clients import client_of
from lad_rllib.api.errors import ApiError, unknown
from lad_rllib.api.feed import event
from lad_rllib.api.gateway import Gateway
from lad_rllib.api.jobs import Job
from lad_rllib.api.routes.answers import PNG_ANSWER, IdempotencyKey, errors, png_response, size_of
from lad_rllib.api.streams import EventStream, while_connected
from lad_rllib.api.wire import Image, ImageRequest, Images, Served
from lad_rllib.edge.task import ImageTask
from lad_rllib.service.delivery import Delivery

HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?|\[[0-9a-fA-F:]+\](:[0-9]{1,5})?")
"""What a Host header may be to become part of an address."""

PROGRESS, PROGRESS_S = "image_generation.progress", 0.1
"""Event that says how far a request is, and the time between two looks [s]."""

COMPLETED = {
    "type": "image_generation.completed",
    "background": "auto",
    "output_format": "png",
    "quality": "auto",
    "usage": {
        "input_tokens": 0,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
        "output_tokens": 0,
        "total_tokens": 0,
    },
}
"""What OpenAI's clients find in every event of an image; tokens are not counted here."""


def image_routes(gateway: Gateway) -> APIRouter:
    """The routes of images."""
    router = APIRouter(tags=["images"])

    @router.post(
        "/v1/images/generations",
        summary="Draw images and wait for them",
        responses={
            200: {
                "model": Images,
                "content": {"text/event-stream": {}},
                "description": "The images; with `stream: true` as events `image_generation.completed`.",
            },
            **errors(400, 401, 404, 408, 409, 413, 422, 429, 500, 503, 504),
        },
    )
    async def generate(request: Request, asked: ImageRequest, idempotency_key: IdempotencyKey = None) -> Response:
        client = client_of(request)

        async def submitted() -> Job:
            if idempotency_key is None:
                return await gateway.submit(asked, client)
            return await gateway.submit_once(asked, client, idempotency_key)

        async def finished() -> tuple[Delivery, list[bytes]]:
            return await gateway.finished(await submitted())

        if asked.stream:
            job = await while_connected(request, submitted())
            return EventStream(image_events(gateway, request, asked, job))
        delivery, pngs = await while_connected(request, finished())
        images = answer(gateway, request, asked, delivery, pngs)
        return Response(images.model_dump_json(exclude_none=True), media_type="application/json")

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
        return png_response(png, "image", elsewhere=True)

    return router


def answer(
    gateway: Gateway, request: Request, asked: ImageRequest, delivery: Delivery, pngs: Sequence[bytes]
) -> Images:
    """The answer to a request whose images are there."""
    images = [image_of(gateway, request, asked, delivery.task, number, png) for number, png in enumerate(pngs)]
    return Images(created=int(time.time()), data=images, size=size_of(delivery), served=served(delivery))


async def image_events(gateway: Gateway, request: Request, asked: ImageRequest, job: Job) -> AsyncGenerator[bytes]:
    """The events of a request: how far it is, if it asked for that, and its images or its error."""
    waiting = asyncio.ensure_future(gateway.finished(job))
    try:
        if asked.progress:
            async for told in progress_events(gateway, job, waiting):
                yield told
        delivery, pngs = await waiting
        how = served(delivery).model_dump()
        for number, png in enumerate(pngs):
            image = image_of(gateway, request, asked, delivery.task, number, png).model_dump(exclude_none=True)
            about = {"created_at": int(time.time()), "size": size_of(delivery), "index": number, "served": how}
            yield event("image_generation.completed", {**COMPLETED, **about, **image})
    except ApiError as error:
        yield event("error", error.body)
    finally:
        waiting.cancel()


async def progress_events(gateway: Gateway, job: Job, waiting: asyncio.Future[Any]) -> AsyncIterator[bytes]:
    """How far a request is, whenever that has changed, until it has ended."""
    told: dict[str, Any] = {}
    while not waiting.done():
        here = await asyncio.to_thread(gateway.dispatcher.progress, job.name)
        if here.state == "unknown":  # it has ended
            return
        start_s = None if here.start_s is None else round(here.start_s * gateway.dispatcher.time_scale, 3)
        place = {"state": here.state, "server": here.server, "position": here.position, "step": here.step}
        if place != told:
            told = place
            about = {"type": PROGRESS, "steps": job.task.denoising_steps, "predicted_start_s": start_s}
            yield event(PROGRESS, {**about, **place})
        await asyncio.wait({waiting}, timeout=PROGRESS_S)


def image_of(
    gateway: Gateway, request: Request, asked: ImageRequest, task: ImageTask, number: int, png: bytes
) -> Image:
    """One image as it was asked for."""
    seed = (task.seed + number) % 2**63
    if asked.response_format == "url":
        return Image(url=address(gateway, request, png), seed=seed)
    return Image(b64_json=base64.b64encode(png).decode(), seed=seed)


def address(gateway: Gateway, request: Request, png: bytes) -> str:
    """An address at which an image is for a while."""
    base = gateway.settings.public_url
    if base is None:
        host = request.headers.get("host", "")
        base = f"{request.url.scheme}://{host}" if HOST.fullmatch(host) else ""
    return f"{base.rstrip('/')}/v1/images/{gateway.pictures.keep(png, gateway.settings.url_s)}/content"


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

"""Jobs: images that are asked for now and fetched later, in the form of OpenAI's videos."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import JSONResponse, Response

from lad_rllib.api.clients import client_of
from lad_rllib.api.errors import ApiError, of_edge_error
from lad_rllib.api.gateway import Gateway
from lad_rllib.api.jobs import Job
from lad_rllib.api.routes.answers import PNG_ANSWER, IdempotencyKey, errors, png_response, size_of
from lad_rllib.api.streams import while_connected
from lad_rllib.api.wire import Deleted, ErrorDetail, JobRequest, JobStatus
from lad_rllib.edge.task import MAX_IMAGES

JobId = Annotated[str, Path(max_length=200)]


def job_routes(gateway: Gateway) -> APIRouter:
    """The routes of jobs."""
    router = APIRouter(tags=["jobs"])

    @router.post(
        "/v1/images/jobs",
        summary="Ask for images, and fetch them later",
        responses={200: {"model": JobStatus}, **errors(400, 401, 404, 408, 409, 413, 422, 429, 503)},
    )
    async def create(request: Request, asked: JobRequest, idempotency_key: IdempotencyKey = None) -> Response:
        client = client_of(request)
        if idempotency_key is None:
            submitting = gateway.submit(asked, client, is_job=True, is_kept=True)
        else:
            submitting = gateway.submit_once(asked, client, idempotency_key, is_job=True)
        return await shown(await while_connected(request, submitting))

    @router.get(
        "/v1/images/jobs/{job_id}",
        summary="How far a job is",
        responses={200: {"model": JobStatus}, **errors(401, 404, 422)},
    )
    async def retrieve(request: Request, job_id: JobId) -> Response:
        return await shown(gateway.job(job_id, client_of(request)))

    @router.delete(
        "/v1/images/jobs/{job_id}",
        summary="Cancel a job if it has not ended, and forget it and its images",
        responses={200: {"model": Deleted}, **errors(401, 404, 422)},
    )
    async def delete(request: Request, job_id: JobId) -> Response:
        job = gateway.job(job_id, client_of(request))
        await asyncio.to_thread(gateway.forget, job)
        return JSONResponse(Deleted(id=job.name).model_dump())

    @router.get(
        "/v1/images/jobs/{job_id}/content",
        summary="An image of a job that has ended",
        responses={**PNG_ANSWER, **errors(401, 404, 409, 422, 500, 503, 504)},
        response_class=Response,
    )
    async def content(
        request: Request, job_id: JobId, index: Annotated[int, Query(ge=0, lt=MAX_IMAGES)] = 0
    ) -> Response:
        job = gateway.job(job_id, client_of(request))
        if job.delivery is None:
            raise ApiError(409, "the job has not ended; ask for it again later", "not_ready", retry_after_s=1.0)
        _, pngs = await gateway.finished(job)
        if index >= len(pngs):
            raise ApiError(404, f"the job has {len(pngs)} images; the first has index 0", "image_not_found")
        return png_response(pngs[index], f"{job.name}-{index}")

    async def shown(job: Job) -> Response:
        return JSONResponse((await status_of(gateway, job)).model_dump())

    return router


async def status_of(gateway: Gateway, job: Job) -> JobStatus:
    """What a client is told of its job."""
    scale, delivery = gateway.dispatcher.time_scale, job.delivery
    status = JobStatus(
        id=job.name,
        status="queued",
        progress=0,
        created_at=int(job.created),
        model=job.task.model or next(iter(gateway.models), ""),
        n=job.task.images,
        seed=job.task.seed,
        steps=job.task.denoising_steps,
        predicted_start_s=round(job.prediction.shortest_wait_s * scale, 3),
    )
    if delivery is None:
        here = await asyncio.to_thread(gateway.dispatcher.progress, job.name)
        start_s = status.predicted_start_s if here.start_s is None else round(here.start_s * scale, 3)
        found = {"server": here.server, "position": here.position, "predicted_start_s": start_s}
        if here.state in ("running", "sending"):
            found |= {"status": "in_progress", "step": here.step, "progress": here.step * 99 // max(here.of, 1)}
        status = status.model_copy(update=found)
    if job.delivery is None:
        return status
    delivery, ended = job.delivery, int(job.ended or 0)
    found = {"server": delivery.server, "completed_at": ended, "predicted_start_s": 0.0}
    if delivery.error is not None:
        detail = ErrorDetail(**of_edge_error(delivery.error).body["error"])
        return status.model_copy(update={**found, "status": "failed", "error": detail})
    done = {"status": "completed", "progress": 100, "step": status.steps, "size": size_of(delivery)}
    return status.model_copy(update={**found, **done, "expires_at": ended + int(gateway.settings.job_s)})

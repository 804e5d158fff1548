"""The service itself: its models, its health."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from lad_rllib.api.errors import unknown
from lad_rllib.api.gateway import Gateway
from lad_rllib.api.routes.answers import errors
from lad_rllib.api.wire import Health, Model, Models


def service_routes(gateway: Gateway) -> APIRouter:
    """The routes of models and health."""
    router = APIRouter(tags=["service"])

    def model(name: str) -> Model:
        return Model(id=name, created=int(gateway.began))

    @router.get("/v1/models", summary="Image models", responses={200: {"model": Models}, **errors(401)})
    async def models() -> Response:
        return JSONResponse(Models(data=[model(name) for name in gateway.models]).model_dump())

    @router.get(
        "/v1/models/{model_id:path}",
        summary="One image model",
        responses={200: {"model": Model}, **errors(401, 404, 422)},
    )
    async def one_model(model_id: str) -> Response:
        if model_id not in gateway.models:
            raise unknown("model", model_id[:80])
        return JSONResponse(model(model_id).model_dump())

    @router.get(
        "/healthz",
        summary="Whether the service works",
        responses={200: {"model": Health}, 503: {"model": Health, "description": "No edge server is up."}},
    )
    async def health() -> Response:
        up = sum(gateway.dispatcher.servers_up)
        said = Health(status="ok" if up else "no server is up", servers_up=up)
        return JSONResponse(said.model_dump(), 200 if up else 503)

    return router

"""What people watch: the feed of events, and the page."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.responses import Response

from lad_rllib.api.clients import admin_of
from lad_rllib.api.fleet_view import FleetView
from lad_rllib.api.pulse import Pulse
from lad_rllib.api.routes.answers import errors
from lad_rllib.api.streams import EventStream


def watching_routes(view: FleetView) -> APIRouter:
    """The routes of events."""
    router, pulse = APIRouter(tags=["service"]), Pulse(view)

    @router.get(
        "/events",
        summary="What happens, as it happens: events `state`, `request`, `done` and `server`",
        dependencies=[Depends(admin_of)],
        response_class=Response,
        responses={
            200: {"content": {"text/event-stream": {}}, "description": "Events until the client leaves."},
            **errors(401, 403, 429),
        },
    )
    async def events() -> Response:
        return EventStream(await pulse.watch())

    return router

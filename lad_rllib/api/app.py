"""The FastAPI app: routes, guards and the page, put together."""

from __future__ import annotations

from fastapi import FastAPI, Security
from fastapi.security import HTTPBearer

import lad_rllib
from lad_rllib.api.access import Access
from lad_rllib.api.control import Control
from lad_rllib.api.errors import install_handlers
from lad_rllib.api.fleet_view import FleetView
from lad_rllib.api.gateway import Gateway
from lad_rllib.api.guards import BodyLimits, Named
from lad_rllib.api.keys import KeyRing
from lad_rllib.api.routes.document import show_document
from lad_rllib.api.routes.fleet import fleet_routes
from lad_rllib.api.routes.images import image_routes
from lad_rllib.api.routes.jobs import job_routes
from lad_rllib.api.routes.page import mount_page
from lad_rllib.api.routes.service import service_routes
from lad_rllib.api.routes.watching import watching_routes
from lad_rllib.api.settings import ApiSettings


def make_app(
    gateway: Gateway, settings: ApiSettings, *, control: Control | None = None, names_answers: bool = True
) -> FastAPI:
    """The HTTP API in front of a gateway, for any ASGI server.

    Args:
        gateway: Has requests served; whoever made it closes it.
        settings: Limits and defaults, the gateway's.
        control: What of the service can be changed; None: nothing.
        names_answers: Whether answers get an ``x-request-id``; False behind a proxy that adds it, as Serve's does.

    Raises:
        ConfigurationError: if the file of API keys cannot be read.
    """
    app = FastAPI(
        title="lad_rllib",
        summary="Images from prompts, drawn by edge servers that a learned scheduler chooses.",
        version=lad_rllib.__version__,
        docs_url=None,  # FastAPI's pages load scripts from another host
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    install_handlers(app)
    bearer = [Security(HTTPBearer(auto_error=False, description="An API key, if the service has a file of keys."))]
    view = FleetView(gateway, control)
    for router in (
        image_routes(gateway),
        job_routes(gateway),
        fleet_routes(view, control),
        service_routes(gateway),
        watching_routes(view),
    ):
        app.include_router(router, dependencies=bearer)
    show_document(app)
    mount_page(app)
    app.add_middleware(BodyLimits, settings=settings)  # that added last is the first to see a request
    app.add_middleware(Access, keys=None if settings.keys_file is None else KeyRing(settings.keys_file))
    app.add_middleware(Named, tells=names_answers)
    return app

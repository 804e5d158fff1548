"""The FastAPI app: routes, guards and the page, put together."""

from __future__ import annotations

from fastapi import FastAPI

import lad_rllib
from lad_rllib.api.control import Control
from lad_rllib.api.errors import install_handlers
from lad_rllib.api.gateway import Gateway
from lad_rllib.api.guards import BodyLimits, Named
from lad_rllib.api.routes.images import image_routes
from lad_rllib.api.routes.service import service_routes
from lad_rllib.api.settings import ApiSettings


def make_app(gateway: Gateway, settings: ApiSettings, *, control: Control | None = None) -> FastAPI:
    """The HTTP API in front of a gateway, for any ASGI server.

    Args:
        gateway: Has requests served; whoever made it closes it.
        settings: Limits and defaults, the gateway's.
        control: What of the service can be changed; None: nothing.
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
    app.include_router(image_routes(gateway))
    app.include_router(service_routes(gateway))
    app.add_middleware(BodyLimits, settings=settings)
    app.add_middleware(Named)  # added last, so first to see a request
    return app

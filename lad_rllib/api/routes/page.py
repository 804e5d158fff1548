"""The page of the service: files beside the code, under a policy that lets them load nothing else."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS

PAGE = Path(__file__).parents[1] / "page"
"""Where the page is: ``index.html``, and what it loads from ``/page/``."""

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What a browser lets the page do: talk to this service alone, and run its own files alone."""

HEADERS = {"content-security-policy": PAGE_POLICY, "cache-control": "no-cache"}


class _PageFiles(StaticFiles):
    async def get_response(self, path: str, scope: MutableMapping[str, Any]) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response


def mount_page(app: FastAPI, folder: Path = PAGE) -> None:
    """Show the page at ``/``, if there is one.

    Args:
        app: The app.
        folder: Where the page is.
    """
    index = folder / "index.html"
    if not index.is_file():
        return

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(index, headers=HEADERS)

    @app.get("/page/policies.json", include_in_schema=False)
    async def policies() -> Response:
        return JSONResponse(list(REQUEST_SCHEDULERS))

    app.mount("/page", _PageFiles(directory=folder), "page")

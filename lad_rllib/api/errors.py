"""Errors as OpenAI's clients know them: a status, and a body with message, type, parameter and code."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from lad_rllib.edge.errors import EdgeError
from lad_rllib.errors import ConfigurationError

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
"""Type of an error by its status; of others below 500 ``invalid_request_error``, from 500 on ``server_error``."""

CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed"}

STATUS_OF_EDGE_ERROR = {
    "invalid_request": 422,
    "queue_full": 429,
    "deadline_exceeded": 504,
    "cancelled": 409,
    "server_unavailable": 503,
    "model_load_failed": 503,
    "device_broken": 503,
}
"""Status of the named errors of edge servers; 500 for the others: the image failed."""

AGAIN_S = 2.0
"""When a client may try again after a failure that does not say [s]: about as long as a lost server is noticed."""


class ApiError(HTTPException):
    """An answer other than success.

    Args:
        status: HTTP status.
        message: One line: what is wrong and what to do.
        code: Name of the problem for programs.
        param: Field of the request that it is about.
        retry_after_s: When to try again [s]; None: trying again is of no use.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.code, self.param, self.message = code, param, message
        own = {"x-should-retry": "false"}  # OpenAI's clients heed it
        if retry_after_s is not None:
            own = {"retry-after": str(max(1, math.ceil(min(retry_after_s, 86_400.0))))}
        super().__init__(status, message, {**own, **(headers or {})})

    @property
    def body(self) -> dict[str, Any]:
        """The error as the body of an answer."""
        kind = TYPES.get(self.status_code, "server_error" if self.status_code >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """The error as an answer."""
        return Response(json.dumps(self.body), self.status_code, dict(self.headers or {}), "application/json")


def of_edge_error(error: EdgeError) -> ApiError:
    """The answer to a request whose image failed.

    >>> from lad_rllib.edge.errors import ServerUnavailable
    >>> answer = of_edge_error(ServerUnavailable("no edge server is left (all were tried)"))
    >>> answer.status_code, answer.code, answer.headers["retry-after"]
    (503, 'server_unavailable', '2')
    """
    status = STATUS_OF_EDGE_ERROR.get(error.name, 500)
    return ApiError(status, str(error), error.name, retry_after_s=AGAIN_S if error.retryable else None)


def unknown(what: str, name: str, param: str | None = None) -> ApiError:
    """The answer to a name that does not exist."""
    return ApiError(404, f"there is no {what} {name!r}", f"{what.replace(' ', '_')}_not_found", param=param)


def install_handlers(app: FastAPI) -> None:
    """Have an app answer all errors in OpenAI's form."""

    async def api_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return error.response()

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = CODES.get(error.status_code, f"http_{error.status_code}")
        return ApiError(error.status_code, str(error.detail), code, headers=error.headers).response()

    async def not_valid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _of_validation(error).response()

    async def not_possible(request: Request, error: Exception) -> Response:
        return ApiError(422, str(error), "invalid_request").response()

    app.add_exception_handler(ApiError, api_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, not_valid)
    app.add_exception_handler(ConfigurationError, not_possible)


def _of_validation(error: RequestValidationError) -> ApiError:
    """The first thing that is wrong with a request, in one line."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"][1:] if isinstance(part, (str, int))]
    if first["type"] == "json_invalid":
        return ApiError(400, "the body is not valid JSON", "invalid_json")
    param = path[0] if path else None
    if first["type"] == "extra_forbidden":
        return ApiError(422, f"unknown parameter {param!r}; leave it out", "unknown_parameter", param=param)
    if first["type"] == "missing":
        return ApiError(422, f"{param or 'the body'} is missing", "missing_parameter", param=param)
    problem = first["msg"].removeprefix("Value error, ")
    return ApiError(422, f"{param or 'the body'}: {problem}", "invalid_parameter", param=param)

"""What every answer of the service is, and the errors among them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """What the service answers; a client must bear further fields."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid", protected_namespaces=())


class ErrorDetail(Answer):
    """What went wrong."""

    message: str
    """One line: what is wrong and what to do."""
    type: str
    """Kind of error, one of OpenAI's."""
    param: str | None
    """Parameter that it is about."""
    code: str | None
    """Name of the problem for programs."""


class Error(Answer):
    """Every answer other than success."""

    error: ErrorDetail
    """What went wrong."""

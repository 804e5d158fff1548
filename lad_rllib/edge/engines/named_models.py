"""What settings of engines with several models have in common."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from lad_rllib.declared import Declared


class NamedModels(Declared):
    """Settings with fields ``models``, by the names that tasks call them, and ``model``, for tasks that name none."""

    @model_validator(mode="before")
    @classmethod
    def _first_model(cls, values: Any) -> Any:
        """Without ``model``, the first of ``models``."""
        models = values.get("models")
        if isinstance(models, dict) and models and values.get("model") is None:
            return dict(values) | {"model": next(iter(models))}
        return values

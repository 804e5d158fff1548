"""Settings that are declared once: types, bounds, units and defaults stand at the field, errors are one line.

Types are checked before bounds and never guessed: a text is no number and ``true`` is no 1. NumPy's numbers and paths
are taken for what they are.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from lad_rllib.errors import ConfigurationError

LONGEST_VALUE = 60
"""Characters of a value that an error shows."""


class Declared(BaseModel):
    """Base of a group of settings; fields are strict, frozen, finite, and no others are taken."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _plain_values(cls, values: Any) -> Any:
        return plain(values)


Group = TypeVar("Group", bound=Declared)


def plain(value: Any) -> Any:
    """The value with NumPy's numbers and arrays, paths and tuples as Python's own numbers, lists and texts."""
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def declared(group: type[Group], values: Mapping[str, Any], where: str = "") -> Group:
    """The group with these values.

    Args:
        group: What is declared.
        values: Values by field.
        where: What stands before each field in an error, such as ``"arrivals."``.

    Raises:
        ConfigurationError: names the first field that does not fit, its value, and what is valid.
    """
    for key in values:
        if key not in group.model_fields:
            raise ConfigurationError(f"unknown key {f'{where}{key}'!r}; {suggestion(key, group.model_fields)}")
    try:
        return group.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigurationError(_one_line(error, where)) from None


def suggestion(key: object, valid: Iterable[str]) -> str:
    """What was probably meant, or all that is valid."""
    valid = sorted(valid)
    close = difflib.get_close_matches(str(key), valid, n=1)
    return f"did you mean {close[0]!r}?" if close else f"valid: {', '.join(valid)}"


def shown(value: object) -> str:
    """A value for an error, cut if it is long."""
    text = value[: LONGEST_VALUE + 1] if isinstance(value, (str, bytes)) else value
    try:
        whole = repr(text)
    except (RecursionError, MemoryError, ValueError):
        whole = f"<{type(value).__name__}>"
    return whole if len(whole) <= LONGEST_VALUE else f"{whole[:LONGEST_VALUE]}…"


def _one_line(error: ValidationError, where: str) -> str:
    """The first thing that does not fit; of a choice of types, all of them are named."""
    errors = error.errors(include_url=False, include_context=False)
    first, field = errors[0], errors[0]["loc"][0] if errors[0]["loc"] else ""
    same = [one for one in errors if one["loc"][:1] == first["loc"][:1] and one["input"] == first["input"]]
    demands = dict.fromkeys(_demand(one["msg"]) for one in same)
    path = ".".join(str(part) for part in first["loc"] if not _is_kind(part)) or str(field)
    value = first["input"]
    hint = "; leave the quotes out" if isinstance(value, str) and _is_number(value) else ""
    return f"{where}{path} must be {' or '.join(demands)}, got {shown(value)}{hint}"


def _demand(message: str) -> str:
    for start in ("Input should be ", "Value error, must be "):
        message = message.removeprefix(start)
    return message


def _is_kind(part: object) -> bool:
    """Whether a part of an error's path names one type of several, and no key."""
    return isinstance(part, str) and (part in ("float", "int", "str", "bool", "none", "dict") or "[" in part)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

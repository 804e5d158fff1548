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
        raise ConfigurationError(_one_line(group, error, where)) from None


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


def described(schema: Mapping[str, Any]) -> str:
    """What a JSON schema asks for, in words.

    >>> described({"type": "integer", "minimum": 1})
    'a whole number of at least 1'
    >>> described({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}]})
    'a number above 0 or null'
    """
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(described(one) for one in schema["anyOf"]))
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    if schema.get("type") == "array":
        least = f" of at least {schema['minItems']}" if schema.get("minItems") else ""
        return f"a list{least}, each {described(schema.get('items', {}))}"
    bounds = [f"{words} {schema[key]:g}" for key, words in _BOUNDS.items() if key in schema]
    return " ".join([_TYPES.get(schema.get("type", ""), "another value"), " and ".join(bounds)]).strip()


_TYPES = {
    "number": "a number",
    "integer": "a whole number",
    "string": "a text",
    "boolean": "true or false",
    "null": "null",
    "object": "a group of keys and values",
}
_BOUNDS = {
    "minimum": "of at least",
    "exclusiveMinimum": "above",
    "maximum": "of at most",
    "exclusiveMaximum": "below",
}


def _one_line(group: type[Declared], error: ValidationError, where: str) -> str:
    """The first field that does not fit; of an error within a list, the place in it, too."""
    first = error.errors(include_url=False, include_context=False)[0]
    if not first["loc"]:
        return f"{where.rstrip('.') or 'the settings'} {first['msg'].removeprefix('Value error, ')}"
    field = str(first["loc"][0])
    value = first["input"]
    if first["type"] == "missing":
        return f"{where}{field} is missing"
    if first["type"] == "value_error":
        demand = first["msg"].removeprefix("Value error, must be ")
    else:
        demand = described(group.model_json_schema(mode="serialization")["properties"][field])
    place = "".join(f"[{part}]" for part in first["loc"][1:] if isinstance(part, int))
    hint = "; leave the quotes out" if isinstance(value, str) and _is_number(value) else ""
    return f"{where}{field}{place} must be {demand}, got {shown(value)}{hint}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

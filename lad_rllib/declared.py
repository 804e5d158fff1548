"""Settings that are declared once: types, bounds, units and defaults stand at the field, errors are one line.

Types are checked before bounds and never guessed: a text is not a number and ``true`` is not 1. NumPy's numbers and
paths are converted.
"""

from __future__ import annotations

import difflib
import functools
import os
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import date
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator

from lad_rllib.errors import ConfigurationError

MAX_SHOWN = 60
"""Characters of a value that an error shows."""


class Declared(BaseModel):
    """Base of a group of settings; fields are strict, frozen, finite, and no others are taken."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        use_attribute_docstrings=True,
    )

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError(_one_line(type(self), error, "")) from None

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # pydantic need not call it to validate

    @model_validator(mode="before")
    @classmethod
    def _plain_values(cls, values: Any) -> Any:
        return plain(values)


Group = TypeVar("Group", bound=Declared)


def _not_empty(text: str) -> str:
    if not text.strip():
        raise ValueError("must be a non-empty text")
    return text


Text = Annotated[str, AfterValidator(_not_empty)]
"""A non-empty text."""


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


def declared(group: type[Group], values: object, where: str = "") -> Group:
    """The group with these values.

    Args:
        group: What is declared.
        values: Values by field.
        where: Prefix of each field in errors, such as ``"arrivals."`` or ``"fleet a, server b: "``.

    Raises:
        ConfigurationError: names the first field that does not fit, its value, and what is valid.
    """
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"{where.rstrip('.: ') or 'settings'} must map keys to values, got {shown(values)}")
    check_keys(where, values, group.model_fields)
    try:
        return group.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigurationError(_one_line(group, error, where)) from None


def check_some(group: type[Declared], values: Mapping[str, Any], where: str = "") -> None:
    """Check values of some of a group's fields, without the others.

    Raises:
        ConfigurationError: as :func:`declared`.
    """
    check_keys(where, values, group.model_fields)
    try:
        group.model_validate(dict(values))
    except ValidationError as error:
        if any(one["loc"] and one["loc"][0] in values for one in error.errors(include_url=False)):
            raise ConfigurationError(_one_line(group, error, where, values)) from None


def check_keys(where: str, keys: Iterable[Any], valid: Collection[str]) -> None:
    """Refuse the first unknown key and suggest the closest valid one.

    Raises:
        ConfigurationError: naming it.
    """
    for key in keys:
        if key not in valid:
            raise ConfigurationError(_unknown(f"{where}{key}", key, valid))


def suggestion(key: object, valid: Iterable[str]) -> str:
    """The closest valid key, or all valid ones."""
    valid = sorted(valid)
    close = difflib.get_close_matches(str(key), valid, n=1)
    return f"did you mean {close[0]!r}?" if close else f"valid: {', '.join(valid) or 'none'}"


def shown(value: object) -> str:
    """A value for an error, cut if it is long."""
    text = value[: MAX_SHOWN + 1] if isinstance(value, (str, bytes)) else value
    try:
        whole = repr(text)
    except (RecursionError, MemoryError, ValueError):
        whole = f"<{type(value).__name__}>"
    return whole if len(whole) <= MAX_SHOWN else f"{whole[:MAX_SHOWN]}…"


def described(schema: Mapping[str, Any]) -> str:
    """What a JSON schema asks for, in words.

    >>> described({"type": "integer", "minimum": 1})
    'a whole number of at least 1'
    >>> described({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}]})
    'a number above 0 or null'
    >>> described({"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "number"}})
    'a list of 2, each a number'
    """
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(described(one) for one in schema["anyOf"]))
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    if "const" in schema:
        return repr(schema["const"])
    if schema.get("type") == "array":
        least, most = schema.get("minItems"), schema.get("maxItems")
        length = f" of {least}" if least and least == most else f" of at least {least}" if least else ""
        return f"a list{length}, each {described(schema.get('items', {}))}"
    if "maxLength" in schema:
        return f"a text of {schema.get('minLength', 0)} to {schema['maxLength']} characters"
    if "properties" in schema:
        return f"{{{', '.join(schema['properties'])}}}"
    bounds = [f"{words} {_number(schema[key])}" for key, words in _BOUNDS.items() if key in schema]
    return " ".join([_TYPES.get(schema.get("type", ""), "another value"), " and ".join(bounds)]).strip()


def _number(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


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
    "multipleOf": "a multiple of",
}


def _unknown(name: str, key: object, valid: Iterable[str]) -> str:
    source, colon, path = name.rpartition(": ")
    return f"{source}{colon}unknown key {shown(path)}; {suggestion(key, valid)}"


def _one_line(group: type[Declared], error: ValidationError, where: str, fields: Collection[str] | None = None) -> str:
    """The first error, of ``fields`` if given, in words; of several forms of a value, that of the best match."""
    errors = error.errors(include_url=False, include_context=False)
    if fields is not None:
        errors = [one for one in errors if one["loc"] and one["loc"][0] in fields]
    if not errors[0]["loc"]:
        problem = errors[0]["msg"].removeprefix("Value error, ")
        return f"{where.removesuffix('.')} {problem}" if problem.startswith("must ") else f"{where}{problem}"
    places = [(*_place(schema_of(group), one["loc"]), one) for one in errors if one["loc"][0] == errors[0]["loc"][0]]
    path, demanded, first = min(places, key=lambda place: (-len(place[0]), _ORDER.get(place[2]["type"], 1)))
    name = where + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)[1:]
    value, kind = first["input"], first["type"]
    if kind in ("extra_forbidden", "invalid_key"):
        return _unknown(name, path[-1], demanded["properties"])
    if kind == "missing":
        return f"{name} is missing"
    if first["loc"][-1] == "[key]":
        return f"{name}: a key must be a text, got {shown(value)}"
    own = kind == "value_error"  # a validator's words
    demand = first["msg"].removeprefix("Value error, ") if own else f"must be {described(demanded)}"
    if own and not demand.startswith("must "):  # they name the value themselves
        return f"{where}{demand}"
    hint = "; leave the quotes out" if isinstance(value, str) and _is_number(value) and not own else ""
    hint = "; put it in quotes" if kind == "string_type" and isinstance(value, (int, float, date)) else hint
    return f"{name} {demand}, got {shown(value)}{hint}"


_ORDER = {"extra_forbidden": 0, "invalid_key": 0, "value_error": 0, "missing": 2}
"""A misspelt key is named rather than the missing one, a wrong value of the right form rather than the other forms."""


@functools.cache
def schema_of(group: type[Declared]) -> dict[str, Any]:
    """The group's JSON schema with its references written out."""
    schema = group.model_json_schema(mode="serialization")
    written_out: dict[str, Any] = resolved(schema, schema.get("$defs", {}))
    return written_out


_FORM = re.compile(r"(constrained-)?(float|int|str)|(dict|list)\[.*\]")
"""Names that pydantic gives to the forms of a union."""


def _place(schema: dict[str, Any], loc: Iterable[int | str]) -> tuple[list[int | str], dict[str, Any]]:
    """Path and schema of a value, without the names that pydantic gives to the forms of a union."""
    path: list[int | str] = []
    here = schema
    for part in loc:
        forms = here.get("anyOf", [here])
        found = [form["items"] for form in forms if "items" in form] if isinstance(part, int) else []
        found += [form["properties"][part] for form in forms if part in form.get("properties", {})]
        if len(forms) == 1 or not _FORM.fullmatch(str(part)):
            further = [form.get("additionalProperties") for form in forms]
            found += [form for form in further if isinstance(form, dict)]
        if found:
            here = found[0]
            path.append(part)
        elif groups := [form for form in forms if form.get("title") == part]:
            here = groups[0]
        elif "properties" in here:
            path.append(part)  # a key that it does not have
    return path, here


def resolved(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """A JSON schema with its references written out, by the definitions of their last names."""
    if isinstance(schema, list):
        return [resolved(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return resolved(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {key: resolved(value, definitions) for key, value in schema.items() if key != "$defs"}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

"""What declared settings look like from outside: command-line flags, JSON schemas for editors, tables for the docs."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lad_rllib.declared import Declared, described, schema_of

SCALARS = {"integer": int, "number": float, "string": str, "boolean": bool}


@dataclass(frozen=True)
class FieldReference:
    """One field of a group of settings.

    Attributes:
        name: The field.
        valid: What it may be, in words.
        help: What it means, with unit and source, as declared; plain text.
        is_required: Whether it has no default.
        default: The default as plain values; None if there is none.
        choices: The valid values, or those of a list, if they are a few fixed ones, else empty.
        type: Type of one value on a command line: ``int``, ``float``, ``bool`` or ``str``.
        is_list: Whether it takes several values.
    """

    name: str
    valid: str
    help: str
    is_required: bool
    default: Any
    choices: tuple[Any, ...]
    type: type
    is_list: bool


def fields_of(group: type[Declared]) -> Iterator[FieldReference]:
    """The fields of a group in the order of declaration, those of its bases first."""
    properties = schema_of(group)["properties"]
    for name, field in group.model_fields.items():
        schema = properties[name]
        forms = [form for form in schema.get("anyOf", [schema]) if form.get("type") != "null"]
        one = forms[0].get("items", forms[0])
        yield FieldReference(
            name=name,
            valid=described(schema),
            help=_plain(field.description or ""),
            is_required=field.is_required(),
            default=schema.get("default"),
            choices=tuple(one.get("enum", ())) if len(forms) == 1 else (),
            type=SCALARS.get(one.get("type", ""), str),
            is_list=any(form.get("type") == "array" for form in forms),
        )


def json_schema(group: type[Declared]) -> dict[str, Any]:
    """The group's JSON schema, with every meaning as a description; for editors that complete settings files."""
    schema = copy.deepcopy(schema_of(group))
    schema["description"] = _plain((group.__doc__ or "").split("\n\n")[0])
    for name, field in group.model_fields.items():
        schema["properties"][name]["description"] = _plain(field.description or "")
    return schema


def fields_table(group: type[Declared]) -> str:
    """The group's fields as a Markdown table: what each may be, its default and its meaning."""
    rows = ["| field | valid | default | meaning |", "|---|---|---|---|"]
    for field in fields_of(group):
        default = "required" if field.is_required else f"`{json.dumps(field.default)}`"
        cells = (f"`{field.name}`", field.valid, default, _code(group.model_fields[field.name].description or ""))
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def _plain(text: str) -> str:
    """A docstring without its markup, on one line."""
    return _code(text).replace("`", "")


def _code(text: str) -> str:
    """A docstring's markup as Markdown, on one line."""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", " ".join(text.split()))
    return text.replace("``", "`")

"""Config files of Ray Serve: by Ray's own schema, and their args as our application reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from . import machines
from .findings import Document, Finding, one_line

OURS = "lad_rllib.serving.application:application"


def is_serve_config(document: Document) -> bool:
    """Whether it describes applications of Ray Serve."""
    return bool(document.parts) and isinstance(document.parts[0], dict) and "applications" in document.parts[0]


def check(
    document: Document, config: Any, place: str = "", kinds: Sequence[Mapping[str, Any]] | None = None
) -> Iterator[Finding]:
    """Mistakes of a config file.

    Args:
        document: Where it stands.
        config: What it holds.
        place: Where in the document.
        kinds: Resources and labels of the kinds of workers that it will run on; None: nobody knows.
    """
    from pydantic import ValidationError
    from ray.serve.schema import ServeApplicationSchema, ServeDeploySchema

    before = f"{place}." if place else ""
    try:
        ServeDeploySchema.model_validate(config)
    except ValidationError as error:
        for one in error.errors(include_url=False):
            yield document.mistake(before + ".".join(map(str, one["loc"])), f"Ray Serve refuses it: {one['msg']}")
        return
    yield from _unknown(document, config, ServeDeploySchema, before)
    for index, app in enumerate(config["applications"]):
        inner = f"{before}applications.{index}"
        yield from _unknown(document, app, ServeApplicationSchema, f"{inner}.")
        if app["import_path"] != OURS:
            yield document.mistake(f"{inner}.import_path", f"{app['import_path']} is not {OURS}")
            continue
        yield from _args(document, app.get("args") or {}, f"{inner}.args", kinds)


def check_text(document: Document, text: Any, place: str, kinds: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """The same of a config that a manifest holds as text."""
    try:
        config = yaml.safe_load(text) if isinstance(text, str) else None
    except yaml.YAMLError as error:
        yield document.mistake(place, f"no YAML: {one_line(error)}")
        return
    if not isinstance(config, dict):
        yield document.mistake(place, "is missing, or no config of Ray Serve")
        return
    yield from check(document, config, place, kinds)


def _unknown(document: Document, keys: Mapping[str, Any], schema: Any, before: str) -> Iterator[Finding]:
    """Keys that Ray Serve would ignore."""
    from lad_rllib.declared import suggestion

    for key in keys:
        if key not in schema.model_fields:
            yield document.mistake(f"{before}{key}", f"no key of Ray Serve; {suggestion(key, schema.model_fields)}")


def _args(
    document: Document, args: Mapping[str, Any], place: str, kinds: Sequence[Mapping[str, Any]] | None
) -> Iterator[Finding]:
    from lad_rllib.declared import declared
    from lad_rllib.errors import ConfigurationError
    from lad_rllib.fleet import load_fleet
    from lad_rllib.serving import named_policy
    from lad_rllib.serving.application import ApplicationFields

    try:
        fields = declared(ApplicationFields, args, "")
        fields.settings()
        fleet = load_fleet(fields.fleet)
        if "/" not in fields.policy:  # a folder is on the cluster
            named_policy(fields.policy)
    except ConfigurationError as error:
        yield document.mistake(place, str(error))
        return
    for problem in machines.without_machine(fleet, kinds) if kinds is not None else ():
        yield document.mistake(f"{place}.fleet.servers.{problem[0]}", f"no group of workers has {problem[1]}")

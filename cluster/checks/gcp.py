"""Node configurations of Google Cloud against the description of its API that google-api-python-client brings.

Not checked: whether machine types and images exist, quotas, what the credentials may do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import util
from pathlib import Path
from typing import Any

from .findings import Document, Finding, did_you_mean, unknown_keys

RAY_KEYS = {"sourceInstanceTemplate"}
"""Keys of a node configuration that Ray takes out before it asks Google."""
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "number": (int, float),
    "array": (list,),
    "object": (dict,),
}
EXAMPLE_PROJECT = "my-project"


def check(document: Document, config: Mapping[str, Any]) -> Iterator[Finding]:
    """Mistakes of a file for ``ray up`` on Google Cloud."""
    provider = config["provider"]
    region, zone = provider.get("region"), provider.get("availability_zone")
    if region and zone and not str(zone).startswith(f"{region}-"):
        yield document.mistake("provider.availability_zone", f"{zone} is not in region {region}")
    if EXAMPLE_PROJECT in document.text:
        yield document.note("", f"{EXAMPLE_PROJECT} stands for your own project; write it before 'ray up'")
    schemas = _schemas()
    if schemas is None:
        yield document.note("", "node_config was not checked; pip install google-api-python-client")
    for name, node_type in config["available_node_types"].items():
        place, node = f"available_node_types.{name}.node_config", node_type.get("node_config") or {}
        if not any(key in node for key in ("machineType", "acceleratorType", "acceleratorConfig")):
            yield document.mistake(place, "has no machineType")
            continue
        if schemas is not None and "machineType" in node:  # without one it is a TPU, which another API describes
            plain = {key: value for key, value in node.items() if key not in RAY_KEYS}
            yield from _against(document, plain, schemas["Instance"], schemas, place)
        yield from _machine(document, node, node_type.get("resources") or {}, place, name == config["head_node_type"])


def _machine(
    document: Document, node: Mapping[str, Any], resources: Mapping[str, Any], place: str, is_head: bool
) -> Iterator[Finding]:
    """What the name of the machine type tells."""
    machine = str(node.get("machineType", ""))
    size = re.search(r"-(?:standard|highmem|highcpu)-(\d+)$", machine)
    if size and not is_head and resources.get("CPU") not in (None, int(size[1])):
        yield document.mistake(
            f"{place.removesuffix('.node_config')}.resources.CPU",
            f"{resources['CPU']}, but {machine} has {size[1]}",
        )
    scheduling = node.get("scheduling")
    has_gpu = bool(node.get("guestAccelerators")) or re.match(r"(a2|a3|a4|g2|g4)-", machine)
    if has_gpu and not (isinstance(scheduling, dict) and scheduling.get("onHostMaintenance") == "TERMINATE"):
        yield document.mistake(
            f"{place}.scheduling", "write {onHostMaintenance: TERMINATE}: Google moves no machine with a GPU"
        )


@cache
def _schemas() -> dict[str, Any] | None:
    """The types of the API of virtual machines by name; None without the package."""
    found = util.find_spec("googleapiclient")
    if found is None or not found.submodule_search_locations:
        return None
    path = Path(found.submodule_search_locations[0]) / "discovery_cache" / "documents" / "compute.v1.json"
    schemas: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["schemas"]
    return schemas


def _against(
    document: Document, value: Any, schema: Mapping[str, Any], schemas: Mapping[str, Any], place: str
) -> Iterator[Finding]:
    """A value against its description: keys, types and the words that are allowed."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"]]
    expected = TYPES.get(schema.get("type", ""), (object,))
    if schema.get("format") in ("int64", "uint64"):
        expected = (str, int)  # written as text, since JSON's numbers are too short; Google takes both
    if not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected and object not in expected):
        yield document.mistake(place, f"{value!r} must be of type {schema['type']}")
    elif isinstance(value, dict) and "properties" in schema:
        for key, hint in unknown_keys(value, schema["properties"]):
            yield document.mistake(f"{place}.{key}", f"no setting of Google's {schema['id']}{hint}")
        for key in value.keys() & schema["properties"].keys():
            yield from _against(document, value[key], schema["properties"][key], schemas, f"{place}.{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _against(document, item, schema["items"], schemas, f"{place}[{number}]")
    elif "enum" in schema and value not in schema["enum"]:
        yield document.mistake(place, f"{value} is not allowed{did_you_mean(value, schema['enum'])}")

"""Node configurations of Azure against the template that Ray fills with them.

Not checked, since nothing here knows it without an account: whether machine sizes, images and locations exist, quotas,
what the credentials may do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from .findings import Document, Finding, did_you_mean, unknown_keys

RAY_FILLS = {
    "vmName",
    "vmTags",
    "vmCount",
    "provisionPublicIp",
    "msi",
    "nsg",
    "subnet",
    "zones",
    "adminUsername",
    "publicKey",
}
"""Parameters of the template that Ray sets itself, whatever the file says."""
RAY_READS = {"availability_zone"}
NODE_KEYS = {"azure_arm_parameters", "tags"}
TYPES: dict[str, type] = {"string": str, "int": int, "bool": bool, "object": dict, "array": list}
WORDS = {"priority": ("Regular", "Low", "Spot"), "evictionPolicy": ("Delete", "Deallocate")}
IMAGE_PARTS = ("imagePublisher", "imageOffer", "imageSku", "imageVersion")
ZONES = re.compile(r"(?i)auto|none|[1-9](\s*,\s*[1-9])*")


@cache
def _template() -> dict[str, Any]:
    import ray

    path = Path(ray.__file__).parent / "autoscaler" / "_private" / "_azure" / "azure-vm-template.json"
    parameters: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["parameters"]
    return parameters


def check(document: Document, config: Mapping[str, Any]) -> Iterator[Finding]:
    """Mistakes of a file for ``ray up`` on Azure."""
    yield from _zone(document, config["provider"], "provider")
    for name, node_type in config["available_node_types"].items():
        place, node = f"available_node_types.{name}.node_config", node_type.get("node_config") or {}
        for key, hint in unknown_keys(node, NODE_KEYS):
            yield document.mistake(f"{place}.{key}", f"Ray reads no such key on Azure{hint}")
        parameters = node.get("azure_arm_parameters")
        if not isinstance(parameters, dict):
            yield document.mistake(f"{place}.azure_arm_parameters", "is missing; it says which machine to take")
            continue
        inner = f"{place}.azure_arm_parameters"
        yield from _parameters(document, parameters, inner)
        yield from _zone(document, parameters, inner)
        size = re.fullmatch(r"(?:Standard|Basic)_[A-Z]+(\d+)[a-z]*(?:_\w+)*", str(parameters.get("vmSize", "")))
        cpus = (node_type.get("resources") or {}).get("CPU")
        if size and name != config["head_node_type"] and cpus not in (None, int(size[1])):
            yield document.mistake(
                f"available_node_types.{name}.resources.CPU", f"{cpus}, but {parameters['vmSize']} has {size[1]}"
            )


def _parameters(document: Document, parameters: Mapping[str, Any], place: str) -> Iterator[Finding]:
    for key, hint in unknown_keys(parameters, _template().keys() | RAY_READS):
        yield document.mistake(f"{place}.{key}", f"no parameter of Ray's template{hint}")
    for key, value in parameters.items():
        if key in RAY_FILLS:
            yield document.mistake(f"{place}.{key}", "Ray sets it itself; leave it out")
        elif key in _template():
            kind = _template()[key]["type"]
            if not isinstance(value, TYPES[kind]) or (kind == "int" and isinstance(value, bool)):
                yield document.mistake(f"{place}.{key}", f"{value!r} must be of type {kind}")
            elif key in WORDS and value not in WORDS[key]:
                yield document.mistake(f"{place}.{key}", f"{value} is not allowed{did_you_mean(value, WORDS[key])}")
    if "vmSize" not in parameters:
        yield document.mistake(f"{place}.vmSize", "is missing; it says which machine to take")
    missing = [part for part in IMAGE_PARTS if part not in parameters]
    if missing and "imageId" not in parameters:
        yield document.mistake(place, f"{missing[0]} is missing; an image is imageId, or {', '.join(IMAGE_PARTS)}")


def _zone(document: Document, values: Mapping[str, Any], place: str) -> Iterator[Finding]:
    zone = values.get("availability_zone", "auto")
    if not isinstance(zone, str) or not ZONES.fullmatch(zone.strip()):
        yield document.mistake(f"{place}.availability_zone", f'{zone!r}: Ray reads "1,2,3" (in quotes), auto or none')

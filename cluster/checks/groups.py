"""Types and bounds of what a RayCluster says of its groups: what KubeRay's schemas refuse, without having them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .findings import Document, Finding

TEXTS = "texts"
"""A mapping whose values are texts."""

_GROUP = {"rayStartParams": TEXTS, "labels": TEXTS, "resources": TEXTS, "template": dict}
HEAD = _GROUP | {"serviceType": str, "enableIngress": bool, "headService": dict}
WORKERS = _GROUP | {
    "groupName": str,
    "minReplicas": int,
    "maxReplicas": int,
    "replicas": int,
    "numOfHosts": int,
    "idleTimeoutSeconds": int,
    "suspend": bool,
}
CLUSTER = {
    "rayVersion": str,
    "enableInTreeAutoscaling": bool,
    "suspend": bool,
    "autoscalerOptions": dict,
    "headGroupSpec": dict,
    "workerGroupSpecs": list,
}
AUTOSCALER = {"version": str, "idleTimeoutSeconds": int, "upscalingMode": str, "image": str, "resources": dict}
JOB = {
    "entrypoint": str,
    "shutdownAfterJobFinishes": bool,
    "ttlSecondsAfterFinished": int,
    "activeDeadlineSeconds": int,
    "backoffLimit": int,
    "runtimeEnvYAML": str,
    "suspend": bool,
}
_NAMES = {str: "a text", int: "a whole number", bool: "true or false", dict: "keys and values", list: "a list"}


def check(document: Document, cluster: Mapping[str, Any], place: str) -> Iterator[Finding]:
    """Mistakes of a cluster's own values and of those of its groups.

    Args:
        document: Its file.
        cluster: The specification of the cluster.
        place: Where that is.
    """
    yield from check_types(document, cluster, CLUSTER, place)
    yield from check_types(document, cluster.get("autoscalerOptions"), AUTOSCALER, f"{place}.autoscalerOptions")
    yield from check_types(document, cluster.get("headGroupSpec"), HEAD, f"{place}.headGroupSpec")
    groups = cluster.get("workerGroupSpecs")
    for number, group in enumerate(groups if isinstance(groups, list) else []):
        inner = f"{place}.workerGroupSpecs[{number}]"
        yield from check_types(document, group, WORKERS, inner)
        if isinstance(group, dict):
            yield from _bounds(document, group, inner)


def check_types(document: Document, values: Any, types: Mapping[str, Any], place: str) -> Iterator[Finding]:
    """Values of the wrong type, by the names that are known; a number where a text belongs needs quotes."""
    if values is None:
        return
    if not isinstance(values, dict):
        yield document.mistake(place, f"must hold keys and values, got {values!r}")
        return
    for name in values.keys() & types.keys():
        wanted = types[name]
        if wanted == TEXTS:
            inner = values[name]
            known = dict.fromkeys(inner, str) if isinstance(inner, dict) else {}
            yield from check_types(document, inner, known, f"{place}.{name}")
        elif type(values[name]) is not wanted:
            quotes = "; put it in quotes" if wanted is str and not isinstance(values[name], (dict, list)) else ""
            yield document.mistake(f"{place}.{name}", f"must be {_NAMES[wanted]}, got {values[name]!r}{quotes}")


def _bounds(document: Document, group: Mapping[str, Any], place: str) -> Iterator[Finding]:
    numbers = {name: group.get(name) for name in ("minReplicas", "replicas", "maxReplicas", "numOfHosts")}
    known = {name: number for name, number in numbers.items() if type(number) is int}
    for name, number in known.items():
        least = 1 if name == "numOfHosts" else 0
        if number < least:
            yield document.mistake(f"{place}.{name}", f"must be at least {least}, got {number}")
    order = [name for name in ("minReplicas", "replicas", "maxReplicas") if name in known]
    for low, high in zip(order, order[1:], strict=False):
        if known[low] > known[high]:
            yield document.mistake(f"{place}.{low}", f"{known[low]} is more than {high}, {known[high]}")

"""Fleets of edge servers against the clusters beside them: is there a kind of machine that fits each server?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import launch_files, machines, manifests
from .findings import Document, Finding


def is_fleet(document: Document) -> bool:
    """Whether it describes a fleet."""
    return bool(document.parts) and isinstance(document.parts[0], dict) and "servers" in document.parts[0]


def check(document: Document, beside: Sequence[Document]) -> Iterator[Finding]:
    """Mistakes of a fleet, and servers that find no machine in one of the clusters.

    Args:
        document: The fleet.
        beside: Documents checked in the same call.
    """
    from lad_rllib.errors import ConfigurationError
    from lad_rllib.fleet import load_fleet

    try:
        fleet = load_fleet(document.parts[0])
    except ConfigurationError as error:
        yield document.mistake("", str(error))
        return
    for cluster in beside:
        kinds = machines_of(cluster)
        if kinds is None:
            continue
        for name, wish in machines.without_machine(fleet, kinds):
            yield document.mistake(f"servers.{name}", f"no machine of {cluster.name} has {wish}")


def machines_of(document: Document) -> list[Mapping[str, Any]] | None:
    """Resources and labels of the kinds of workers of a cluster that grows; None if the document is none.

    A cluster of one's own machines (``local``) finds out only when it runs.
    """
    if launch_files.provider_of(document) in launch_files.CLOUDS:
        config = document.parts[0]
        types = config.get("available_node_types")
        return [t for name, t in types.items() if name != config.get("head_node_type")] if types else None
    for part in document.parts:
        if isinstance(part, dict) and part.get("kind") == "RayCluster":  # jobs bring their own pods, for no fleet
            return manifests.workers_of(part)
    return None

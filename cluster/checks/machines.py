"""Whether a server of a fleet finds a kind of machine that fits it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def without_machine(fleet: Any, machines: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Servers of a fleet that no kind of machine fits, by name, with what they need."""
    for server in fleet.servers:
        needs = {"CPU": server.num_cpus, "GPU": server.num_gpus, **server.resources}
        labels = server.labels
        if not any(_fits(machine, needs, labels) for machine in machines):
            wishes = [f"{amount:g} {name}" for name, amount in needs.items() if amount]
            yield server.name, ", ".join(wishes + [f"label {key}: {value}" for key, value in labels.items()])


def _fits(machine: Mapping[str, Any], needs: Mapping[str, float], labels: Mapping[str, str]) -> bool:
    has = machine.get("resources") or {}
    offered = machine.get("labels") or {}
    return all(has.get(name, 0) >= amount for name, amount in needs.items()) and all(
        offered.get(key) == value for key, value in labels.items() if not value.startswith(("!", "in("))
    )

"""A setting: the network, the arrivals and the episode length that a scheduler is trained or evaluated on.

A setting is described by a plain dictionary (it travels in configurations, files and checkpoints) with the keys of
:class:`SettingFields`.

Keys of a group change single fields of the preset's group. With another ``source`` than the preset's, the arrivals keep
the fields that both sources share: ``uniform`` and ``poisson`` share the tasks' attributes and ``max_tasks``; a request
log brings its own tasks and shares none.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from lad_rllib.declared import Declared, declared, plain, shown
from lad_rllib.errors import ConfigurationError
from lad_rllib.reference import json_schema
from lad_rllib.simulator.arrivals import ARRIVALS, ArrivalSource, SyntheticFields, TraceArrivals
from lad_rllib.simulator.arrivals.trace import SAMPLE
from lad_rllib.simulator.field_types import Count
from lad_rllib.simulator.network import EdgeNetwork, NetworkFields
from lad_rllib.simulator.sizes import check_fits, setting_bytes
from lad_rllib.text_files import read_structured

PRESETS: dict[str, dict[str, Any]] = {
    # Published draws of arXiv 2412.18212: load 1.24, queues grow over an episode.
    "paper": {"slots": 60, "network": {}, "arrivals": {"source": "uniform"}},
    # The same distributions with other draws; network.seed chooses the network.
    "paper-random": {
        "slots": 60,
        "network": {"capacity_gcycles_per_s": {"range": [10, 50]}, "link_rate_mbit_per_s": {"range": [400, 500]}},
        "arrivals": {"source": "uniform", "attributes": "per_task"},
    },
    # For tests and quick looks: few stations, tasks and slots; overloaded like the paper's.
    "small": {
        "slots": 8,
        "network": {"stations": 4, "capacity_gcycles_per_s": [2.0, 3.0, 5.0, 7.0]},
        "arrivals": {"source": "uniform", "max_tasks": 6},
    },
    # The package's made-up request log on a small network.
    "sample-trace": {
        "slots": 20,
        "network": {"stations": 4, "capacity_gcycles_per_s": [20.0, 30.0, 40.0, 50.0]},
        "arrivals": {"source": "trace", "path": SAMPLE},
    },
}
"""Named settings. Any key can be changed on top of a preset."""

_GROUPS = ("network", "arrivals")


class SettingFields(Declared):
    """The keys of a setting; the groups are declared with the network and with each source of arrivals."""

    preset: str = "paper"
    """Named setting that the other keys change."""
    name: Annotated[str, Field(max_length=200)] | None = None
    """Name in results; null: the preset's, followed by another source if there is one."""
    slots: Count = 60
    """Slots T of an episode (60 in arXiv 2412.18212)."""
    slot_s: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Length of a slot [s]; null: 1 (arXiv 2412.18212), and 20 with a trace."""
    network: dict[str, Any] = {}
    """Group: base stations, edge servers and links."""
    arrivals: dict[str, Any] = {}
    """Group: ``source``, where tasks come from, and the fields that the source has."""


@dataclass(frozen=True)
class Setting:
    """What a scheduler is trained or evaluated on.

    Attributes:
        name: Name in results.
        network: The edge network.
        arrivals: Where the tasks come from.
        num_slots: Slots T of an episode.
        spec: The dictionary that describes it, every field filled in; ``build_setting(spec)`` builds it again.
    """

    name: str
    network: EdgeNetwork
    arrivals: ArrivalSource
    num_slots: int
    spec: dict[str, Any]

    @property
    def load(self) -> float:
        """Offered work over capacity; above 1 the queues grow."""
        capacity = self.network.total_capacity_gcycles_per_s * self.network.slot_s
        return self.arrivals.mean_work_per_slot_gcycles() / capacity

    def with_part(self, part: tuple[float, float]) -> Setting:
        """The same setting on another part of its request log, which is not read again.

        Raises:
            ConfigurationError: if the tasks come from no log, or the part is shorter than an episode.
        """
        if not isinstance(self.arrivals, TraceArrivals):
            raise ConfigurationError(f"setting {self.name!r} has no request log to take the part {part} of")
        arrivals = self.arrivals.with_part(part)
        arrivals.check_episode(self.num_slots)
        return replace(self, arrivals=arrivals, spec=override_spec(self.spec, {"arrivals": {"part": list(part)}}))

    def summary(self) -> str:
        """The setting and what it means, in a few lines of text; for a trace, with its report."""
        network, slot_s = self.network, self.network.slot_s
        line = (
            f"{self.name}: {network.num_stations} base stations, {network.num_servers} edge servers with "
            f"{network.total_capacity_gcycles_per_s:g} Gcycle/s, {self.num_slots} slots of {slot_s:g} s, "
            f"at most {self.arrivals.max_tasks} tasks per station and slot, load {self.load:.3f}"
        )
        offered = self.arrivals.mean_work_per_slot_gcycles() / slot_s
        growth = "more than they can do: queues grow" if self.load > 1 else "which they can do on average"
        meaning = f"  the servers are asked for {offered:.4g} Gcycle/s, {growth}"
        return "\n".join(text for text in (line, self.arrivals.describe(), meaning) if text)


def build_setting(spec: Mapping[str, Any]) -> Setting:
    """Build the setting that a plain dictionary describes; the same dictionary gives the same setting.

    Raises:
        ConfigurationError: for an unknown preset, key or source, for a value that cannot be used, and for values that
            contradict each other.

    >>> build_setting({"preset": "small", "network": {"stations": 2}}).network.num_stations
    2
    """
    spec = as_group("a setting", spec)
    preset = spec.get("preset", "paper")
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ConfigurationError(f"unknown preset {shown(preset)}; choose from {', '.join(PRESETS)}")
    top = declared(SettingFields, override_spec(PRESETS[preset], spec))
    source = top.arrivals.get("source", "uniform")
    fields = ARRIVALS[source]
    _check_source_has(source, top.arrivals)
    network_fields = declared(NetworkFields, top.network, "network.")
    arrival_fields = declared(fields, top.arrivals, "arrivals.")
    slot_s = top.slot_s or fields.default_slot_s
    name = top.name or (preset if source == PRESETS[preset]["arrivals"]["source"] else f"{preset}-{source}")
    _check_size(top.slots, network_fields, getattr(arrival_fields, "max_tasks", None) or 1)
    network = network_fields.build(slot_s)
    arrivals = arrival_fields.build(network)
    _check_size(top.slots, network_fields, arrivals.max_tasks)
    arrivals.check_episode(top.slots)
    resolved = {
        "preset": preset,
        "name": name,
        "slots": top.slots,
        "slot_s": slot_s,
        "network": network_fields.model_dump(),
        "arrivals": arrival_fields.model_dump(),
    }
    return Setting(name, network, arrivals, top.slots, resolve_paths(resolved, Path.cwd()))


def override_spec(spec: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A settings dictionary with changes on top; groups are merged field by field.

    >>> override_spec({"slots": 60, "network": {"stations": 5}}, {"network": {"seed": 3}})
    {'slots': 60, 'network': {'stations': 5, 'seed': 3}}
    """
    merged = copy.deepcopy(dict(spec))
    for key, value in changes.items():
        if key in _GROUPS:
            value, base = as_group(key, value), as_group(key, merged.get(key, {}))
            if key == "arrivals":
                base = _shared_fields(base, _source(merged), value.get("source"))
            value = {**base, **value}
        merged[key] = copy.deepcopy(value)
    return merged


def as_group(name: str, values: object) -> dict[str, Any]:
    """The values as plain keys and values."""
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"{name} must be a group of keys and values, got {shown(values)}")
    try:
        return {key: plain(value) for key, value in values.items()}
    except RecursionError:
        raise ConfigurationError(f"{name} is nested too deeply") from None


def _check_size(slots: int, network: NetworkFields, max_tasks: int) -> None:
    """Refuse a setting of which one episode does not fit into memory."""
    stations, servers = network.stations, network.num_servers
    check_fits(
        f"an episode of {slots:,} slots, {stations:,} base stations with up to {max_tasks:,} tasks each, and "
        f"{servers:,} edge servers",
        setting_bytes(slots, stations, servers, max_tasks),
        "slots, network.stations, network.servers or arrivals.max_tasks",
    )


def _source(spec: Mapping[str, Any]) -> object:
    """Source of a settings dictionary's arrivals, or of its preset's."""
    preset = spec.get("preset", "paper")
    inherited = PRESETS[preset]["arrivals"]["source"] if isinstance(preset, str) and preset in PRESETS else None
    return as_group("arrivals", spec.get("arrivals", {})).get("source", inherited)


def _check_source_has(source: str, arrivals: Mapping[str, Any]) -> None:
    """Refuse a field of another source by that source's name."""
    for key in set(arrivals) - set(ARRIVALS[source].model_fields):
        if owners := [other for other in ARRIVALS if key in ARRIVALS[other].model_fields]:
            raise ConfigurationError(
                f"arrivals.{key} belongs to source {' or '.join(owners)}, and arrivals.source is {source}"
            )


def _shared_fields(arrivals: Mapping[str, Any], source: object, new_source: object) -> dict[str, Any]:
    """The arrivals' values that keep their meaning with another source; None: the source stays."""
    if new_source is None or new_source == source:
        return dict(arrivals)
    if not all(one in ARRIVALS and issubclass(ARRIVALS[one], SyntheticFields) for one in (source, new_source)):
        return {}
    return {key: value for key, value in arrivals.items() if key in SyntheticFields.model_fields}


def setting_groups() -> dict[str, type[Declared]]:
    """Every group of a setting with its declaration, for tables: the top level, ``network``, and each source."""
    sources = {f"arrivals, source: {name}": ARRIVALS[name] for name in ARRIVALS}
    return {"top level": SettingFields, "network": NetworkFields, **sources}


def setting_schema() -> dict[str, Any]:
    """JSON schema of a settings file, for editors."""
    schema = json_schema(SettingFields)
    schema["properties"]["preset"]["enum"] = list(PRESETS)
    schema["properties"]["network"] = json_schema(NetworkFields)
    schema["properties"]["arrivals"] = {"anyOf": [json_schema(ARRIVALS[name]) for name in ARRIVALS]}
    return schema


def load_spec(path: str | Path) -> dict[str, Any]:
    """Read a settings dictionary from a YAML or JSON file; a relative trace path is relative to that file."""
    path = Path(path)
    spec = read_structured(path, "settings file")
    if not isinstance(spec, dict):
        raise ConfigurationError(f"settings file {path} must hold keys and values, found {type(spec).__name__}")
    return resolve_paths(spec, path.resolve().parent)


def load_setting(path: str | Path) -> Setting:
    """Build the setting that a YAML or JSON file describes."""
    return build_setting(load_spec(path))


def resolve_paths(spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A settings dictionary whose path of a log is absolute, so that it means the same in every process."""
    result = copy.deepcopy(dict(spec))
    for group in (result.get("arrivals"), result.get("traffic")):
        if isinstance(group, dict) and isinstance(group.get("path"), str) and group["path"] != SAMPLE:
            group["path"] = str((folder / os.path.expanduser(group["path"])).absolute())
    return result

"""A setting: the network, the arrivals and the episode length that a scheduler is trained or judged on.

A setting is described by a plain dictionary (it travels in configurations, files and checkpoints):

| key | meaning | default |
|---|---|---|
| ``preset`` | named setting that the other keys change, see :data:`PRESETS` | ``paper`` |
| ``name`` | name in results | the preset's, followed by another source if there is one |
| ``slots`` | slots T of an episode | 60 (arXiv 2412.18212) |
| ``slot_s`` | length of a slot [s] | 1 (arXiv 2412.18212); 20 with a trace, see ``TRACE_SLOT_S`` |
| ``network`` | group, see :class:`~lad_rllib.simulator.setting_fields.NetworkFields` | published draws |
| ``arrivals`` | group: ``source`` (``uniform``, ``poisson``, ``trace``) and its fields, see there | ``uniform`` |

Keys of a group change single fields of the preset's group. With another ``source`` than the preset's, the arrivals keep
the fields that both sources share: ``uniform`` and ``poisson`` share the tasks' attributes and ``max_tasks``; a request
log brings its own tasks and shares none.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator.arrivals import ArrivalSource
from lad_rllib.simulator.network import EdgeNetwork
from lad_rllib.simulator.setting_fields import (
    SAMPLE,
    SOURCES,
    NetworkFields,
    SyntheticFields,
    TraceFields,
    number,
    whole_number,
)
from lad_rllib.simulator.trace import TRACE_SLOT_S, TraceArrivals
from lad_rllib.text_files import read_structured

PRESETS: dict[str, dict[str, Any]] = {
    # Published draws of arXiv 2412.18212: load 1.24, queues grow over an episode.
    "paper": {"slots": 60, "network": {}, "arrivals": {"source": "uniform"}},
    # Another network and other tasks of the same distributions; network.seed chooses the network.
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

_TOP_KEYS = ("preset", "name", "slots", "slot_s", "network", "arrivals")
_GROUPS = ("network", "arrivals")


@dataclass(frozen=True)
class Setting:
    """What a scheduler is trained or judged on.

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
        """The setting as a line of text; for a trace, its report below."""
        network = self.network
        line = (
            f"{self.name}: {network.num_stations} base stations, {network.num_servers} edge servers with "
            f"{network.total_capacity_gcycles_per_s:g} Gcycle/s, {self.num_slots} slots of {network.slot_s:g} s, "
            f"at most {self.arrivals.max_tasks} tasks per station and slot, load {self.load:.3f}"
        )
        return f"{line}\n{self.arrivals.report.summary()}" if isinstance(self.arrivals, TraceArrivals) else line


def build_setting(spec: Mapping[str, Any]) -> Setting:
    """Build the setting that a plain dictionary describes; the same dictionary gives the same setting.

    Raises:
        ConfigurationError: for an unknown preset, key or source, for a value that cannot be used, and for values that
            contradict each other.

    >>> build_setting({"preset": "small", "network": {"stations": 2}}).network.num_stations
    2
    """
    spec = _plain(spec)
    preset = spec.get("preset", "paper")
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ConfigurationError(f"unknown preset {preset!r}; choose from {', '.join(PRESETS)}")
    merged = override_spec(PRESETS[preset], spec)
    _check_keys("", merged, _TOP_KEYS)
    arrival_values = dict(merged["arrivals"])
    source = arrival_values.pop("source", "uniform")
    if not isinstance(source, str) or source not in SOURCES:
        raise ConfigurationError(f"unknown arrivals.source {source!r}; choose from {', '.join(SOURCES)}")
    network_fields = NetworkFields(**_known("network", merged["network"], NetworkFields))
    arrival_fields = SOURCES[source](**_known(f"arrivals (source {source})", arrival_values, SOURCES[source]))
    num_slots = whole_number("slots", merged.get("slots", 60), 1)
    slot_s = merged.get("slot_s")
    if slot_s is None:
        slot_s = TRACE_SLOT_S if isinstance(arrival_fields, TraceFields) else 1.0
    is_preset_source = source == PRESETS[preset]["arrivals"]["source"]
    name = merged.get("name") or (preset if is_preset_source else f"{preset}-{source}")
    network = network_fields.build(number("slot_s", slot_s))
    arrivals = arrival_fields.build(network)
    if isinstance(arrivals, TraceArrivals):
        arrivals.check_episode(num_slots)
    resolved = {
        "preset": preset,
        "name": str(name),
        "slots": num_slots,
        "slot_s": network.slot_s,
        "network": asdict(network_fields),
        "arrivals": {"source": source, **asdict(arrival_fields)},
    }
    return Setting(str(name), network, arrivals, num_slots, resolve_paths(_plain(resolved), Path.cwd()))


def override_spec(spec: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A settings dictionary with changes on top; groups are merged field by field.

    >>> override_spec({"slots": 60, "network": {"stations": 5}}, {"network": {"seed": 3}})
    {'slots': 60, 'network': {'stations': 5, 'seed': 3}}
    """
    merged = copy.deepcopy(dict(spec))
    for key, value in changes.items():
        if key in _GROUPS:
            if not isinstance(value, Mapping):
                raise ConfigurationError(f"{key} must be a group of fields, got {value!r}")
            base = merged.get(key, {})
            if key == "arrivals":
                base = _shared_fields(base, _source(merged), value.get("source"))
            value = {**base, **value}
        merged[key] = copy.deepcopy(value)
    return merged


def _source(spec: Mapping[str, Any]) -> object:
    """Source of a settings dictionary's arrivals, or of its preset's."""
    preset = spec.get("preset", "paper")
    inherited = PRESETS[preset]["arrivals"]["source"] if isinstance(preset, str) and preset in PRESETS else None
    return spec.get("arrivals", {}).get("source", inherited)


def _shared_fields(arrivals: Mapping[str, Any], source: object, new_source: object) -> dict[str, Any]:
    """The arrivals' values that keep their meaning with another source; None: the source stays."""
    if new_source is None or new_source == source:
        return dict(arrivals)
    both = [SOURCES[one] for one in (source, new_source) if isinstance(one, str) and one in SOURCES]
    if len(both) < 2 or not all(issubclass(group, SyntheticFields) for group in both):
        return {}
    shared = {field.name for field in fields(SyntheticFields)}
    return {key: value for key, value in arrivals.items() if key in shared}


def load_spec(path: str | Path) -> dict[str, Any]:
    """Read a settings dictionary from a YAML or JSON file; a relative trace path is relative to that file."""
    path = Path(path)
    spec = read_structured(path, "settings file")
    if not isinstance(spec, dict):
        raise ConfigurationError(f"settings file {path} must hold keys and values, found {type(spec).__name__}")
    return resolve_paths(_plain(spec), path.resolve().parent)


def load_setting(path: str | Path) -> Setting:
    """Build the setting that a YAML or JSON file describes."""
    return build_setting(load_spec(path))


def resolve_paths(spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A settings dictionary whose trace path is absolute, so that it means the same in every process."""
    result = copy.deepcopy(dict(spec))
    arrivals = result.get("arrivals")
    if isinstance(arrivals, dict) and isinstance(arrivals.get("path"), str) and arrivals["path"] != SAMPLE:
        arrivals["path"] = str((folder / Path(arrivals["path"]).expanduser()).absolute())
    return result


def _plain(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with lists, dictionaries, numbers, text, booleans and None only."""

    def convert(value: object) -> Any:
        if isinstance(value, (np.ndarray, np.generic)):
            return value.tolist()
        if isinstance(value, Mapping):
            return dict(value)
        raise ConfigurationError(f"a setting holds plain values only (numbers, text, lists, groups), got {value!r}")

    if not isinstance(spec, Mapping):
        raise ConfigurationError(f"a setting is a dictionary, got {type(spec).__name__}")
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(spec), default=convert))
    except (TypeError, ValueError) as error:
        raise ConfigurationError(str(error)) from None
    return plain


def _check_keys(where: str, values: Mapping[str, Any], valid: Collection[str]) -> None:
    unknown = [key for key in values if key not in valid]
    if unknown:
        place = f" in {where}" if where else ""
        raise ConfigurationError(f"unknown setting {unknown[0]!r}{place}; valid: {', '.join(valid)}")


def _known(where: str, values: Mapping[str, Any], group: type[Any]) -> dict[str, Any]:
    """The values of a group, or an error that names the first unknown key and the valid ones."""
    valid = [field.name for field in fields(group)]
    if where.startswith("arrivals"):
        valid = ["source", *valid]
    _check_keys(where, values, valid)
    return dict(values)

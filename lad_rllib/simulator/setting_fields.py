"""The groups of a setting: every field with its unit, meaning, default and the source of that default.

A group turns a part of the plain settings dictionary into a network or a source of arrivals. Fields that contradict
each other raise; see :mod:`lad_rllib.simulator.settings` for how presets and groups are put together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator.arrivals import (
    ArrivalSource,
    PoissonArrivals,
    TaskAttributes,
    TaskRanges,
    UniformArrivals,
    draw_task_attributes,
    published_task_attributes,
)
from lad_rllib.simulator.network import EdgeNetwork, draw_network, published_network
from lad_rllib.simulator.trace import TraceArrivals
from lad_rllib.simulator.trace_file import sample_trace_path
from lad_rllib.simulator.trace_rules import TraceRules

SAMPLE = "sample"
"""Path that stands for the made-up log which comes with the package."""


def whole_number(name: str, value: object, least: int) -> int:
    """The value as an int, or a ``ConfigurationError`` that names the field."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return value


def number(name: str, value: object) -> float:
    """The value as a float, or a ``ConfigurationError`` that names the field."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise ConfigurationError(f"{name} must be a finite number, got {value!r}")
    return float(value)


def _number_pair(name: str, value: object) -> tuple[float, float]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ConfigurationError(f"{name} must be a range [low, high], got {value!r}")
    return number(name, value[0]), number(name, value[1])


def _whole_pair(name: str, value: object) -> tuple[int, int]:
    low, high = _number_pair(name, value)
    if low != int(low) or high != int(high):
        raise ConfigurationError(f"{name} must be a range of whole numbers, got {value!r}")
    return int(low), int(high)


@dataclass(frozen=True)
class NetworkFields:
    """Group ``network``. The defaults are the draws of the published experiments (arXiv 2412.18212).

    Attributes:
        stations: Base stations B.
        servers: Edge servers A; null: as many as the lists of capacities or link rates name, else one per station.
        capacity_gcycles_per_s: Computing capacity of the edge servers [Gcycle/s]: ``published``; one number for all;
            a list; or ``{range: [10, 50], seed: 3}``, whole numbers drawn uniformly, both ends included.
        link_rate_mbit_per_s: Link rate of the edge servers [Mbit/s], in the same forms.
        home_server: Edge server at each base station, -1 for none; null: server ``b`` at station ``b``.
        seed: Seed of the ranges that name none themselves; null is 0. Another seed is another network.
    """

    stations: int = 20
    servers: int | None = None
    capacity_gcycles_per_s: str | float | list[float] | dict[str, Any] = "published"
    link_rate_mbit_per_s: str | float | list[float] | dict[str, Any] = "published"
    home_server: list[int] | None = None
    seed: int | None = None

    def build(self, slot_s: float) -> EdgeNetwork:
        """The network that the fields describe."""
        stations = whole_number("network.stations", self.stations, 1)
        values = {name: getattr(self, name) for name in ("capacity_gcycles_per_s", "link_rate_mbit_per_s")}
        lengths = {name: len(value) for name, value in values.items() if isinstance(value, list)}
        default = next(iter(lengths.values()), stations)
        servers = default if self.servers is None else self.servers
        for name, length in lengths.items():
            if length != servers:
                cause = "servers is" if self.servers is not None else "capacity_gcycles_per_s names"
                raise ConfigurationError(
                    f"network.{name} names {length} edge servers, {cause} {servers}; make them equal"
                )
        servers = whole_number("network.servers", servers, 1)
        self._check_seed(values)
        home: dict[str, Any] = {} if self.home_server is None else {"home_server": self._home(stations)}
        return EdgeNetwork(
            num_stations=stations,
            capacity_gcycles_per_s=self._vector("capacity_gcycles_per_s", "capacity_range", servers),
            link_rate_mbit_per_s=self._vector("link_rate_mbit_per_s", "link_rate_range", servers),
            slot_s=slot_s,
            **home,
        )

    def _check_seed(self, values: Mapping[str, Any]) -> None:
        if self.seed is None:
            return
        whole_number("network.seed", self.seed, 0)
        if not any(isinstance(value, dict) and value.get("seed") is None for value in values.values()):
            raise ConfigurationError(
                f"network.seed {self.seed} has no effect: neither capacity_gcycles_per_s nor link_rate_mbit_per_s is "
                "drawn with it; use preset paper-random or {range: [10, 50]}, or leave the seed out"
            )

    def _vector(self, name: str, range_name: str, servers: int) -> NDArray[np.float64]:
        value = getattr(self, name)
        if value == "published":
            vector: NDArray[np.float64] = getattr(published_network(servers), name)
            return vector
        if isinstance(value, list):
            return np.array([number(f"network.{name}", one) for one in value])
        if isinstance(value, dict):
            if not {"range"} <= set(value) <= {"range", "seed"}:
                raise ConfigurationError(f"network.{name} must be {{range: [low, high], seed: number}}, got {value}")
            own = value.get("seed")
            seed = whole_number(f"network.{name}.seed", (self.seed or 0) if own is None else own, 0)
            bounds = _whole_pair(f"network.{name}.range", value["range"])
            drawn = draw_network(np.random.default_rng(seed), num_servers=servers, **{range_name: bounds})  # type: ignore[arg-type]
            vector = getattr(drawn, name)
            return vector
        if isinstance(value, str):
            raise ConfigurationError(f"network.{name} must be 'published', a number, a list or a range, got {value!r}")
        return np.full(servers, number(f"network.{name}", value))

    def _home(self, stations: int) -> NDArray[np.int64]:
        if not isinstance(self.home_server, list):
            raise ConfigurationError(f"network.home_server must be a list of {stations} servers or null")
        return np.array([whole_number("network.home_server", one, -1) for one in self.home_server], dtype=np.int64)


@dataclass(frozen=True)
class SyntheticFields:
    """Fields of group ``arrivals`` that both synthetic sources have. Defaults: arXiv 2412.18212.

    Attributes:
        max_tasks: Most tasks of one station in one slot, N.
        attributes: What ``z``, ``rho`` and result size belong to: ``published`` (the published draws, per task
            index); ``{per_index: seed}`` (other draws per task index); ``per_task`` (drawn anew for every task).
        task_mbit: Range of the input size [Mbit]; null: [2, 5].
        denoising_steps: Range of the quality demand, whole numbers, both ends included; null: [1, 14]. With
            ``published`` it must start at 1.
        density_gcycles_per_step: Range of the computing density [Gcycle/step]; null: [0.1024, 0.3072]. Not with
            ``published``.
        result_mbit: Range of the result size [Mbit]; null: [0.6, 1]. Not with ``published``.
        overhead_steps: What every image costs besides its steps, in denoising steps (0).
    """

    max_tasks: int = 50
    attributes: str | dict[str, Any] = "published"
    task_mbit: list[float] | None = None
    denoising_steps: list[int] | None = None
    density_gcycles_per_step: list[float] | None = None
    result_mbit: list[float] | None = None
    overhead_steps: float = 0.0

    def common(self, network: EdgeNetwork) -> dict[str, Any]:
        """Arguments that both synthetic sources share."""
        max_tasks = whole_number("arrivals.max_tasks", self.max_tasks, 1)
        ranges = self._ranges()
        return {
            "num_stations": network.num_stations,
            "max_tasks": max_tasks,
            "ranges": ranges,
            "attributes": self._attributes(max_tasks, ranges),
            "overhead_steps": number("arrivals.overhead_steps", self.overhead_steps),
        }

    def _ranges(self) -> TaskRanges:
        pair: dict[str, Callable[[str, object], tuple[Any, Any]]] = {
            "task_mbit": _number_pair,
            "denoising_steps": _whole_pair,
            "density_gcycles_per_step": _number_pair,
            "result_mbit": _number_pair,
        }
        given = {
            name: check(f"arrivals.{name}", getattr(self, name))
            for name, check in pair.items()
            if getattr(self, name) is not None
        }
        return TaskRanges(**given)

    def _attributes(self, max_tasks: int, ranges: TaskRanges) -> TaskAttributes | None:
        if self.attributes == "per_task":
            return None
        if self.attributes == "published":
            for name in ("density_gcycles_per_step", "result_mbit"):
                if getattr(self, name) is not None:
                    raise ConfigurationError(
                        f"arrivals.{name} {getattr(self, name)} has no effect with attributes 'published'; "
                        "choose attributes 'per_task' or {per_index: seed}"
                    )
            low, high = ranges.denoising_steps
            if low != 1:
                raise ConfigurationError(
                    f"arrivals.denoising_steps {[low, high]} does not fit attributes 'published', which start at 1; "
                    "choose attributes 'per_task' or {per_index: seed}"
                )
            return published_task_attributes(max_tasks, high)
        if isinstance(self.attributes, dict) and set(self.attributes) == {"per_index"}:
            seed = whole_number("arrivals.attributes.per_index", self.attributes["per_index"], 0)
            return TaskAttributes(*draw_task_attributes(np.random.default_rng(seed), (max_tasks,), ranges))
        raise ConfigurationError(
            f"arrivals.attributes must be 'published', 'per_task' or {{per_index: seed}}, got {self.attributes!r}"
        )


@dataclass(frozen=True)
class UniformFields(SyntheticFields):
    """Group ``arrivals`` with ``source: uniform``, the paper's arrivals; further fields: see its base.

    Attributes:
        min_tasks: Fewest tasks of one station in one slot.
    """

    min_tasks: int = 1

    def build(self, network: EdgeNetwork) -> ArrivalSource:
        """The source that the fields describe."""
        least = whole_number("arrivals.min_tasks", self.min_tasks, 0)
        return UniformArrivals(**self.common(network), min_tasks=least)


@dataclass(frozen=True)
class PoissonFields(SyntheticFields):
    """Group ``arrivals`` with ``source: poisson``; further fields: see its base.

    Attributes:
        mean_tasks: Mean number of tasks of a station in a slot: one number, or a list with one per station.
    """

    mean_tasks: float | list[float] = 10.0

    def build(self, network: EdgeNetwork) -> ArrivalSource:
        """The source that the fields describe."""
        mean: float | tuple[float, ...]
        if isinstance(self.mean_tasks, list):
            mean = tuple(number("arrivals.mean_tasks", one) for one in self.mean_tasks)
        else:
            mean = number("arrivals.mean_tasks", self.mean_tasks)
        return PoissonArrivals(**self.common(network), mean_tasks=mean)


@dataclass(frozen=True)
class TraceFields(TraceRules):
    """Group ``arrivals`` with ``source: trace``; further fields: :class:`~lad_rllib.simulator.trace_rules.TraceRules`.

    Attributes:
        path: Request log (``.csv``, ``.csv.gz`` or ``.parquet``), or ``sample`` for the made-up one of the package.
        part: First and last fraction of the log's slots that episodes are cut from.
    """

    path: str | None = None
    part: tuple[float, float] = (0.0, 1.0)

    def build(self, network: EdgeNetwork) -> ArrivalSource:
        """The source that the fields describe; reads the log."""
        if not isinstance(self.path, str) or not self.path:
            raise ConfigurationError(f"arrivals.path must name a request log (or 'sample'), got {self.path!r}")
        path = sample_trace_path() if self.path == SAMPLE else self.path
        return TraceArrivals.from_file(path, network, self, _number_pair("arrivals.part", self.part))


ArrivalFields = UniformFields | PoissonFields | TraceFields

SOURCES: dict[str, type[ArrivalFields]] = {"uniform": UniformFields, "poisson": PoissonFields, "trace": TraceFields}
"""Values of ``arrivals.source`` and the fields that the group has with each."""

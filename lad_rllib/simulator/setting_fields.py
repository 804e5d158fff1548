"""The groups of a setting: every field with its type, bounds, unit, meaning, default and the source of that default.

A group turns a part of the plain settings dictionary into a network or a source of arrivals. Fields that contradict
each other raise; see :mod:`lad_rllib.simulator.settings` for how presets and groups are put together.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator

from lad_rllib.declared import Declared
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
from lad_rllib.simulator.arrivals.trace import TraceArrivals
from lad_rllib.simulator.network import EdgeNetwork, draw_network, published_network
from lad_rllib.simulator.traces.reading import sample_trace_path
from lad_rllib.simulator.traces.rules import NotNegative, Positive, TraceRules

SAMPLE = "sample"
"""Path that stands for the made-up log which comes with the package."""
MAX_COUNT = 10**9
"""Most stations, servers and tasks that can be asked for; what memory holds is checked with all of them known."""
MAX_STEPS = 100_000
"""Most denoising steps of a task."""


def _increasing(pair: list[Any]) -> list[Any]:
    if pair[0] > pair[1]:
        raise ValueError("must be a range [low, high] with low at most high")
    return pair


PAIR = (Field(min_length=2, max_length=2), AfterValidator(_increasing))
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
PositivePair = Annotated[list[Positive], *PAIR]
NotNegativePair = Annotated[list[NotNegative], *PAIR]
MeanTasks = Annotated[float, Field(ge=0, le=MAX_COUNT)]
StepsPair = Annotated[list[Annotated[int, Field(ge=1, le=MAX_STEPS)]], *PAIR]


class Drawn(Declared):
    """Values drawn uniformly, one for each edge server."""

    range: Annotated[list[Annotated[int, Field(ge=1, le=10**9)]], *PAIR]
    """Least and greatest value, whole numbers, both included."""
    seed: Seed | None = None
    """Seed of the draws; null: the network's."""


PerServer = Literal["published"] | Positive | Annotated[list[Positive], Field(min_length=1)] | Drawn
"""Values of the edge servers: the published draws, one for all, one for each, or drawn."""


class NetworkFields(Declared):
    """Group ``network``. The defaults are the draws of the published experiments (arXiv 2412.18212)."""

    stations: Count = 20
    """Base stations B."""
    servers: Count | None = None
    """Edge servers A; null: as many as the lists of capacities or link rates name, else one per station."""
    capacity_gcycles_per_s: PerServer = "published"
    """Computing capacity of the edge servers [Gcycle/s]: ``published``; one number for all; a list; or
    ``{range: [10, 50], seed: 3}``, whole numbers drawn uniformly, both ends included."""
    link_rate_mbit_per_s: PerServer = "published"
    """Link rate of the edge servers [Mbit/s], in the same forms."""
    home_server: list[Annotated[int, Field(ge=-1, le=MAX_COUNT)]] | None = None
    """Edge server at each base station, -1 for none; null: server ``b`` at station ``b``."""
    seed: Seed | None = None
    """Seed of the ranges that name none themselves; null is 0. Another seed is another network."""

    @model_validator(mode="after")
    def _seed_has_effect(self) -> Self:
        values = (self.capacity_gcycles_per_s, self.link_rate_mbit_per_s)
        if self.seed is not None and not any(isinstance(value, Drawn) and value.seed is None for value in values):
            raise ValueError(
                f"seed {self.seed} has no effect: neither capacity_gcycles_per_s nor link_rate_mbit_per_s is "
                "drawn with it; use preset paper-random or {range: [10, 50]}, or leave the seed out"
            )
        return self

    @property
    def num_servers(self) -> int:
        """Edge servers A."""
        return next(iter(self._lengths.values()), self.stations) if self.servers is None else self.servers

    @property
    def _lengths(self) -> dict[str, int]:
        """Edge servers that each list of values names."""
        values = {name: getattr(self, name) for name in ("capacity_gcycles_per_s", "link_rate_mbit_per_s")}
        return {name: len(value) for name, value in values.items() if isinstance(value, list)}

    def build(self, slot_s: float) -> EdgeNetwork:
        """The network that the fields describe."""
        lengths, servers = self._lengths, self.num_servers
        for name, length in lengths.items():
            if length != servers:
                cause = "servers is" if self.servers is not None else "capacity_gcycles_per_s names"
                raise ConfigurationError(
                    f"network.{name} names {length} edge servers, {cause} {servers}; make them equal"
                )
        home: dict[str, Any] = {} if self.home_server is None else {"home_server": np.array(self.home_server)}
        return EdgeNetwork(
            num_stations=self.stations,
            capacity_gcycles_per_s=self._vector("capacity_gcycles_per_s", "capacity_range", servers),
            link_rate_mbit_per_s=self._vector("link_rate_mbit_per_s", "link_rate_range", servers),
            slot_s=slot_s,
            **home,
        )

    def _vector(self, name: str, range_name: str, servers: int) -> NDArray[np.float64]:
        value = getattr(self, name)
        source = value
        if value == "published":
            source = getattr(published_network(servers), name)
        elif isinstance(value, Drawn):
            seed = (self.seed or 0) if value.seed is None else value.seed
            drawn = draw_network(np.random.default_rng(seed), num_servers=servers, **{range_name: tuple(value.range)})  # type: ignore[arg-type]
            source = getattr(drawn, name)
        return np.full(servers, source, dtype=np.float64)


class PerIndex(Declared):
    """Attributes drawn once for each task index."""

    per_index: Seed
    """Seed of the draws."""


class SyntheticFields(Declared):
    """Fields of group ``arrivals`` that both synthetic sources have. Defaults: arXiv 2412.18212."""

    max_tasks: Count = 50
    """Most tasks of one station in one slot, N."""
    attributes: Literal["published", "per_task"] | PerIndex = "published"
    """What ``z``, ``rho`` and result size belong to: ``published`` (the published draws, per task index);
    ``{per_index: seed}`` (other draws per task index); ``per_task`` (drawn anew for every task)."""
    task_mbit: NotNegativePair | None = None
    """Range of the input size [Mbit]; null: [2, 5]."""
    denoising_steps: StepsPair | None = None
    """Range of the quality demand, whole numbers, both ends included; null: [1, 14]. With ``published`` it must start
    at 1."""
    density_gcycles_per_step: PositivePair | None = None
    """Range of the computing density [Gcycle/step]; null: [0.1024, 0.3072]. Not with ``published``."""
    result_mbit: NotNegativePair | None = None
    """Range of the result size [Mbit]; null: [0.6, 1]. Not with ``published``."""
    overhead_steps: NotNegative = 0.0
    """What every image costs besides its steps, in denoising steps (0)."""

    @model_validator(mode="after")
    def _fits_published(self) -> Self:
        if self.attributes != "published":
            return self
        remedy = "choose attributes 'per_task' or {per_index: seed}"
        for name in ("density_gcycles_per_step", "result_mbit"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} {getattr(self, name)} has no effect with attributes 'published'; {remedy}")
        if self.denoising_steps and self.denoising_steps[0] != 1:
            raise ValueError(
                f"denoising_steps {self.denoising_steps} does not fit attributes 'published', which start at 1; "
                f"{remedy}"
            )
        return self

    def common(self, network: EdgeNetwork) -> dict[str, Any]:
        """Arguments that both synthetic sources share."""
        given = {name: getattr(self, name) for name in TaskRanges.__dataclass_fields__}
        ranges = TaskRanges(**{name: tuple(pair) for name, pair in given.items() if pair is not None})
        return {
            "num_stations": network.num_stations,
            "max_tasks": self.max_tasks,
            "ranges": ranges,
            "attributes": self._attributes(ranges),
            "overhead_steps": self.overhead_steps,
        }

    def _attributes(self, ranges: TaskRanges) -> TaskAttributes | None:
        if isinstance(self.attributes, PerIndex):
            rng = np.random.default_rng(self.attributes.per_index)
            return TaskAttributes(*draw_task_attributes(rng, (self.max_tasks,), ranges))
        if self.attributes == "published":
            return published_task_attributes(self.max_tasks, ranges.denoising_steps[1])
        return None


class UniformFields(SyntheticFields):
    """Group ``arrivals`` with ``source: uniform``, the paper's arrivals; further fields: see its base."""

    source: Literal["uniform"] = "uniform"
    min_tasks: Annotated[int, Field(ge=0, le=MAX_COUNT)] = 1
    """Fewest tasks of one station in one slot."""

    @model_validator(mode="after")
    def _fewest_and_most(self) -> Self:
        if self.min_tasks > self.max_tasks:
            raise ValueError(f"min_tasks {self.min_tasks} is above max_tasks {self.max_tasks}; lower it")
        return self

    def build(self, network: EdgeNetwork) -> ArrivalSource:
        """The source that the fields describe."""
        return UniformArrivals(**self.common(network), min_tasks=self.min_tasks)


class PoissonFields(SyntheticFields):
    """Group ``arrivals`` with ``source: poisson``; further fields: see its base."""

    source: Literal["poisson"] = "poisson"
    mean_tasks: MeanTasks | list[MeanTasks] = 10.0
    """Mean number of tasks of a station in a slot: one number, or a list with one per station."""

    def build(self, network: EdgeNetwork) -> ArrivalSource:
        """The source that the fields describe."""
        mean = tuple(self.mean_tasks) if isinstance(self.mean_tasks, list) else self.mean_tasks
        return PoissonArrivals(**self.common(network), mean_tasks=mean)


class TraceFields(TraceRules):
    """Group ``arrivals`` with ``source: trace``; further fields: see its base."""

    source: Literal["trace"] = "trace"
    path: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """Request log (``.csv``, ``.csv.gz`` or ``.parquet``), or ``sample`` for the made-up one of the package."""
    part: Annotated[list[Annotated[float, Field(ge=0, le=1)]], *PAIR] = [0.0, 1.0]
    """First and last fraction of the log's slots that episodes are cut from."""

    @model_validator(mode="after")
    def _names_a_log(self) -> Self:
        if self.path is None:
            raise ValueError("path must name a request log (or 'sample')")
        return self

    def build(self, network: EdgeNetwork) -> ArrivalSource:
        """The source that the fields describe; reads the log."""
        path = sample_trace_path() if self.path == SAMPLE else str(self.path)
        return TraceArrivals.from_file(path, network, self, (self.part[0], self.part[1]))


ArrivalFields = UniformFields | PoissonFields | TraceFields

SOURCES: dict[str, type[ArrivalFields]] = {"uniform": UniformFields, "poisson": PoissonFields, "trace": TraceFields}
"""Values of ``arrivals.source`` and the fields that the group has with each."""

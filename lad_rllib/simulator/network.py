"""The edge network: base stations, edge servers of unequal capacity, their links, and the settings of all three."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from lad_rllib.declared import Declared, shown
from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator import delays
from lad_rllib.simulator.field_types import PAIR, Count, Positive, Seed, ServerIndex

FloatArray = NDArray[np.float64]


def _positive_vector(name: str, values: ArrayLike) -> NDArray[np.float64]:
    vector = np.array(values, dtype=np.float64, ndmin=1)
    if vector.ndim != 1 or vector.size == 0:
        raise ConfigurationError(f"{name} needs one value per edge server, at least one; got shape {vector.shape}")
    bad = ~(np.isfinite(vector) & (vector > 0))
    if bad.any():
        server = int(np.flatnonzero(bad)[0])
        raise ConfigurationError(f"{name} must be positive and finite; edge server {server} has {vector[server]}")
    return vector


@dataclass(frozen=True)
class EdgeNetwork:
    """Base stations and the edge servers that they can reach.

    Attributes:
        num_stations: Number of base stations B, where tasks arrive.
        capacity_gcycles_per_s: Computing capacity ``f`` of each edge server [Gcycle/s], shape (A,).
        link_rate_mbit_per_s: Link rate ``v`` to and from each edge server [Mbit/s], shape (A,).
        home_server: Server that stands at each base station (no upload needed), shape (B,); -1 if none does.
            Default: server ``b`` at station ``b``, and none at stations beyond the last server.
        slot_s: Length of a time slot [s].

    Raises:
        ConfigurationError: for no servers, a capacity or rate that is not positive, or an index out of range.
    """

    num_stations: int
    capacity_gcycles_per_s: NDArray[np.float64]
    link_rate_mbit_per_s: NDArray[np.float64]
    home_server: NDArray[np.int64] = None  # type: ignore[assignment]  # filled in below
    slot_s: float = 1.0

    def __post_init__(self) -> None:
        if self.num_stations < 1:
            raise ConfigurationError(f"num_stations must be at least 1, got {self.num_stations}")
        if not self.slot_s > 0:
            raise ConfigurationError(f"slot_s must be positive, got {self.slot_s}")
        capacity = _positive_vector("capacity_gcycles_per_s", self.capacity_gcycles_per_s)
        link_rate = _positive_vector("link_rate_mbit_per_s", self.link_rate_mbit_per_s)
        if len(capacity) != len(link_rate):
            raise ConfigurationError(
                f"capacity_gcycles_per_s names {len(capacity)} edge servers, "
                f"link_rate_mbit_per_s {len(link_rate)}; give both the same length"
            )
        home = self.home_server
        if home is None:
            stations = np.arange(self.num_stations)
            home = np.where(stations < len(capacity), stations, -1)
        home = np.array(home, dtype=np.int64)
        if home.shape != (self.num_stations,) or home.min() < -1 or home.max() >= len(capacity):
            raise ConfigurationError(
                f"home_server needs {self.num_stations} values between -1 and {len(capacity) - 1}, "
                f"got {shown(home.tolist())}"
            )
        for name, value in (
            ("capacity_gcycles_per_s", capacity),
            ("link_rate_mbit_per_s", link_rate),
            ("home_server", home),
        ):
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    @property
    def num_servers(self) -> int:
        """Number of edge servers A."""
        return len(self.capacity_gcycles_per_s)

    @property
    def total_capacity_gcycles_per_s(self) -> float:
        """Capacity of all servers together [Gcycle/s]."""
        return float(self.capacity_gcycles_per_s.sum())

    def unloaded_delays_s(
        self, mask: NDArray[np.bool_], task_mbit: FloatArray, workload_gcycles: FloatArray, result_mbit: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Upload, computing and download delay of a slot's K tasks on every server [s], shape (K, A) each.

        Args:
            mask: Where there is a task, shape (B, N); the other arguments have this shape, too.
            task_mbit: Input sizes [Mbit].
            workload_gcycles: Work [Gcycle].
            result_mbit: Result sizes [Mbit].
        """
        station, _ = np.nonzero(mask)
        is_home = self.home_server[station][:, None] == np.arange(self.num_servers)
        return (
            delays.upload_delay_s(task_mbit[mask][:, None], self.link_rate_mbit_per_s, is_home),
            delays.computing_delay_s(workload_gcycles[mask][:, None], self.capacity_gcycles_per_s),
            delays.download_delay_s(result_mbit[mask][:, None], self.link_rate_mbit_per_s),
        )


def draw_network(
    rng: np.random.Generator,
    *,
    num_stations: int = 20,
    num_servers: int = 20,
    capacity_range: tuple[int, int] = (10, 50),
    link_rate_range: tuple[int, int] = (400, 500),
    slot_s: float = 1.0,
) -> EdgeNetwork:
    """Draw a network: integer capacities and link rates, uniform on closed ranges.

    The defaults are the setting of arXiv 2412.18212.

    Args:
        rng: Source of randomness.
        num_stations: Base stations B.
        num_servers: Edge servers A.
        capacity_range: Least and greatest capacity [Gcycle/s].
        link_rate_range: Least and greatest link rate [Mbit/s].
        slot_s: Slot length [s].
    """
    if num_servers < 1:
        raise ConfigurationError(f"num_servers must be at least 1, got {num_servers}")
    for name, (low, high) in (("capacity_range", capacity_range), ("link_rate_range", link_rate_range)):
        if not 0 < low <= high:
            raise ConfigurationError(f"{name} must be positive and not decreasing, got {low}..{high}")
    return EdgeNetwork(
        num_stations=num_stations,
        capacity_gcycles_per_s=rng.integers(*capacity_range, size=num_servers, endpoint=True).astype(float),
        link_rate_mbit_per_s=rng.integers(*link_rate_range, size=num_servers, endpoint=True).astype(float),
        slot_s=slot_s,
    )


def published_network(num_stations: int = 20) -> EdgeNetwork:
    """The network of the published experiments: legacy NumPy seed 2 for capacities, 5 for link rates.

    The published code draws one edge server per station.
    """
    capacity = np.random.RandomState(2).randint(10, 51, num_stations).astype(float)
    link_rate = np.random.RandomState(5).randint(400, 501, num_stations).astype(float)
    return EdgeNetwork(num_stations, capacity, link_rate)


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
    home_server: list[ServerIndex] | None = None
    """Edge server at each base station, -1 for none; null: server ``b`` at station ``b``."""
    seed: Seed | None = None
    """Seed of the ranges without a seed of their own; null is 0. Another seed is another network."""

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

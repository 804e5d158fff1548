"""The points of the benchmark of scaling: what is changed, by how much, and what stays as it is meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

HOUR_S = 3600.0


@dataclass(frozen=True)
class Point:
    """One arrangement of training; the base line as it stands.

    Attributes:
        axis: Name of what is changed.
        label: Its value, in words.
        workers: Workers, or environments, over those of the base line.
        size: Size of the problem over that of the base line.
        servers: Edge servers.
        stations: Base stations.
        env_runners: Remote environment runners; 0 plays in the driver.
        envs: Environments of each runner, in lockstep.
        learners: Remote learners; 0 learns in the driver.
        batch: Transitions of each station in an update, of all learners together.
        gpu: Whether the learner computes on a GPU.
    """

    axis: str = "base"
    label: str = ""
    workers: float = 1.0
    size: float = 1.0
    servers: int = 20
    stations: int = 20
    env_runners: int = 0
    envs: int = 1
    learners: int = 0
    batch: int = 64
    gpu: bool = False

    @property
    def linear(self) -> float:
        """Speed-up in episodes per second if time went linearly with the problem and fell so with the workers."""
        return self.workers / self.size


@dataclass(frozen=True)
class Axis:
    """What is changed from point to point.

    Attributes:
        title: What it is called.
        field: Field of :class:`Point`.
        values: Its values.
        smoke_values: Those of a run that only sees whether it runs.
        base_label: The base line's value, in words; of a size it depends on the run.
        held: What stays, and what changes besides.
    """

    title: str
    field: str
    values: tuple[Any, ...]
    smoke_values: tuple[Any, ...]
    base_label: str
    held: str

    @property
    def is_size(self) -> bool:
        """Whether the problem grows, not the means to solve it."""
        return self.field in ("servers", "stations")


AXES = {
    "env-runners": Axis(
        "environment runners",
        "env_runners",
        (1, 2),
        (1,),
        "0",
        "0 is the base line's local runner, one environment each. Updates per episode stay the same. Remote runners "
        "get new weights after an episode, a local one after every slot; they wait while the learner learns, and it "
        "waits while they play.",
    ),
    "envs": Axis(
        "environments per runner",
        "envs",
        (2, 4, 8),
        (2,),
        "1",
        "One local runner. Updates per episode stay the same: as many updates follow a slot as there are environments.",
    ),
    "learners": Axis(
        "learners",
        "learners",
        (1, 2),
        (1,),
        "0",
        "0 is the base line's learner in the driver. Updates per episode stay the same, and an update of all learners "
        "is of 64 transitions of each station, 32 each with two; but '64 each' is RLlib's way to count, twice the "
        "transitions in an update: there, efficiency is of transitions per second.",
    ),
    "servers": Axis(
        "edge servers",
        "servers",
        (50, 100, 200),
        (6,),
        "",
        "Stations, tasks and updates per episode stay the same. State, latent action and action grow with the servers; "
        "the load falls.",
    ),
    "stations": Axis(
        "base stations",
        "stations",
        (50, 100, 200),
        (6,),
        "",
        "Servers and updates per episode stay the same; an update is one of all stations. Tasks and networks grow with "
        "the stations; the load grows.",
    ),
    "device": Axis(
        "device of the learner",
        "gpu",
        (True,),
        (True,),
        "CPU",
        "A learner in the driver, on the CPU (base line) or with num_gpus_per_learner=1. A GPU ends an update while "
        "weights are shared: add up both shares of the time.",
    ),
}


def points_of(name: str, base: Point, smoke: bool = False) -> list[Point]:
    """Points of an axis, without the base line.

    Args:
        name: Key of :data:`AXES`.
        base: The base line.
        smoke: Only what shows that it runs.
    """
    axis = AXES[name]
    points = [_point(name, axis, base, value) for value in (axis.smoke_values if smoke else axis.values)]
    if name == "learners" and not smoke:
        points.append(replace(points[-1], label="2, 64 each", batch=2 * base.batch, size=2.0))
    return points


def _point(name: str, axis: Axis, base: Point, value: Any) -> Point:
    before = getattr(base, axis.field)
    factor = value / max(before, 1)
    return replace(
        base,
        axis=name,
        label="GPU" if axis.field == "gpu" else str(value),
        workers=1.0 if axis.is_size else factor,
        size=factor if axis.is_size else 1.0,
        **{axis.field: value},
    )


def undisturbed_per_hour(row: Mapping[str, Any]) -> float:
    """Worlds per hour if every process had a core of its own, from the CPU time that each took.

    Runners play at the same time, and learners learn at the same time. Playing and learning take turns where one
    process does both, or runners wait for new weights; else the longer of them counts.

    Args:
        row: A row of :mod:`benchmarks.scaling_worlds`: CPU seconds of a world by what was done, and the arrangement.
    """
    playing_s = row["playing_s_per_world"] / max(row["runners"], 1)
    learning_s = row["driver_s_per_world"] + row["learning_s_per_world"] / max(row["learners"], 1)
    overlap = row["runners"] and row["staleness"]
    return HOUR_S / (max(playing_s, learning_s) if overlap else playing_s + learning_s)

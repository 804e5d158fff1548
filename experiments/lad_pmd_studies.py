"""What ``experiments.beyond`` compares: how LAD-PMD is trained in each study, and what bounds its delays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lad_rllib.runs.cases import Case

FIRST_SLOTS = 60
LOW_LOAD = {
    "gamma": 0.9,
    "step_size": 0.7,
    "last_step_size": 0.3,
    "momentum": 0.8,
    "draws": "coordinated",
    "latent_start": "learned",
    "prior_queue_weight": 1.5,
}
"""Below saturation queues run empty: what a task delays is soon over, costs differ little, and what matters is that the
tasks of a slot do not meet. A start for each station and task index lets stations agree on who goes where."""
LOW_LOAD_DISPATCHER = {"gamma": 0.9, "prior_queue_weight": 8.0}
"""One dispatcher for all stations needs none of that: it knows who went where."""
TAILS = {"gamma": 0.97}
"""Discounting more costs a little of the mean and keeps queues more even."""
CHANGES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "gamma 1": {"gamma": 1.0},
    "gamma 0.9": {"gamma": 0.9},
    "steps that stay larger": {"last_step_size": 0.5},
    "momentum 0.7, a third of the steps": {"momentum": 0.7, "step_size": 1.0, "last_step_size": 0.03},
    "last actor instead of the mean": {"averaging_exponent": None},
    "latent memory": {"latent_start": "memory"},
    "learned starts": {"latent_start": "learned"},
    "an actor for each station": {"shared_actor": False},
    "an actor of 2 x 20 for each station": {"shared_actor": False, "hidden_sizes": (20, 20)},
    "softmax denoiser": {"denoiser_output": "softmax"},
    "prior that sees no queues": {"prior_queue_weight": 0.0},
    "stratified draws": {"draws": "stratified"},
    "coordinated draws": {"draws": "coordinated"},
}
"""What is changed, one at a time, to see what matters."""


@dataclass(frozen=True)
class Study(Case):
    """A case of LAD-PMD.

    Attributes:
        counted_slots: Only the delays of the first slots count, though the episode goes on; None: all do.
        percentile: Bounded by the greedy oracle's on other arrivals; None for no bound.
        tail_strength: Weight of a fixed tail loss from a little below that bound on, instead of one that is adapted to
            it.
    """

    counted_slots: int | None = None
    percentile: float | None = None
    tail_strength: float | None = None


def _study(
    name: str, episodes: int = 100, training: Mapping[str, Any] | None = None, tasks: int | None = None, **more: Any
) -> Study:
    """A study; ``tasks``: most tasks of a station in a slot."""
    setting = more.pop("setting", {} if tasks is None else {"arrivals": {"max_tasks": tasks}})
    return Study(name, "lad-pmd", training or {}, setting, {"study": name}, episodes, **more)


def _views() -> list[Study]:
    """Decisions that know of earlier ones in the slot: of their own station, or of all."""
    studies = []
    for tasks, own, dispatcher in ((50, {}, {}), *((tasks, LOW_LOAD, LOW_LOAD_DISPATCHER) for tasks in (20, 30, 40))):
        training = {"in_slot_view": "own", **own}
        studies.append(_study(f"at most {tasks} tasks, own decisions of the slot known", 60, training, tasks))
        training = {"in_slot_view": "all", **dispatcher}
        studies.append(_study(f"at most {tasks} tasks, one dispatcher", 60, training, tasks))
    return studies


STUDIES = {
    "budgets": [_study(f"{episodes} episodes", episodes) for episodes in (60, 100, 200)],
    "horizons": [
        *(_study(f"{slots} slots", setting={"slots": slots}) for slots in (120, 240)),
        _study("no known end", setting={"slots": 2 * FIRST_SLOTS}, counted_slots=FIRST_SLOTS),
    ],
    "tails": [
        _study("p95 bounded", training=TAILS, percentile=95.0),
        _study("p99 bounded", training=TAILS, percentile=99.0),
        _study("fixed tail loss", training=TAILS, percentile=95.0, tail_strength=8.0),
    ],
    "ablations": [_study(name, training=training) for name, training in CHANGES.items()],
    "loads": [
        *(_study(f"at most {tasks} tasks", training=LOW_LOAD, tasks=tasks) for tasks in (20, 30, 40)),
        _study("30 tasks, starts from zero", training=LOW_LOAD | {"latent_start": "zero"}, tasks=30),
        _study("30 tasks, independent draws", training=LOW_LOAD | {"draws": "independent"}, tasks=30),
    ],
    "views": _views(),
}
"""Studies of each part."""

"""Schedulers that are fitted to training arrivals and beat the greedy oracle in the mean, by name.

They minimise the delay of all tasks rather than each task's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling.fitted.priced_greedy import PricedGreedy
from lad_rllib.scheduling.fitted.size_intervals import SizeIntervals
from lad_rllib.scheduling.fitted.tabular import TabularPolicy
from lad_rllib.scheduling.scheduler import Scheduler
from lad_rllib.simulator.arrivals.base import ArrivalSource
from lad_rllib.simulator.network import EdgeNetwork


@dataclass(frozen=True)
class FittedScheduler:
    """How a scheduler is fitted.

    Attributes:
        fit: Class method that fits it, from a network, an arrival source, a generator and the slots of an episode.
        budget_option: Its option that says how long it is fitted.
        budget: Default of that option.
        options: Its other options.
    """

    fit: Callable[..., Scheduler]
    budget_option: str
    budget: int
    options: dict[str, Any] = field(default_factory=dict)


FITTED: dict[str, FittedScheduler] = {
    "two-size-classes": FittedScheduler(SizeIntervals.fit, "trials", 200, {"size_classes": 2}),
    "three-size-classes": FittedScheduler(SizeIntervals.fit, "trials", 300, {"size_classes": 3}),
    "priced-greedy": FittedScheduler(PricedGreedy.fit, "iterations", 100),
    "tabular": FittedScheduler(TabularPolicy.fit, "episodes", 200),
}
"""Name of every fitted scheduler and how it is fitted; a budget counts episodes, or candidates."""


def fit_scheduler(
    name: str,
    network: EdgeNetwork,
    source: ArrivalSource,
    rng: np.random.Generator,
    num_slots: int,
    budget: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Scheduler:
    """Fit one of :data:`FITTED`.

    Args:
        name: Which one.
        network: Where the tasks run.
        source: Where training arrivals come from.
        rng: Randomness of the fit.
        num_slots: Slots of a training episode.
        budget: Episodes or candidates; default as in :data:`FITTED`.
        progress: Called with the part of the budget that is used up.

    Raises:
        ConfigurationError: for an unknown name, or a budget below 1.
    """
    if name not in FITTED:
        raise ConfigurationError(f"unknown fitted scheduler {name!r}; choose from {', '.join(FITTED)}")
    how = FITTED[name]
    used = how.budget if budget is None else budget
    if used < 1:
        raise ConfigurationError(f"the budget of {name} must be at least 1, got {used}")
    options = how.options | {how.budget_option: used, "progress": progress}
    return how.fit(network, source, rng, num_slots, **options)

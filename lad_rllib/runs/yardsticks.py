"""What a learner has to be measured against on a setting: heuristics, fitted schedulers, offline search and a bound."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from rich.progress import Progress

from lad_rllib.runs.comparison import LOWER_BOUND, bound_row
from lad_rllib.runs.contest import evaluation_arrivals
from lad_rllib.runs.rows import ResultRows
from lad_rllib.scheduling import (
    FITTED,
    EpisodeRecord,
    Scheduler,
    fit_scheduler,
    local_search,
    lower_bound_s,
    make_heuristic,
    play,
    possible_heuristics,
    schedule_quality,
    settle,
)
from lad_rllib.simulator import Arrivals, Setting

TEST_SEED = 1_000_000
OFFLINE_SEARCH = "offline search"


@dataclass(frozen=True)
class Budget:
    """What a comparison may cost.

    Attributes:
        episodes: Test episodes.
        effort: Scales the episodes that fits may use.
        iterations: Of the first part of offline search.
        rounds: Most rounds of its second part.
    """

    episodes: int
    effort: float
    iterations: int
    rounds: int


class Yardsticks:
    """Plays all yardsticks on the same test arrivals of a setting.

    Args:
        setting: The setting.
        budget: What the comparison may cost.
        rows: Receive a row for each seed and scheduler; those that are there are not computed again.
        progress: Shows fits and the search.
    """

    def __init__(self, setting: Setting, budget: Budget, rows: ResultRows, progress: Progress) -> None:
        self.setting, self.budget, self._rows, self._progress = setting, budget, rows, progress
        self.max_tasks = setting.arrivals.max_tasks
        self._slots = setting.num_slots - 1  # an episode's last slot is not decided
        self._arrivals = evaluation_arrivals(setting, budget.episodes, TEST_SEED)

    def compare(self, seed: int) -> None:
        """Add the rows of one seed of fits and choices; of the first one also the bound and offline search."""
        heuristics = possible_heuristics(self.setting.network, self._arrivals)
        for name in (*heuristics, *FITTED):
            self._add(name, seed, partial(self._played, name, seed))
        if seed == 0:
            self._add(LOWER_BOUND, seed, self._bound)
            self._add(OFFLINE_SEARCH, seed, self._searched)

    def _add(self, name: str, seed: int, values: Callable[[], dict[str, Any]]) -> None:
        key = {"max_tasks": self.max_tasks, "seed": seed}
        if not self._rows.has(**key, scheduler=name):
            about = {"load": self.setting.load, "episodes": self.budget.episodes, "scheduler": name}
            self._rows.add(key | about | values())

    def _played(self, name: str, seed: int) -> dict[str, Any]:
        began = time.perf_counter()
        scheduler = self._fit(name, seed) if name in FITTED else make_heuristic(name)
        fitted_s = time.perf_counter() - began
        record = play(scheduler, self.setting.network, self._arrivals, np.random.default_rng(seed), self._slots)
        fit = {"effort": self.budget.effort, "fit_s": fitted_s} if name in FITTED else {}
        return schedule_quality(record) | fit

    def _fit(self, name: str, seed: int) -> Scheduler:
        budget = max(round(FITTED[name].budget * self.budget.effort), 2)
        rng = np.random.default_rng([seed, self.max_tasks])
        with self._bar(name, budget) as show:
            network, arrivals = self.setting.network, self.setting.arrivals
            return fit_scheduler(name, network, arrivals, rng, self._slots, budget, show)

    def _bound(self) -> dict[str, Any]:
        bounds_s = lower_bound_s(self.setting.network, self._arrivals, self._slots)
        return {"mean_s": bound_row(bounds_s, self._arrivals.task_counts[:, : self._slots].sum(axis=(1, 2)))["mean_s"]}

    def _searched(self) -> dict[str, Any]:
        began, budget = time.perf_counter(), self.budget
        quality = schedule_quality(self._search(self._arrivals))
        searched_s = (time.perf_counter() - began) / budget.episodes
        return quality | {"iterations": budget.iterations, "rounds": budget.rounds, "fit_s": searched_s}

    def _search(self, arrivals: Arrivals) -> EpisodeRecord:
        network, rng, budget = self.setting.network, np.random.default_rng(0), self.budget
        with self._bar(f"{OFFLINE_SEARCH}, iterations", budget.iterations * budget.episodes) as show:
            settled = settle(network, arrivals, rng, self._slots, budget.iterations, progress=show)
        with self._bar(f"{OFFLINE_SEARCH}, rounds", budget.rounds * budget.episodes) as show:
            return local_search(network, arrivals, settled, rng, budget.rounds, progress=show)

    @contextmanager
    def _bar(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        bar = self._progress.add_task(f"{self.max_tasks} tasks: {name}", total=total)
        yield lambda done: self._progress.update(bar, completed=done)
        self._progress.remove_task(bar)

"""The benchmark suite of image dispatch: every scheduler on every workload, at every load and order of service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lad_rllib import durable
from lad_rllib.errors import ConfigurationError
from lad_rllib.names import SHIPPED_POLICIES
from lad_rllib.runs.comparison import Played
from lad_rllib.runs.contest import Contest
from lad_rllib.runs.leaderboard import leaderboard_page, told
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.over_windows import ratio_interval
from lad_rllib.runs.plots_of_suite import plot_workload
from lad_rllib.runs.progress import bars
from lad_rllib.runs.rows import ResultRows
from lad_rllib.runs.run_folder import newest_policy, scheduler_of
from lad_rllib.runs.suite_options import SuiteOptions
from lad_rllib.runs.tables import write_parquet
from lad_rllib.runs.workloads import OF_A_LOG, WORKLOADS, Workload, make_workload
from lad_rllib.scheduling import HEURISTICS, Scheduler
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, RequestScheduler
from lad_rllib.simulator import Order, make_order, order_text

if TYPE_CHECKING:
    from rich.progress import Progress

REFERENCE = "least-work-left"
"""The scheduler that all are compared with."""
RESULTS, LEADERBOARD = "suite.csv", "leaderboard.md"
MEASURES = (
    *("mean_s", "p50_s", "p95_s", "p99_s", "max_s", "slo_attainment", "fairness", "tenant_fairness"),
    *("class1_s", "class2_s", "class3_s", "swaps", "utilisation"),
)
"""Columns that a comparison has, too."""
_DIGITS = 5


def _any_order(order: Order) -> bool:  # noqa: ARG001
    """What plays under every order of service."""
    return True


@dataclass(frozen=True)
class Candidate:
    """A scheduler that takes part.

    Attributes:
        name: Name in tables.
        scheduler: The scheduler.
        plays: Whether it was trained for an order of service; it plays under those alone.
        workload: The workload that it plays alone; None: all.
    """

    name: str
    scheduler: Scheduler | RequestScheduler
    plays: Callable[[Order], bool] = _any_order
    workload: str | None = None

    @property
    def is_of_slots(self) -> bool:
        """Whether it decides for slots, and cannot play requests that come one by one."""
        return not isinstance(self.scheduler, RequestScheduler)

    def can_play(self, workload: Workload) -> bool:
        """Whether it plays a workload under some order of service."""
        return self.workload in (None, workload.name) and not (workload.is_one_by_one and self.is_of_slots)


@dataclass(frozen=True)
class Suite:
    """Results that are on disk.

    Attributes:
        folder: Where :data:`RESULTS`, :data:`LEADERBOARD` and a picture of each workload are.
        table: All rows, those of before among them.
    """

    folder: Path
    table: pd.DataFrame


def run_suite(options: SuiteOptions, say: Callable[[str], None] = lambda line: None) -> Suite:
    """Play whatever has no row yet; write rows, leaderboard and pictures.

    Args:
        options: Workloads, loads, orders of service and schedulers.
        say: Takes lines about what is left out, and why.

    Raises:
        ConfigurationError: for what cannot be played, and for rows of before that are of other episodes.
    """
    orders = list(dict.fromkeys(order_text(make_order(order)) for order in options.order))
    workloads = _workloads(options)
    candidates = _candidates(options, workloads)
    if not any(one.can_play(workload) for one, workload in product(candidates, workloads)):
        raise ConfigurationError("none of the schedulers can play these workloads; give other ones")
    for line in _left_out(options, candidates, workloads, orders):
        say(f"left out: {line}")
    output = writable_folder(options.output)
    rows = ResultRows(output / RESULTS, options.resume, seed=options.seed, slo=options.slo, size=_size(options))
    with bars() as progress:
        for workload, load in progress.track([*product(workloads, options.loads)], description="workloads, loads"):
            playing = [one for one in candidates if one.can_play(workload)]
            for contest in workload.contests(load, orders, options.work, options.seed, options.slo):
                _Match(contest, {"workload": workload.name, "load": load}, rows, progress, say).play(playing)
    table = rows.frame
    if table.empty:
        raise ConfigurationError("nothing was played; the lines above say why")
    if options.parquet:
        write_parquet(table, output / RESULTS)
    durable.write_file(output / LEADERBOARD, leaderboard_page(table))
    for name, own in table.groupby("workload", sort=False):
        work = "predicted" if "predicted" in set(own["work"]) else "known"
        plot_workload(told(own, work), output / f"{Path(str(name)).stem}.png", f"{name}, work {work}")
    return Suite(output, table)


@dataclass(frozen=True)
class _Match:
    """A contest whose rows are on disk when all have played it."""

    contest: Contest
    cell: dict[str, Any]
    rows: ResultRows
    progress: Progress
    say: Callable[[str], None]

    def play(self, candidates: Sequence[Candidate]) -> None:
        """Let those play that have no row yet."""
        missing = [(one, orders) for one in candidates if (orders := self._missing(one))]
        if not missing:
            return
        title = " ".join(map(str, (*self.cell.values(), self.contest.work)))
        reference = self._reference()
        bound_s = float(np.average(self.contest.bounds_s(), weights=self.contest.tasks))
        task, new = self.progress.add_task(title, total=len(missing)), []
        for one, orders in missing:
            try:
                played = replace(self.contest, orders=orders).play(one.name, one.scheduler)
            except ConfigurationError as error:
                self.say(f"left out of {title}: {one.name}: {error}")
                played = []
            new += [self._row(each, reference) | {"bound_s": _rounded(bound_s)} for each in played]
            self.progress.advance(task)
        self.progress.remove_task(task)
        self.rows.add(*new)

    def _missing(self, one: Candidate) -> tuple[Order, ...]:
        """Orders that a candidate plays under and has no row of."""
        key = self.cell | {"work": self.contest.work, "scheduler": one.name}
        meant = {order_text(order): order for order in self.contest.orders if one.plays(order)}
        return tuple(order for name, order in meant.items() if not self.rows.has(**key, order=name))

    def _reference(self) -> dict[str, Played]:
        """How the reference fared under each order, and first in, first out."""
        orders = {order_text(order): order for order in (make_order("fifo"), *self.contest.orders)}
        contest = replace(self.contest, orders=tuple(orders.values()))
        return dict(zip(orders, contest.play(REFERENCE, make_scheduler(REFERENCE, one_by_one=True)), strict=True))

    def _row(self, played: Played, reference: dict[str, Played]) -> dict[str, Any]:
        """A row of the results; intervals are over episodes, on each of which both played."""
        own, other = played.row, reference[played.row["order"]].row
        totals = (one.episode_mean_s * self.contest.tasks for one in (played, reference[own["order"]]))
        low, high = ratio_interval(*totals)
        numbers = {name: own.get(name, np.nan) for name in MEASURES} | {
            "over_least_work_left": own["mean_s"] / reference["fifo"].row["mean_s"],
            "over_same_order": own["mean_s"] / other["mean_s"],
            "over_same_order_low": low,
            "over_same_order_high": high,
            "p99_over_same_order": own["p99_s"] / other["p99_s"],
        }
        first = {"order": own["order"], "work": self.contest.work, "scheduler": own["scheduler"]}
        counts = {"episodes": own["episodes"], "tasks": own["tasks"]}
        return self.cell | first | counts | {name: _rounded(value) for name, value in numbers.items()}


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _candidates(options: SuiteOptions, workloads: Sequence[Workload]) -> list[Candidate]:
    """Schedulers without training, then trained ones.

    Trained policies of one algorithm have one name if no two of them play the same workload under the same order.
    """
    names = [*REQUEST_SCHEDULERS, *HEURISTICS] if options.schedulers is None else options.schedulers
    found = [Candidate(name, make_scheduler(name, one_by_one=True)) for name in dict.fromkeys(names)]
    seen: Counter[tuple[str | None, ...]] = Counter()
    for text in options.checkpoint or ():
        workload, path = _played_by(text, [one.name for one in workloads])
        scheduler = scheduler_of(newest_policy(path))
        name = path if path in SHIPPED_POLICIES else scheduler.title
        key = (name, workload, *getattr(scheduler, "orders", ()))
        seen[key] += 1
        name += f", {seen[key]}" if seen[key] > 1 else ""
        found.append(Candidate(name, scheduler, getattr(scheduler, "is_meant_for", _any_order), workload))
    if not found:
        raise ConfigurationError("no scheduler to play; give --schedulers or --checkpoint")
    return found


def _played_by(text: str, workloads: Sequence[str]) -> tuple[str | None, str]:
    """The workload that a policy plays, None for all, and where the policy is."""
    workload, equals, path = text.partition("=")
    if not equals or Path(text).exists():
        return None, text
    if workload not in workloads:
        raise ConfigurationError(f"--checkpoint {text} is for none of the workloads {', '.join(workloads)}; name one")
    return workload, path


def _left_out(
    options: SuiteOptions, candidates: Sequence[Candidate], workloads: Sequence[Workload], orders: Sequence[str]
) -> Iterator[str]:
    """What has no rows, and why."""
    if options.workloads is None and options.log is None:
        yield f"workload {OF_A_LOG}, which needs a request log; give --log FILE"
    of_slots = ", ".join(one.name for one in candidates if one.is_of_slots)
    one_by_one = ", ".join(workload.name for workload in workloads if workload.is_one_by_one)
    if of_slots and one_by_one:
        yield f"{of_slots}: they decide for slots, and the requests of {one_by_one} come one by one"
    for one in candidates:
        if foreign := [order for order in orders if not one.plays(make_order(order))]:
            on = "" if one.workload is None else f" on {one.workload}"
            yield f"{one.name}{on} under {', '.join(foreign)}: it was trained for other orders of service"


def _workloads(options: SuiteOptions) -> list[Workload]:
    if options.workloads is None:
        names = [name for name in WORKLOADS if name != OF_A_LOG or options.log is not None]
    else:
        names = list(dict.fromkeys(options.workloads))
    if options.log is not None and OF_A_LOG not in names:
        raise ConfigurationError(f"--log has no effect without workload {OF_A_LOG}; leave it out")
    return [make_workload(name, options.log, options.episodes, options.requests) for name in names]


def _size(options: SuiteOptions) -> str:
    """How much is played, for rows of before that must be of the same."""
    episodes, requests = (number or "own" for number in (options.episodes, options.requests))
    return f"{episodes} x {requests}"

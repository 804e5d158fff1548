"""LAD-Dispatch against rules for requests that come one by one, under the same order of service, over seeds.

    python -m experiments.one_by_one                          8 unequal servers, Poisson and bursty, three loads
    python -m experiments.one_by_one --workloads paper paper/20 --orders shortest_first aged:service_weight=400/p99=0.95

For each workload, load, order and seed it trains a policy and plays it and the rules on the same fresh episodes. Behind
an order may stand which percentile is bounded while the policy learns, and by which share of what least work left has
on the same requests, or the cap on waits that the trained policy gets; behind a setting of slots, the most tasks of a
station in a slot.
Written into --output: every row (one_by_one.csv, kept by --resume), means over seeds (one_by_one_summary.csv), a table
(one_by_one.md) and a picture (one_by_one.png).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import pandas as pd
from pydantic import AfterValidator, Field

from lad_rllib.algorithms.lad_dispatch import DispatchPolicy, LADDispatchHyperparameters
from lad_rllib.algorithms.lad_dispatch.training import learn
from lad_rllib.cli.program import Program
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.comparison import Measures
from lad_rllib.runs.contest import Contest, contest_of_requests, contest_of_slots
from lad_rllib.runs.options import Count, Seed, TrainingsOptions, option
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.over_seeds import MEAN_SD, aggregated
from lad_rllib.runs.plots import pyplot, save
from lad_rllib.runs.progress import bars, time_is_over
from lad_rllib.runs.rows import ResultRows
from lad_rllib.runs.tables import markdown_page, over_first, summary_table
from lad_rllib.scheduling import make_heuristic
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.simulator import Order, Setting, build_setting, make_order
from lad_rllib.simulator.requests.setting import RequestSetting, build_request_setting, is_request_spec
from lad_rllib.simulator.requests.slotted import SlottedRequests
from lad_rllib.simulator.requests.world import FIFO

LEARNED, YARDSTICK, FILLING, ORACLE = "lad-dispatch", "least-work-left", "water-filling", "greedy-oracle, fifo"
RULES = (YARDSTICK, "shortest-expected-delay", "first-policy-iteration")
MEASURES = ("mean_s", "p95_s", "p99_s")
CELL = ("workload", "load", "order", "bound")


class Goal(NamedTuple):
    """An order of service, and what is bounded while a policy learns under it, or once it has learned.

    Attributes:
        order: The order, as :func:`~lad_rllib.simulator.make_order` takes it.
        percentile: Percentile of the delays that is bounded while it learns; None for no bound.
        share: Its bound, over the percentile that least work left has under this order.
        wait_cap: Cap on waits of the trained policy, as ``ActorSettings`` has it; None for no cap.
    """

    order: str
    percentile: float | None = None
    share: float = 1.0
    wait_cap: float | None = None

    @classmethod
    def of(cls, text: str) -> Self:
        """The goal that ``ORDER``, ``ORDER/pPERCENTILE=SHARE`` or ``ORDER/cap=CAP`` says.

        >>> Goal.of("aged:service_weight=300/p99=0.9")
        Goal(order='aged:service_weight=300', percentile=99.0, share=0.9, wait_cap=None)
        """
        order, slash, bound = text.partition("/")
        if not slash:
            return cls(order)
        found = re.fullmatch(r"(?:p(\d+\.?\d*)|cap)=(\d+\.?\d*)", bound)
        if not found:
            raise ConfigurationError(
                "an order must be ORDER, ORDER/pPERCENTILE=SHARE or ORDER/cap=CAP, such as fifo/p99=0.95 or "
                f"fifo/cap=0.6, got {text}"
            )
        if found[1] is None:
            return cls(order, wait_cap=float(found[2]))
        return cls(order, float(found[1]), float(found[2]))

    @property
    def bound(self) -> str:
        """What is bounded, as tables have it."""
        if self.wait_cap is not None:
            return f"cap {self.wait_cap:g}"
        return "-" if self.percentile is None else f"p{self.percentile:g} {self.share:g}"


def _goal(text: str) -> str:
    make_order(Goal.of(text).order)
    return text


class OneByOneOptions(TrainingsOptions):
    """What is compared, and what that may cost."""

    command: ClassVar[str] = "one_by_one"
    title = "run"

    workloads: list[str] = option(
        ["unequal-8", "unequal-8-bursty"], "settings of requests, or of slots with most tasks", "NAME[/TASKS]"
    )
    loads: list[Annotated[float, Field(gt=0)]] = option([0.5, 0.7, 0.9], "loads of requests", "X")
    orders: list[Annotated[str, AfterValidator(_goal)]] = option(
        ["fifo/p99=0.95", "shortest_first/p99=0.95"],
        "orders of service, with a percentile to bound and its share of least work left's, or a cap on waits",
        "ORDER[/pP=SHARE|/cap=X]",
    )
    seeds: Count = option(5, "trainings of each")
    iterations: Count = option(30, "episodes of a training")
    discount: Annotated[float, Field(gt=0, le=1)] = option(
        1.0, "weight of another request's delay for each second that it comes later"
    )
    requests: Count = option(10_000, "requests of an episode")
    episodes: Count = option(10, "test episodes")
    test_seed: Seed = option(1_000_000, "seed of the test episodes; take another one to choose bounds by")
    output: str = option("results/one_by_one", "output folder", "DIR")


def run(options: OneByOneOptions) -> int:
    """Train, play and write; returns the exit status."""
    output = writable_folder(options.output)
    rows = ResultRows(
        output / "one_by_one.csv",
        options.resume,
        iterations=options.iterations,
        test_seed=options.test_seed,
        discount=options.discount,
    )
    cells = [
        ({"workload": workload, "load": load, "order": goal.order, "bound": goal.bound, "seed": seed}, goal)
        for seed in range(options.seeds)
        for workload in options.workloads
        for load in (options.loads if is_of_requests(workload) else [slots_of(workload).load])
        for goal in map(Goal.of, options.orders)
    ]
    is_over = time_is_over(options.seconds)
    with bars() as progress:
        for cell, goal in progress.track(cells, description="trainings"):
            if not is_over() and not rows.has(**cell, scheduler=LEARNED):
                played = compared(options, cell["workload"], cell["load"], goal, cell["seed"])
                rows.add(*(cell | row for row in played))
    print(write(rows.frame, output, options))
    return 0


def write(rows: pd.DataFrame, output: Path, options: OneByOneOptions) -> str:
    """Means over seeds, the table and the picture; returns the table."""
    table = over_first(rows, [*CELL, "seed"], MEASURES)
    wanted = {f"over_{name}": MEAN_SD for name in MEASURES} | {"seed": ["count"]}
    summary = aggregated(table, [*CELL, "scheduler"], wanted).rename(columns={"seed": "seeds"})
    summary.to_csv(output / "one_by_one_summary.csv", index=False)
    text = describe(summary, options)
    (output / "one_by_one.md").write_text(text, encoding="utf-8")
    plot(table, output / "one_by_one.png")
    return text


def is_of_requests(workload: str) -> bool:
    """Whether a workload's requests come at times of their own."""
    return is_request_spec({"preset": workload})


def slots_of(workload: str) -> Setting:
    """The setting of slots of a workload ``NAME`` or ``NAME/TASKS``."""
    name, slash, tasks = workload.partition("/")
    if slash and not tasks.isdecimal():
        raise ConfigurationError(f"a workload must be NAME or NAME/TASKS, such as paper/20, got {workload}")
    return build_setting({"preset": name, **({"arrivals": {"max_tasks": int(tasks)}} if slash else {})})


def setting_of(workload: str, load: float, order: str, requests: int) -> RequestSetting | SlottedRequests:
    """Where a workload's episodes come from."""
    if not is_of_requests(workload):
        return SlottedRequests(slots_of(workload), make_order(order))
    spec = {"preset": workload, "order": order, "requests": requests, "traffic": {"load": load}}
    return build_request_setting(spec)


def contest_of(setting: RequestSetting | SlottedRequests, options: OneByOneOptions, order: Order) -> Contest:
    """Fresh episodes of a workload."""
    played = (options.episodes, options.test_seed, [order], Measures())
    if isinstance(setting, RequestSetting):
        return contest_of_requests(setting, *played)
    return contest_of_slots(setting.setting, *played)


def compared(options: OneByOneOptions, workload: str, load: float, goal: Goal, seed: int) -> list[dict[str, Any]]:
    """A row for each rule and for a trained policy; the first is the one that all are compared with."""
    setting = setting_of(workload, load, goal.order, options.requests)
    settings = LADDispatchHyperparameters(
        step_size_iterations=options.iterations,
        sampled_requests=2500,
        updates_per_iteration=80,
        discount=options.discount,
        bounded_percentile=goal.percentile,
        percentile_bound_ratio=None if goal.percentile is None else goal.share,
        wait_cap=goal.wait_cap,
    )
    actor, _ = learn(setting, settings, seed)
    contest = contest_of(setting, options, setting.world.order)
    rows = []
    if contest.slots is not None:
        rows += contest_of(setting, options, FIFO).play(ORACLE, make_heuristic("greedy-oracle"))
        rows += contest.play(FILLING, make_heuristic(FILLING))
    for name in RULES:
        rows += contest.play(name, make_scheduler(name, one_by_one=True))
    rows += contest.play(LEARNED, DispatchPolicy(actor.settings, actor.packed()))
    return [{name: one.row[name] for name in ("scheduler", *MEASURES)} for one in rows]


def describe(summary: pd.DataFrame, options: OneByOneOptions) -> str:
    """The table in Markdown."""
    shown = {name: name for name in (*CELL, "scheduler", "seeds")}
    shown |= {f"over_{name}": f"{name.removesuffix('_s')}, ratio" for name in MEASURES}
    about = (
        f"Ratios to the first scheduler of each cell, on the same {options.episodes} fresh episodes; {LEARNED}: "
        f"{options.iterations} episodes of training, mean over seeds ± sd. In settings of slots the first is the "
        "greedy oracle, first in first out; else least work left, under the same order."
    )
    return markdown_page("Requests one by one", about, summary_table(summary, shown))


def plot(table: pd.DataFrame, file: Path) -> None:
    """Mean and 99th percentile over those of the first scheduler, by load."""
    table = table.assign(workload=table["workload"].str.partition("/")[0])
    cells: Sequence[tuple[Any, pd.DataFrame]] = list(table.groupby(["workload", "order"], sort=False))
    figure, axes = pyplot().subplots(1, len(cells), figsize=(3.6 * len(cells), 3.4), squeeze=False, sharey=True)
    for ax, (names, cell) in zip(axes[0], cells, strict=True):
        for name, rows in cell.groupby("scheduler", sort=False):
            means = rows.groupby("load")[["over_mean_s", "over_p99_s"]].mean()
            [line] = ax.plot(means.index, means["over_mean_s"], marker="o", label=f"{name}, mean")
            ax.plot(means.index, means["over_p99_s"], marker="x", ls=":", color=line.get_color(), label="p99")
        ax.set(title=", ".join(names), xlabel="load", yscale="log")
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("{x:g}")
    axes[0][0].set_ylabel("delay over the first scheduler's")
    axes[0][-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    save(figure, file)


SMOKE = {"workloads": ["unequal-8"], "loads": [0.7], "orders": ["fifo"], "seeds": 1, "iterations": 1}
main = Program(run, OneByOneOptions, __doc__, SMOKE | {"requests": 200, "episodes": 1})

if __name__ == "__main__":
    sys.exit(main())

"""All methods on a request log: trained on its first part, evaluated on a later one, at several loads.

    python -m experiments.trace                                       the small made-up log of the package
    python -m experiments.trace --log requests.csv --episodes 200     a recorded one (docs/reference/request-log.md)

At each load the log's time is compressed to it. Every method is trained on windows of the first 70 % of the log and
then plays all windows of the rest with its most recent weights, beside the greedy oracle and every heuristic on the
same tasks. All of it happens twice: with the work of a request unknown until it has run (schedulers take each for the
log's mean), as in a service, and with the logged execution time known beforehand. The greedy oracle always knows it.
--output then holds every training episode, every scheduler's delays on the unseen part, also window by window (CSV),
their mean +- sd over seeds with an interval over windows (CSV and Markdown), and a picture. Besides the paper's
methods, `lad-pmd` and `dispatcher` are LAD-PMD, which optimises total delay: deciding at slot start, or one task
after the other, each knowing where the slot's earlier ones went.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from lad_rllib import names
from lad_rllib.cli.program import Program
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.cases import OWN_DELAY, Case, CaseOptions, CaseRuns, case_setting
from lad_rllib.runs.comparison import table_of_slots
from lad_rllib.runs.contest import evaluation_arrivals
from lad_rllib.runs.options import option
from lad_rllib.runs.over_seeds import over_seeds
from lad_rllib.runs.over_windows import over_windows, window_table
from lad_rllib.runs.plots import pyplot, save
from lad_rllib.runs.plots_of_cases import draw_ratios
from lad_rllib.runs.tables import interval, markdown_page, summary_sections
from lad_rllib.scheduling import make_heuristic, play, possible_heuristics
from lad_rllib.simulator import Setting

WORKS = {"mean": "Work unknown: each request shown as the mean", "known": "Work known beforehand"}
"""What schedulers are told of a request's work (``TraceRules.work_shown``), and how it is called."""
SAMPLE = "sample"
DISPATCHER = "dispatcher"
TOTAL_DELAY = {"lad-pmd": {}, DISPATCHER: {"in_slot_view": "all", "prior_queue_weight": 2.0}}
"""LAD-PMD, which decides at slot start, or for one task after the other."""
TITLES = {
    **{name: names.ALGORITHMS[name] for name in OWN_DELAY},
    "lad-pmd": "LAD-PMD",
    DISPATCHER: "LAD-PMD, one dispatcher",
}
"""What learns, and how it is called."""
EVALUATION_SEED = 1_000_000


class TraceOptions(CaseOptions):
    """Which log, at which loads, and what learns."""

    command: ClassVar[str] = "trace"

    log: str = option(SAMPLE, "request log", "FILE")
    loads: list[float] = option([0.1, 0.3, 0.6, 0.9, 1.2], "loads, low first: public services run nearly idle", "X")
    work: list[Literal[tuple(WORKS)]] = option(list(WORKS), "what schedulers are told of it")  # type: ignore[misc]
    methods: list[Literal[tuple(TITLES)]] = option(list(TITLES), "what learns", "NAME")  # type: ignore[misc]
    setting: str | None = option(None, "preset or settings file (sample-trace for the sample, else paper)", "NAME|FILE")
    output: str = option("results/trace", "output folder", "DIR")


def run(options: TraceOptions) -> int:
    """Train, evaluate and write; returns the exit status."""
    if options.arrivals or options.load or options.time_compression or options.work_shown:
        raise ConfigurationError(
            "name the log with --log, loads with --loads and what is told with --work; leave --arrivals, --load, "
            "--time-compression and --work-shown out"
        )
    setting = options.setting or ("sample-trace" if options.log == SAMPLE else "paper")
    options = options.model_copy(update={"setting": setting, "arrivals": options.log})
    cases = cases_of(options.loads, options.work, options.methods, options.episodes)
    runs = CaseRuns(options, "trace", cases)
    if options.estimate:
        return runs.print_estimate()
    curves = runs.train()
    evaluation, windows = evaluate(runs)
    by = ["load", "work", "scheduler"]
    columns = ["mean_s", "p50_s", "p95_s", "p99_s", "max_s", "over_oracle"]
    table = over_seeds(evaluation, by, columns, spread=["mean_s", "over_oracle"])
    order = {work: index for index, work in enumerate(WORKS)}
    table = table.sort_values(["load", "work", "mean_s"], key=lambda c: c.map(order) if c.name == "work" else c)
    table = table.merge(over_windows(windows, by[:-1]), on=by, sort=False)
    plot(table, runs.file("png"))
    text = describe(table, case_setting(runs.configuration, cases[0]), options)
    runs.write(text, curves=curves, evaluation=evaluation, windows=windows, summary=table)
    return 0


def cases_of(loads: list[float], works: list[str], methods: list[str], episodes: int) -> list[Case]:
    """Each method at each load, told the work of requests or not."""
    system = {"step_size_iterations": episodes, "draws": "coordinated"}
    return [
        Case(
            f"{method} at load {load:g}, work {work}",
            "lad-pmd" if method in TOTAL_DELAY else method,
            training=system | TOTAL_DELAY[method] if method in TOTAL_DELAY else {},
            setting={"arrivals": {"load": load, "work_shown": work}},
            columns={"method": method, "load": load, "work": work},
        )
        for load, work, method in itertools.product(loads, works, methods)
    ]


def evaluate(runs: CaseRuns) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every trained policy and heuristic on the unseen part.

    Returns:
        One row for each load, work shown, scheduler and seed; and the same for each window, with its ``tasks`` and
        ``mean_s``.
    """
    frames, windows = [], []
    points = {(case.columns["load"], case.columns["work"]): case for case in runs.cases.values()}
    for (load, work), case in points.items():
        setting = case_setting(runs.configuration, case).with_part(names.EVALUATION_PART)
        arrivals = evaluation_arrivals(setting, sys.maxsize, EVALUATION_SEED)
        for seed in range(runs.options.seeds):
            schedulers: dict[str, Any] = {
                str(case.columns["method"]): runs.trained(name, seed)
                for name, case in runs.cases.items()
                if (case.columns["load"], case.columns["work"]) == (load, work)
            }
            schedulers |= {name: make_heuristic(name) for name in possible_heuristics(setting.network, arrivals)}
            records = {
                name: play(scheduler, setting.network, arrivals, np.random.default_rng(seed), setting.num_slots - 1)
                for name, scheduler in schedulers.items()
            }
            key = {"load": load, "work": work, "seed": seed}
            frames.append(table_of_slots(records).assign(**key))
            windows += [window_table(record).assign(scheduler=name, **key) for name, record in records.items()]
    first = ["load", "work", "scheduler", "seed"]
    tables = [pd.concat(part, ignore_index=True) for part in (frames, windows)]
    evaluation, by_window = (table[[*first, *table.columns.difference(first, sort=False)]] for table in tables)
    return evaluation, by_window


SHOWN = {
    **{"scheduler": "scheduler", "mean_s": "mean, s", "over_oracle": "over greedy oracle", "interval": "over windows"},
    **{"better": "better in", "p95_s": "p95, s", "p99_s": "p99, s"},
}


def describe(table: pd.DataFrame, setting: Setting, options: TraceOptions) -> str:
    """The comparison at each load in Markdown."""
    network = setting.network
    table = table.assign(
        scheduler=table["scheduler"].map(lambda name: f"**{TITLES[name]}**" if name in TITLES else name),
        interval=[*map(interval, table["over_oracle_low"], table["over_oracle_high"])],
        better=table["better_windows"].astype(str) + " of " + table["windows"].astype(str),
    )
    return markdown_page(
        f"Request log `{Path(options.log).name}`: delays on its unseen part",
        f"{network.num_stations} base stations, {network.num_servers} edge servers, slots of {network.slot_s:g} s. "
        f"Trained for {options.episodes} episodes on the first 70 %; mean over seeds ± sd on all windows of the rest, "
        "each of which starts with empty queues. The interval (95 %, bootstrap) is over windows; *better in* counts "
        "those in which the mean over seeds is below the greedy oracle's. All schedulers had the same tasks.",
        "**Work unknown**: schedulers take every request for the log's mean and see which ones have ended, as a "
        "service does. **Work known beforehand**: they are told the logged execution time, which no service knows "
        "then: what perfect predictions would be worth. The greedy oracle always knows it. One dispatcher, "
        "shortest-expected-delay and least-loaded-exact know where the slot's earlier tasks went, as the greedy oracle "
        "does; all others decide at slot start.",
        *summary_sections(table, ["load", "work"], lambda load, work: f"Load {load:g}. {WORKS[work]}", SHOWN),
    )


def plot(table: pd.DataFrame, path: Path) -> None:
    """Ratio to the greedy oracle of each scheduler at each load, with its interval over windows."""
    loads, works = (list(dict.fromkeys(table[key])) for key in ("load", "work"))
    size = (4.2 * len(loads) + 1.5, 4.2 * len(works))
    figure, panels = pyplot().subplots(len(works), len(loads), figsize=size, squeeze=False)
    for (work, load), axes in zip(itertools.product(works, loads), panels.flat, strict=True):
        rows = table[(table["load"] == load) & (table["work"] == work)]
        ratio = rows["over_oracle"].to_numpy()
        interval = np.abs(rows[["over_oracle_low", "over_oracle_high"]].to_numpy().T - ratio)
        colours = ["#0b6fa4" if name in TITLES else "#bbbbbb" for name in rows["scheduler"]]
        draw_ratios(axes, [TITLES.get(name, name) for name in rows["scheduler"]], ratio, interval, colours)
        axes.set_xlim(0, max(1.2, min(ratio.max() * 1.1, 3.0)))  # the worst bars leave the picture
        axes.set_title(f"load {load:g}, work {'known' if work == 'known' else 'unknown'}")
    save(figure, path)


SMOKE = {"seeds": 1, "episodes": 2, "checkpoint_every": 1, "loads": [1.2], "work": ["mean"]}
main = Program(run, TraceOptions, __doc__, SMOKE | {"methods": ["lad-ts", "dqn-ts", DISPATCHER]})

if __name__ == "__main__":
    sys.exit(main())

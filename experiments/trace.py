"""All methods on a request log: trained on its first part, judged on a later one, at several loads.

    python experiments/trace.py                                       the small made-up log of the package
    python experiments/trace.py --log requests.csv --episodes 200     a recorded one (docs/reference/request-log.md)

At each load the log's time is compressed to it. Every method is trained on windows of the first 70 % of the log and
then plays all windows of the rest with its most recent weights, beside the greedy oracle and every heuristic on the
same tasks. All of it happens twice: with the work of a request unknown until it has run (schedulers take each for the
log's mean), as in a service, and with the logged execution time known beforehand. The greedy oracle always knows it.
--output then holds every training episode, every scheduler's delays on the unseen part, also window by window (CSV),
their mean +- sd over seeds with an interval over windows (CSV and Markdown), and a picture. Besides the paper's
methods, `system-delay` and `dispatcher` are LAD-TS optimising the delay of all tasks: deciding at slot start, or one
task after the other, each knowing where the slot's earlier ones went.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import bootstrap

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from experiments.comparison import pictures, tables  # noqa: E402
from experiments.comparison.runs import (  # noqa: E402
    Case,
    CaseRuns,
    add_methods_argument,
    add_run_arguments,
    case_setting,
)
from lad_rllib import names  # noqa: E402
from lad_rllib.cli import flags  # noqa: E402
from lad_rllib.errors import ConfigurationError  # noqa: E402
from lad_rllib.runs.command import run_command  # noqa: E402
from lad_rllib.runs.evaluate import comparison_table, evaluation_arrivals  # noqa: E402
from lad_rllib.scheduling import EpisodeRecord, make_heuristic, play, possible_heuristics  # noqa: E402
from lad_rllib.simulator import Setting  # noqa: E402

LOADS = (0.1, 0.3, 0.6, 0.9, 1.2)
"""Low loads first: the service that the public log comes from ran nearly idle."""
WORKS = {"mean": "Work unknown: each request shown as the mean", "known": "Work known beforehand"}
"""What schedulers are told of a request's work (``TraceRules.work_shown``), and how it is called."""
SAMPLE = "sample"
SYSTEM_DELAY, DISPATCHER = "system-delay", "dispatcher"
FOR_ALL = {
    SYSTEM_DELAY: {},
    DISPATCHER: {"in_slot_view": "all", "prior_queue_weight": 2.0},
}
"""LAD-PMD, which optimises the delay of all tasks: decisions at slot start, or one after the other."""
TITLES = {**names.ALGORITHMS, SYSTEM_DELAY: "LAD-PMD", DISPATCHER: "LAD-PMD, one dispatcher"}
"""What learns, and how it is called."""
EVALUATION_SEED = 1_000_000
ORACLE = "greedy-oracle"
DELAYS = ("mean_s", "p50_s", "p95_s", "p99_s", "max_s")
GROUP = ["load", "work", "scheduler"]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_arguments(parser, output="results/trace", seeds=3, episodes=100)
    add_methods_argument(parser, list(TITLES), choices=tuple(TITLES))
    parser.add_argument("--log", default=SAMPLE, metavar="FILE", help=f"request log ({SAMPLE})")
    parser.add_argument(
        "--loads", type=float, nargs="+", default=list(LOADS), metavar="X", help="(0.1 0.3 0.6 0.9 1.2)"
    )
    parser.add_argument(
        "--work", nargs="+", choices=tuple(WORKS), default=list(WORKS), help="what schedulers are told of it (both)"
    )
    parser.set_defaults(setting=None)
    flags.add_smoke(
        parser,
        seeds=1,
        episodes=2,
        checkpoint_every=1,
        loads=[1.2],
        work=["mean"],
        methods=["lad-ts", "dqn-ts", DISPATCHER],
    )
    parsed = parser.parse_args(arguments)
    parsed.command = "trace"
    return parsed


def run(parsed: argparse.Namespace) -> int:
    """Train, judge and write; returns the exit status."""
    if parsed.arrivals or parsed.load or parsed.time_compression or parsed.work_shown:
        raise ConfigurationError(
            "name the log with --log, loads with --loads and what is told with --work; leave --arrivals, --load and "
            "--work-shown out"
        )
    parsed.setting = parsed.setting or ("sample-trace" if parsed.log == SAMPLE else "paper")
    parsed.arrivals = parsed.log
    cases = cases_of(parsed.loads, parsed.work, parsed.methods, parsed.episodes)
    runs = CaseRuns(parsed, "trace", cases)
    curves = runs.train()
    judged, windows = judge(runs)
    table = over_seeds(judged).merge(over_windows(windows), on=GROUP, sort=False)
    plot(table, runs.file("png"))
    setting = case_setting(runs.configuration, cases[0])
    runs.write(describe(table, setting, parsed), curves=curves, evaluation=judged, windows=windows, summary=table)
    return 0


def cases_of(loads: list[float], works: list[str], methods: list[str], episodes: int) -> list[Case]:
    """Each method at each load, told the work of requests or not."""
    system = {"step_size_iterations": episodes, "draws": "coordinated"}
    return [
        Case(
            f"{method} at load {load:g}, work {work}",
            "lad-pmd" if method in FOR_ALL else method,
            training=system | FOR_ALL[method] if method in FOR_ALL else {},
            setting={"arrivals": {"load": load, "work_shown": work}},
            columns={"method": method, "load": load, "work": work},
        )
        for load in loads
        for work in works
        for method in methods
    ]


def judge(runs: CaseRuns) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every trained policy and heuristic on the unseen part.

    Returns:
        One row for each load, work shown, scheduler and seed; and the same for each window, with its ``tasks`` and
        ``mean_s``.
    """
    frames, windows = [], []
    points = {(case.columns["load"], case.columns["work"]): case for case in runs.cases.values()}
    for (load, work), case in points.items():
        setting = unseen(case_setting(runs.configuration, case))
        arrivals = evaluation_arrivals(setting, sys.maxsize, EVALUATION_SEED)
        for seed in range(runs.parsed.seeds):
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
            frames.append(comparison_table(records).assign(**key))
            windows += [window_table(record).assign(scheduler=name, **key) for name, record in records.items()]
    first = [*GROUP, "seed"]
    tables_of = [pd.concat(part, ignore_index=True) for part in (frames, windows)]
    judged, by_window = (table[[*first, *table.columns.difference(first, sort=False)]] for table in tables_of)
    return judged, by_window


def window_table(record: EpisodeRecord) -> pd.DataFrame:
    """Number of tasks and mean delay [s] of each window."""
    tasks = record.mask.sum(axis=(1, 2, 3))
    return pd.DataFrame({"window": np.arange(len(tasks)), "tasks": tasks, "mean_s": record.episode_mean_delay_s})


def unseen(setting: Setting) -> Setting:
    """The same setting on the later part of its log."""
    return setting.with_part(names.EVALUATION_PART)


def over_seeds(judged: pd.DataFrame) -> pd.DataFrame:
    """Mean and sd over seeds of each scheduler's delays [s] and of its ratio to the greedy oracle."""
    columns = [*DELAYS, "over_oracle"]
    grouped = judged.groupby(GROUP, sort=False)
    table = grouped[columns].mean()
    table[[f"{column}_sd" for column in ("mean_s", "over_oracle")]] = grouped[["mean_s", "over_oracle"]].std()
    table["seeds"] = grouped["seed"].nunique()
    order = {work: index for index, work in enumerate(WORKS)}
    table = table.reset_index()
    return table.sort_values(["load", "work", "mean_s"], key=lambda c: c.map(order) if c.name == "work" else c)


def over_windows(windows: pd.DataFrame) -> pd.DataFrame:
    """How far the ratio to the greedy oracle depends on the windows that it was judged on.

    Returns:
        One row for each load, work shown and scheduler: ``windows``, ``better_windows`` (in which the mean over seeds
        is below the oracle's), and ``over_oracle_low`` and ``_high``: 95 % bootstrap interval over windows (NaN
        for one).
    """
    windows = windows.assign(total_s=windows["tasks"] * windows["mean_s"])
    total = windows.groupby([*GROUP, "window"], sort=False)["total_s"].mean()
    totals = {key: own.to_numpy() for key, own in total.groupby(GROUP, sort=False)}
    rows = []
    for (load, work, scheduler), own in totals.items():
        oracle = totals[load, work, ORACLE]
        low, high = _interval(own, oracle) if len(own) > 1 else (np.nan, np.nan)
        rows.append([load, work, scheduler, len(own), int((own < oracle).sum()), low, high])
    return pd.DataFrame(rows, columns=[*GROUP, "windows", "better_windows", "over_oracle_low", "over_oracle_high"])


def _interval(own: NDArray[np.float64], oracle: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the ratio of sums over windows, which are drawn with replacement."""

    def ratio(own: NDArray[np.float64], oracle: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        quotient: NDArray[np.float64] = own.sum(axis=axis) / oracle.sum(axis=axis)
        return quotient

    draws = np.random.default_rng(0)
    drawn = bootstrap((own, oracle), ratio, paired=True, method="percentile", rng=draws)
    return float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)


def _range(low: float, high: float) -> str:
    return "" if np.isnan(low) else f"{low:.3f} to {high:.3f}"


def describe(table: pd.DataFrame, setting: Setting, parsed: argparse.Namespace) -> str:
    """The comparison at each load in Markdown."""
    network = setting.network
    lines = [
        f"# Request log `{Path(parsed.log).name}`: delays on its unseen part",
        "",
        f"{network.num_stations} base stations, {network.num_servers} edge servers, slots of {network.slot_s:g} s. "
        f"Trained for {parsed.episodes} episodes on the first 70 %; mean over seeds ± sd on all windows of the rest, "
        "each of which starts with empty queues. The interval (95 %, bootstrap) is over windows; *better in* counts "
        "those in which the mean over seeds is below the greedy oracle's. All schedulers had the same tasks.",
        "",
        "**Work unknown**: schedulers take every request for the log's mean and see which ones have ended, as a "
        "service does. **Work known beforehand**: they are told the logged execution time, which no service knows "
        "then: what perfect predictions would be worth. The greedy oracle always knows it. One dispatcher, "
        "shortest-expected-delay and least-loaded-exact know where the slot's earlier tasks went, as the greedy oracle "
        "does; all others decide at slot start.",
    ]
    header = ("scheduler", "mean, s", "over greedy oracle", "over windows", "better in", "p95, s", "p99, s")
    for load, at_load in table.groupby("load"):
        lines += ["", f"## Load {load:g}"]
        for work, rows in at_load.groupby("work", sort=False):
            cells = [
                (
                    f"**{TITLES[row['scheduler']]}**" if row["scheduler"] in TITLES else row["scheduler"],
                    tables.mean_sd(row["mean_s"], row["mean_s_sd"], 1),
                    tables.mean_sd(row["over_oracle"], row["over_oracle_sd"], 3),
                    _range(row["over_oracle_low"], row["over_oracle_high"]),
                    f"{row['better_windows']} of {row['windows']}",
                    *(f"{row[key]:.1f}" for key in ("p95_s", "p99_s")),
                )
                for row in rows.to_dict("records")
            ]
            lines += ["", f"**{WORKS[str(work)]}**", "", *tables.markdown_table(header, cells)]
    return "\n".join([*lines, "", tables.provenance(), ""])


def plot(table: pd.DataFrame, path: Path) -> None:
    """Ratio to the greedy oracle of each scheduler at each load, with its interval over windows."""
    plt = pictures.pyplot()
    loads, works = (list(dict.fromkeys(table[key])) for key in ("load", "work"))
    size = (4.2 * len(loads) + 1.5, 4.2 * len(works))
    figure, panels = plt.subplots(len(works), len(loads), figsize=size, squeeze=False)
    for (work, load), axes in zip(itertools.product(works, loads), panels.flat, strict=True):
        rows = table[(table["load"] == load) & (table["work"] == work)]
        labels = [TITLES.get(name, name) for name in rows["scheduler"]]
        colours = ["#0b6fa4" if name in TITLES else "#bbbbbb" for name in rows["scheduler"]]
        ratio = rows["over_oracle"].to_numpy()
        interval = np.abs(rows[["over_oracle_low", "over_oracle_high"]].to_numpy().T - ratio)
        axes.barh(labels, ratio, xerr=np.nan_to_num(interval), color=colours, capsize=3)
        axes.axvline(1.0, color="#c1440e", linewidth=1)
        axes.invert_yaxis()
        axes.set_xlim(0, max(1.2, min(ratio.max() * 1.1, 3.0)))  # the worst bars leave the picture
        axes.set(title=f"load {load:g}, work {'known' if work == 'known' else 'unknown'}")
        axes.set_xlabel("mean delay / greedy oracle's")
    pictures.save(figure, path)


if __name__ == "__main__":
    sys.exit(run_command(run, parse()))

"""All methods on a request log: trained on its first part, judged on a later one, at several loads.

    python experiments/trace.py                                       the small made-up log that comes along
    python experiments/trace.py --log requests.csv --episodes 200     a recorded one (docs/traces.md says in which form)

At each load the log's time is compressed to it. Every method is trained on windows of the first 70 % of the log and
then plays all windows of the rest with its most recent weights, beside the greedy oracle and every heuristic on the
same tasks. Left are, in --output: every training episode and every scheduler's delays on the unseen part (CSV),
their mean +- sd over seeds (CSV and Markdown), and a picture. Besides the paper's methods, `system-delay` and
`dispatcher` are LAD-TS for the delay of all tasks: deciding at slot start, or one task after the other, each knowing
where the slot's earlier ones went.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

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
from lad_rllib.cli.evaluate import comparison_table, evaluation_arrivals  # noqa: E402
from lad_rllib.cli.main import run_command  # noqa: E402
from lad_rllib.errors import ConfigurationError  # noqa: E402
from lad_rllib.scheduling import HEURISTICS, make_heuristic, play  # noqa: E402
from lad_rllib.simulator import Setting  # noqa: E402

LOADS = (0.6, 0.9, 1.2)
SAMPLE = "sample"
SYSTEM_DELAY, DISPATCHER = "system-delay", "dispatcher"
FOR_ALL = {
    SYSTEM_DELAY: {},
    DISPATCHER: {"in_slot_view": "all", "prior_queue_weight": 2.0},
}
"""LAD-TS for the delay of all tasks: decisions at slot start; or, as the greedy oracle's, one after the other."""
TITLES = {**names.ALGORITHMS, SYSTEM_DELAY: "LAD-TS, system delay", DISPATCHER: "LAD-TS, system delay, one dispatcher"}
"""What learns, and how it is called."""
EVALUATION_SEED = 1_000_000
DELAYS = ("mean_s", "p50_s", "p95_s", "p99_s", "max_s")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_arguments(parser, output="results/trace", seeds=3, episodes=100)
    add_methods_argument(parser, list(TITLES), choices=tuple(TITLES))
    parser.add_argument("--log", default=SAMPLE, metavar="FILE", help=f"request log ({SAMPLE})")
    parser.add_argument("--loads", type=float, nargs="+", default=list(LOADS), metavar="X", help="(0.6 0.9 1.2)")
    parser.set_defaults(setting=None)
    flags.add_smoke_argument(
        parser, seeds=1, episodes=2, checkpoint_every=1, loads=[1.2], methods=["lad-ts", "dqn-ts", DISPATCHER]
    )
    parsed = parser.parse_args(arguments)
    parsed.command = "trace"
    return parsed


def run(parsed: argparse.Namespace) -> int:
    """Train, judge and write; returns the exit status."""
    if parsed.arrivals or parsed.load or parsed.time_compression:
        raise ConfigurationError("name the log with --log and loads with --loads; leave --arrivals and --load out")
    parsed.setting = parsed.setting or ("sample-trace" if parsed.log == SAMPLE else "paper")
    parsed.arrivals = parsed.log
    cases = cases_of(parsed.loads, parsed.methods, parsed.episodes)
    runs = CaseRuns(parsed, "trace", cases)
    curves = runs.train()
    judged = judge(runs)
    table = over_seeds(judged)
    plot(table, runs.file("png"))
    setting = case_setting(runs.configuration, cases[0])
    runs.write(describe(table, setting, parsed), curves=curves, evaluation=judged, summary=table)
    return 0


def cases_of(loads: list[float], methods: list[str], episodes: int) -> list[Case]:
    """Each method at each load."""
    system = {"objective": "system_delay", "step_size_iterations": episodes, "draws": "coordinated"}
    return [
        Case(
            f"{method} at load {load:g}",
            "lad-ts" if method in FOR_ALL else method,
            training=system | FOR_ALL[method] if method in FOR_ALL else {},
            setting={"arrivals": {"load": load}},
            columns={"method": method, "load": load},
        )
        for load in loads
        for method in methods
    ]


def judge(runs: CaseRuns) -> pd.DataFrame:
    """Every trained policy and heuristic on the unseen part: one row for each load, scheduler and seed."""
    loads = {case.columns["load"]: case for case in runs.cases.values()}
    frames = []
    for load, case in loads.items():
        setting = unseen(case_setting(runs.configuration, case))
        for seed in range(runs.parsed.seeds):
            schedulers: dict[str, Any] = {
                str(case.columns["method"]): runs.trained(name, seed)
                for name, case in runs.cases.items()
                if case.columns["load"] == load
            }
            schedulers |= {name: make_heuristic(name) for name in possible_heuristics(setting)}
            arrivals = evaluation_arrivals(setting, sys.maxsize, EVALUATION_SEED)
            records = {
                name: play(scheduler, setting.network, arrivals, np.random.default_rng(seed), setting.num_slots - 1)
                for name, scheduler in schedulers.items()
            }
            frames.append(comparison_table(records).assign(load=load, seed=seed))
    judged = pd.concat(frames, ignore_index=True)
    return judged[["load", "scheduler", "seed", *[c for c in judged if c not in ("load", "scheduler", "seed")]]]


def unseen(setting: Setting) -> Setting:
    """The same setting on the later part of its log."""
    return setting.with_part(names.EVALUATION_PART)


def possible_heuristics(setting: Setting) -> list[str]:
    """Heuristics; local-only needs an edge server at every base station."""
    return [name for name in HEURISTICS if name != "local-only" or setting.network.home_server.min() >= 0]


def over_seeds(judged: pd.DataFrame) -> pd.DataFrame:
    """Mean and sd over seeds of each scheduler's delays [s] and of its ratio to the greedy oracle."""
    columns = [*DELAYS, "over_oracle"]
    grouped = judged.groupby(["load", "scheduler"], sort=False)
    table = grouped[columns].mean()
    table[[f"{column}_sd" for column in ("mean_s", "over_oracle")]] = grouped[["mean_s", "over_oracle"]].std()
    table["seeds"] = grouped["seed"].nunique()
    return table.reset_index().sort_values(["load", "mean_s"], ignore_index=True)


def describe(table: pd.DataFrame, setting: Setting, parsed: argparse.Namespace) -> str:
    """The comparison at each load in Markdown."""
    network = setting.network
    lines = [
        f"# Request log `{Path(parsed.log).name}`: delays on its unseen part",
        "",
        f"{network.num_stations} base stations, {network.num_servers} edge servers, slots of {network.slot_s:g} s. "
        f"Trained for {parsed.episodes} episodes on the first 70 %; mean over seeds ± sd on all windows of the rest. "
        "All schedulers had the same tasks. One dispatcher decides task after task and knows where the slot's earlier "
        "ones went, as the greedy oracle and least-loaded-exact do; all others decide at slot start.",
    ]
    header = ("scheduler", "mean, s", "over greedy oracle", "p50, s", "p95, s", "p99, s", "max, s")
    for load, rows in table.groupby("load"):
        cells = [
            (
                f"**{TITLES[row['scheduler']]}**" if row["scheduler"] in TITLES else row["scheduler"],
                tables.mean_sd(row["mean_s"], row["mean_s_sd"], 1),
                tables.mean_sd(row["over_oracle"], row["over_oracle_sd"], 3),
                *(f"{row[key]:.1f}" for key in DELAYS[1:]),
            )
            for row in rows.to_dict("records")
        ]
        lines += ["", f"## Load {load:g}", "", *tables.markdown_table(header, cells)]
    return "\n".join([*lines, "", tables.provenance(), ""])


def plot(table: pd.DataFrame, path: Path) -> None:
    """Ratio to the greedy oracle of each scheduler at each load."""
    plt = pictures.pyplot()
    loads = list(dict.fromkeys(table["load"]))
    figure, panels = plt.subplots(1, len(loads), figsize=(4.2 * len(loads) + 1.5, 4.2), squeeze=False)
    for axes, load in zip(panels[0], loads, strict=True):
        rows = table[table["load"] == load]
        labels = [TITLES.get(name, name) for name in rows["scheduler"]]
        colours = ["#0b6fa4" if name in TITLES else "#bbbbbb" for name in rows["scheduler"]]
        axes.barh(labels, rows["over_oracle"], xerr=rows["over_oracle_sd"].fillna(0), color=colours, capsize=3)
        axes.axvline(1.0, color="#c1440e", linewidth=1)
        axes.invert_yaxis()
        axes.set(title=f"load {load:g}", xlabel="mean delay / greedy oracle's")
    pictures.save(figure, path)


if __name__ == "__main__":
    sys.exit(run_command(run, parse()))

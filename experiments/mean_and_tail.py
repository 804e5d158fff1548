"""Mean against 99th percentile of rules, LAD-Dispatch and LAD-PMD on the paper's setting, under orders of service.

    python -m experiments.mean_and_tail --learned results/one_by_one

It plays the rules on fresh episodes, over the greedy oracle that serves first in, first out, and draws them with what
was trained before: LAD-Dispatch by `experiments.one_by_one` (folder --learned), LAD-PMD by `experiments.beyond` (the
files in experiments/results), each on fresh episodes of its own. Written into --output: mean_and_tail.csv and a picture
(mean_and_tail.png). A rule dominates a policy if neither its mean nor its percentile is greater; the table says which.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

import pandas as pd

from experiments.one_by_one import LEARNED
from lad_rllib.cli.program import Program
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.comparison import Measures
from lad_rllib.runs.contest import contest_of_slots
from lad_rllib.runs.options import Count, Options, option
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.plots import pyplot, save
from lad_rllib.runs.progress import bars
from lad_rllib.scheduling import make_heuristic
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.simulator import build_setting
from lad_rllib.simulator.requests.world import FIFO

ORACLE, PMD = "greedy-oracle", "lad-pmd"
KEPT = Path(__file__).parent / "results"
AXES = ["mean", "p99"]
TEST_SEED = 1_000_000
TICKS = [1, 1.5, 2, 3, 4]


class MeanAndTailOptions(Options):
    """What is played and drawn."""

    command: ClassVar[str] = "mean_and_tail"
    title = "run"

    schedulers: list[str] = option(
        [ORACLE, "water-filling", "least-work-left", "shortest-expected-delay", "card", "first-policy-iteration"],
        "rules",
        "NAME",
    )
    orders: list[str] = option(
        ["fifo", "shortest_first", *(f"aged:service_weight={weight}" for weight in (30, 100, 200, 300, 400, 1000))],
        "orders of service",
        "ORDER",
    )
    episodes: Count = option(10, "test episodes")
    learned: str = option("results/one_by_one", "folder of experiments.one_by_one", "DIR")
    output: str = option("results/mean_and_tail", "output folder", "DIR")


def run(options: MeanAndTailOptions) -> int:
    """Play, read and draw; returns the exit status."""
    output = writable_folder(options.output)
    points = pd.concat([of_rules(options), of_dispatch(Path(options.learned)), of_pmd()], ignore_index=True)
    points["dominated_by"] = [dominating(point, points) for _, point in points.iterrows()]
    points.round(4).to_csv(output / "mean_and_tail.csv", index=False)
    plot(points, output / "mean_and_tail.png")
    print(points.to_string(index=False, float_format="{:.3f}".format))
    return 0


def of_rules(options: MeanAndTailOptions) -> pd.DataFrame:
    """Rules under each order, over the greedy oracle first in, first out."""
    setting = build_setting({"preset": "paper"})
    contest = contest_of_slots(setting, options.episodes, TEST_SEED, options.orders, Measures())
    oracle = contest_of_slots(setting, options.episodes, TEST_SEED, [FIFO], Measures())
    [base] = oracle.play(ORACLE, make_heuristic(ORACLE))
    rows = []
    with bars() as progress:
        for name in progress.track(options.schedulers, description="rules"):
            for played in contest.play(name, make_scheduler(name, one_by_one=name != ORACLE)):
                mean, p99 = (float(played.row[key]) / float(base.row[key]) for key in ("mean_s", "p99_s"))
                rows.append({"scheduler": name, "order": played.row["order"], "bound": "-", "mean": mean, "p99": p99})
    return pd.DataFrame(rows)


def of_dispatch(folder: Path) -> pd.DataFrame:
    """What LAD-Dispatch has under the orders that it was trained for."""
    file = folder / "one_by_one_summary.csv"
    if not file.exists():
        raise ConfigurationError(f"there is no {file}; run experiments.one_by_one --workloads paper first")
    table = pd.read_csv(file)
    table = table[(table["workload"] == "paper") & (table["scheduler"] == LEARNED)]
    return table.rename(columns={"over_mean_s": "mean", "over_p99_s": "p99"})[["scheduler", "order", "bound", *AXES]]


def of_pmd() -> pd.DataFrame:
    """What LAD-PMD has, first in, first out: with most training, and with bounds."""
    tables = [pd.read_csv(KEPT / f"beyond_{part}_summary.csv") for part in ("budgets", "tails")]
    table = pd.concat(tables)
    table = table[table["scheduler"].str.lower() == PMD].rename(
        columns={"over_oracle": "mean", "p99_over_oracle": "p99"}
    )
    return table.assign(scheduler=PMD, order="fifo", bound=table["study"])[["scheduler", "order", "bound", *AXES]]


def dominating(point: pd.Series, points: pd.DataFrame) -> str:
    """A rule whose mean and percentile are both smaller than a point's; "-": there is none."""
    rules = points[~points["scheduler"].isin([LEARNED, PMD])]
    better = rules[(rules[AXES] < point[AXES].astype(float)).all(axis=1)]
    return "-" if better.empty else " ".join(better.sort_values("mean").iloc[0][["scheduler", "order"]])


def plot(points: pd.DataFrame, file: Path) -> None:
    """A line through the orders of each rule, and the points of what was learned."""
    figure, axes = pyplot().subplots(figsize=(7.5, 5))
    for name, rows in points.groupby("scheduler", sort=False):
        rows = rows.sort_values("mean")
        if name in (LEARNED, PMD):
            axes.plot(
                rows["mean"], rows["p99"], ls="", marker="*" if name == LEARNED else "P", ms=11, label=name, zorder=3
            )
        else:
            axes.plot(rows["mean"], rows["p99"], marker=".", lw=1, label=name)
    axes.set(
        xlabel="mean over the greedy oracle's, first in, first out",
        ylabel="p99 over the greedy oracle's",
        yscale="log",
        title="Paper's setting, load 1.24: a point for each order of service",
    )
    axes.set_yticks(TICKS, map(str, TICKS))
    axes.minorticks_off()
    axes.legend(fontsize=7)
    save(figure, file)


main = Program(run, MeanAndTailOptions, __doc__, {"episodes": 1, "schedulers": [ORACLE], "orders": ["fifo"]})

if __name__ == "__main__":
    sys.exit(main())

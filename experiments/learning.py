"""Learning of LAD-TS on the paper's edge network over several seeds, beside the greedy oracle on the same arrivals.

    python -m experiments.learning --seeds 5 --episodes 100

Trains one run per seed as a trial of Ray Tune, so that a cluster trains them side by side, and writes into --output:
every episode of every seed (CSV), a table of windows of episodes as mean +- sd over seeds, beside what the published
code reached there (CSV and Markdown), and a picture. `experiments.methods` compares it with the learned baselines.
"""

from __future__ import annotations

import sys
from typing import ClassVar

import pandas as pd

from lad_rllib import names
from lad_rllib.cli.program import Program
from lad_rllib.runs.cases import Case, CaseOptions, CaseRuns
from lad_rllib.runs.options import Count, option
from lad_rllib.runs.over_seeds import window_row
from lad_rllib.runs.plots_of_cases import plot_learning
from lad_rllib.runs.tables import markdown_page, summary_table

METHOD = "lad-ts"
WINDOWS = {(51, 60): 1.15, (91, 100): 1.07}
"""First and last episode of a window, and the published code's delay there over the greedy oracle's, in one run."""


class LearningCurveOptions(CaseOptions):
    """How LAD-TS is trained."""

    command: ClassVar[str] = "learning"

    seeds: Count = option(5, "runs, with seeds 0, 1, ...")
    output: str = option("results/learning", "output folder", "DIR")


def run(options: LearningCurveOptions) -> int:
    """Train, and write; returns the exit status."""
    preset = options.preset or "published_code"
    runs = CaseRuns(options, f"learning_{preset}", [Case(METHOD, METHOD)])
    if options.estimate:
        return runs.print_estimate()
    curves = runs.train()
    table = summary(curves, options.episodes)
    setting = runs.configuration["setting"]["name"]
    title = f"Learning on setting {setting}, preset {preset}"
    plot_learning(curves, {METHOD: names.ALGORITHMS[METHOD]}, runs.file("png"), title)
    text = describe(table, title)
    runs.write(text, float_format=None, curves=curves.drop(columns="case"), summary=table)
    return 0


def summary(curves: pd.DataFrame, episodes: int) -> pd.DataFrame:
    """Mean and sd over seeds of each window's mean delay and of its ratio to the greedy oracle."""
    windows = {window: ratio for window, ratio in WINDOWS.items() if window[1] <= episodes}
    rows = []
    for (first, last), published in (windows or {(max(1, episodes - 9), episodes): float("nan")}).items():
        row = window_row(curves, first, last)
        rows.append(
            {
                "episodes": row["episodes"],
                "seeds": row["seeds"],
                "mean_service_delay_s": row["delay_s"],
                "mean_service_delay_sd_s": row["delay_sd_s"],
                **{column: row[column] for column in names.YARDSTICKS.values()},
                "delay_over_oracle": row["over_oracle"],
                "delay_over_oracle_sd": row["over_oracle_sd"],
                "published_code_over_oracle": published,
            }
        )
    return pd.DataFrame(rows)


SHOWN = {
    **{"episodes": "episodes", "seeds": "seeds", "mean_service_delay_s": "LAD-TS, s"},
    **{column: f"{name.replace('-', ' ')}, s" for name, column in names.YARDSTICKS.items()},
    **{"delay_over_oracle": "ratio", "published_code_over_oracle": "ratio of the published code, one run"},
}


def describe(table: pd.DataFrame, title: str) -> str:
    """The table in Markdown."""
    return markdown_page(
        title,
        "Mean over seeds ± sd. All schedulers had the same arrivals; water-filling and capacity-proportional choose at "
        "random and learn nothing. Ratio: LAD-TS over the greedy oracle.",
        summary_table(table, SHOWN),
    )


main = Program(
    run, LearningCurveOptions, __doc__, {"setting": "small", "seeds": 2, "episodes": 4, "checkpoint_every": 1}
)

if __name__ == "__main__":
    sys.exit(main())

"""The paper's learned methods on its edge network: final delay and convergence of each, beside what the paper reports.

    python -m experiments.methods --seeds 5 --episodes 500
    python -m experiments.methods --methods lad-ts sac-ts

Every method is trained with every seed on the same arrivals. Left are, in --output: every episode (CSV), final delays,
their ratios to the greedy oracle and the episode at which each method has converged as mean +- sd over seeds (CSV and
Markdown), and a picture.
"""

from __future__ import annotations

import math
import sys
from typing import ClassVar, Literal

import pandas as pd

from lad_rllib import names
from lad_rllib.cli.program import Program
from lad_rllib.runs.cases import OWN_DELAY, Case, CaseOptions, CaseRuns
from lad_rllib.runs.options import Count, option
from lad_rllib.runs.over_seeds import ROLLING, converged_at, last_episodes
from lad_rllib.runs.plots_of_cases import plot_learning
from lad_rllib.runs.tables import markdown_page, summary_table

FINAL = 50
"""Episodes at a run's end whose mean is its final delay; of shorter runs a tenth."""
PAPER = {"lad-ts": (60, 7.7), "d2sac-ts": (150, 8.4), "sac-ts": (200, 8.8), "dqn-ts": (300, 9.4)}
"""Episodes to convergence and mean delay then [s] that arXiv 2412.18212 reports of 500 episodes."""
PAPER_ORACLE_S = 7.4
"""Mean delay of Opt-TS there [s]."""


class MethodsOptions(CaseOptions):
    """Which methods are compared, and how they are trained."""

    command: ClassVar[str] = "methods"

    methods: list[Literal[OWN_DELAY]] = option(list(PAPER), "what learns", "NAME", min_length=1)  # type: ignore
    seeds: Count = option(5, "runs of each method, with seeds 0, 1, ...")
    episodes: Count = option(500, "episodes of each run")
    output: str = option("results/methods", "output folder", "DIR")


def run(options: MethodsOptions) -> int:
    """Train all methods and write; returns the exit status."""
    runs = CaseRuns(options, "methods", [Case(method, method) for method in options.methods])
    if options.estimate:
        return runs.print_estimate()
    curves = runs.train()
    table = compare(curves)
    title = f"Methods on setting {runs.configuration['setting']['name']}, preset {options.preset or 'published_code'}"
    plot_learning(curves, names.ALGORITHMS, runs.file("png"), title)
    runs.write(describe(table, curves, title, options.episodes), curves=curves, summary=table)
    return 0


def final_window(episodes: int) -> int:
    """Episodes at the end of a run whose mean is its final delay."""
    return min(FINAL, max(episodes // 10, 1))


def compare(curves: pd.DataFrame) -> pd.DataFrame:
    """Final delay, ratios and convergence of each method over seeds, beside the paper's."""
    table = last_episodes(curves, final_window(int(curves["episodes"].max())))
    converged = curves.groupby(["case", "seed"])[names.MEAN_DELAY].agg(converged_at).groupby("case")
    table["converged_seeds"] = table["case"].map(converged.count())
    table["converged_at"] = table["case"].map(converged.mean())
    table["converged_at_sd"] = table["case"].map(converged.std())
    for index, column in enumerate(("paper_converged_at", "paper_delay_s")):
        table[column] = [PAPER.get(case, (math.nan,) * 2)[index] for case in table["case"]]
    table["paper_over_oracle"] = table["paper_delay_s"] / PAPER_ORACLE_S
    return table


def against(published: float, ours: float, sd: float) -> str:
    """Verdict on a published number: it agrees within 5 % or 2 sd of ours, or how far ours is from it."""
    if math.isnan(ours) or math.isnan(published):
        return "not measured"
    if abs(ours - published) <= max(0.05 * published, 0.0 if math.isnan(sd) else 2 * sd):
        return "agrees"
    return f"{abs(ours / published - 1):.0%} {'above' if ours > published else 'below'} the paper's"


SHOWN = {
    **{"method": "method", "seeds": "seeds", "delay_s": "final delay, s", "paper_delay_s": "paper's"},
    **{"over_oracle": "over greedy oracle", "paper_over_oracle": "paper's", "agreement": "verdict"},
    **{"over_proportional": "over capacity-proportional", "converged_at": "converged at episode"},
    **{"converged_in": "seeds", "paper_converged_at": "paper's", "agreement_in_time": "verdict"},
}


def describe(table: pd.DataFrame, curves: pd.DataFrame, title: str, episodes: int) -> str:
    """The comparison in Markdown."""
    table = table.assign(
        method=table["case"].map(names.ALGORITHMS),
        converged_in=table["converged_seeds"].astype(str) + " of " + table["seeds"].astype(str),
        agreement=[against(*row) for row in table[["paper_over_oracle", "over_oracle", "over_oracle_sd"]].to_numpy()],
        agreement_in_time=[
            against(*row) for row in table[["paper_converged_at", "converged_at", "converged_at_sd"]].to_numpy()
        ],
    )
    return markdown_page(
        title,
        f"Mean over seeds ± sd, {episodes} episodes each. Final delay: mean of the last {final_window(episodes)} "
        f"episodes. The greedy oracle (Opt-TS) has {table[names.ORACLE_DELAY].mean():.2f} s on the same arrivals, "
        f"{PAPER_ORACLE_S} s in the paper, so compare the ratios. Converged: the first episode from which the mean of "
        f"{ROLLING} episodes stays within 10 % of the run's own final delay (the paper does not define it). Verdict: "
        "agrees within 5 % or 2 sd.",
        summary_table(table, SHOWN),
        "\n".join(orders(curves)),
    )


def orders(curves: pd.DataFrame) -> list[str]:
    """In how many seeds each method ends below the next one, as the paper orders them."""
    last = curves[curves["episodes"] > curves["episodes"].max() - final_window(int(curves["episodes"].max()))]
    final = last.groupby(["case", "seed"])[names.DELAY_OVER_ORACLE].mean().unstack("case")
    present = [method for method in PAPER if method in final]
    return [
        f"- {names.ALGORITHMS[better]} ends below {names.ALGORITHMS[worse]} in "
        f"{int((final[better] < final[worse]).sum())} of {len(final)} seeds, by "
        f"{(1 - final[better] / final[worse]).mean():.1%} on average "
        f"(paper: {1 - PAPER[better][1] / PAPER[worse][1]:.1%})."
        for better, worse in zip(present, present[1:], strict=False)
    ]


main = Program(run, MethodsOptions, __doc__, {"setting": "small", "seeds": 2, "episodes": 4, "checkpoint_every": 1})

if __name__ == "__main__":
    sys.exit(main())

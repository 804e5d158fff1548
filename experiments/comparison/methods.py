"""Learning curves of several methods, how soon each has converged, and what the paper reports of them."""

from __future__ import annotations

import argparse

import pandas as pd

from experiments.comparison import pictures, tables
from experiments.comparison.runs import Case, CaseRuns
from lad_rllib import names

FINAL = 50
"""Episodes at a run's end whose mean is its final delay; of shorter runs a tenth."""
PAPER = {"lad-ts": (60, 7.7), "d2sac-ts": (150, 8.4), "sac-ts": (200, 8.8), "dqn-ts": (300, 9.4)}
"""Episodes to convergence and mean delay then [s] that arXiv 2412.18212 reports of 500 episodes."""
PAPER_ORACLE_S = 7.4
"""Mean delay of Opt-TS there [s]."""


def run(parsed: argparse.Namespace) -> int:
    """Train all methods and write; returns the exit status."""
    runs = CaseRuns(parsed, "methods", [Case(method, method) for method in parsed.methods])
    curves = runs.train()
    table = compare(curves)
    setting = runs.configuration["setting"]["name"]
    preset = runs.configuration["training"].get("preset", "published_code")
    labels = {method: names.ALGORITHMS[method] for method in parsed.methods}
    title = f"Learning on setting {setting}, preset {preset}"
    pictures.plot_learning(curves, labels, runs.file("png"), title)
    runs.write(describe(table, curves, setting, preset, parsed.episodes), curves=curves, summary=table)
    return 0


def final_window(episodes: int) -> int:
    """Episodes at the end of a run whose mean is its final delay."""
    return min(FINAL, max(episodes // 10, 1))


def compare(curves: pd.DataFrame) -> pd.DataFrame:
    """Final delay, ratios and convergence of each method over seeds, beside the paper's."""
    table = tables.last_episodes(curves, final_window(int(curves["episodes"].max())))
    converged = curves.groupby(["case", "seed"])[names.MEAN_DELAY].agg(tables.converged_at).groupby("case")
    table["converged_seeds"] = table["case"].map(converged.count())
    table["converged_at"] = table["case"].map(converged.mean())
    table["converged_at_sd"] = table["case"].map(converged.std())
    for index, column in enumerate(("paper_converged_at", "paper_delay_s")):
        table[column] = [PAPER.get(case, (float("nan"),) * 2)[index] for case in table["case"]]
    table["paper_over_oracle"] = table["paper_delay_s"] / PAPER_ORACLE_S
    return table


def describe(table: pd.DataFrame, curves: pd.DataFrame, setting: str, preset: str, episodes: int) -> str:
    """The comparison in Markdown."""
    rows = [
        (
            names.ALGORITHMS[row["case"]],
            row["seeds"],
            tables.mean_sd(row["delay_s"], row["delay_sd_s"], 2),
            f"{row['paper_delay_s']:.1f}",
            tables.mean_sd(row["over_oracle"], row["over_oracle_sd"], 3),
            f"{row['paper_over_oracle']:.3f}",
            tables.against(row["paper_over_oracle"], row["over_oracle"], row["over_oracle_sd"]),
            tables.mean_sd(row["over_proportional"], row["over_proportional_sd"], 3),
            f"{tables.mean_sd(row['converged_at'], row['converged_at_sd'], 0)} ({row['converged_seeds']} of "
            f"{row['seeds']} seeds)",
            f"{row['paper_converged_at']:.0f}",
            tables.against(row["paper_converged_at"], row["converged_at"], row["converged_at_sd"]),
        )
        for row in table.to_dict("records")
    ]
    header = (
        "method",
        "seeds",
        "final delay, s",
        "paper's",
        "over greedy oracle",
        "paper's",
        "verdict",
        "over capacity-proportional",
        "converged at episode",
        "paper's",
        "verdict",
    )
    oracle = table[names.ORACLE_DELAY].mean()
    return "\n".join(
        [
            f"# Methods on setting `{setting}`, preset `{preset}`",
            "",
            f"Mean over seeds ± sd, {episodes} episodes each. Final delay: mean of the last {final_window(episodes)} "
            f"episodes. The greedy oracle (Opt-TS) has {oracle:.2f} s on the same arrivals, {PAPER_ORACLE_S} s in the "
            "paper, so that the ratios are what to compare. Converged: the first episode from which the mean of "
            f"{tables.ROLLING} episodes stays within 10 % of the run's own final delay (the paper does not define it). "
            "Verdict: agrees within 5 % or 2 sd.",
            "",
            *tables.markdown_table(header, rows),
            "",
            *orders(curves),
            "",
            tables.provenance(),
            "",
        ]
    )


def orders(curves: pd.DataFrame) -> list[str]:
    """In how many seeds each method ends below the next one, as the paper orders them."""
    last = curves[curves["episodes"] > curves["episodes"].max() - final_window(int(curves["episodes"].max()))]
    final = last.groupby(["case", "seed"])[names.DELAY_OVER_ORACLE].mean().unstack("case")
    present = [method for method in PAPER if method in final]
    lines = []
    for better, worse in zip(present, present[1:], strict=False):
        count = int((final[better] < final[worse]).sum())
        published = 1 - PAPER[better][1] / PAPER[worse][1]
        lines.append(
            f"- {names.ALGORITHMS[better]} ends below {names.ALGORITHMS[worse]} in {count} of {len(final)} seeds, by "
            f"{(1 - final[better] / final[worse]).mean():.1%} on average (paper: {published:.1%})."
        )
    return lines

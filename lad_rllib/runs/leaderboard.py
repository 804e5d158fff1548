"""The leaderboard of the benchmark suite: its rows summed up over workloads and loads."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lad_rllib.runs.tables import markdown_page, summary_table

CELL = ["workload", "load"]
COLUMNS = {
    "scheduler": "scheduler",
    "rank": "mean rank",
    "over_same_order": "mean ÷ least work left",
    "worst_over": "worst",
    "p99_over_same_order": "p99 ÷ least work left",
    "slo_attainment": "SLO attained",
}
"""Columns of a leaderboard, and their titles."""


def leaderboard(table: pd.DataFrame, order: str, work: str) -> pd.DataFrame:
    """Schedulers that played every workload and load under one order of service, the best first.

    Args:
        table: Rows of the suite.
        order: The order of service.
        work: What schedulers are told of service times; rows of workloads where these are exact belong to both.

    Returns:
        For each scheduler its mean ``rank`` by mean delay; geometric means of ``over_same_order`` and
        ``p99_over_same_order``, the ratios to least work left under the same order; the worst ratio of means,
        ``worst_over``; and mean ``slo_attainment``. Each cell of workload and load counts the same.
    """
    rows = told(table[table["order"] == order], work)
    cells = rows.groupby(CELL, sort=False).ngroups
    everywhere = rows.groupby("scheduler")["mean_s"].transform("size") == cells
    rows = rows[everywhere]
    rows = rows.assign(
        rank=rows.groupby(CELL)["mean_s"].rank(),
        ln_mean=np.log(rows["over_same_order"]),
        ln_p99=np.log(rows["p99_over_same_order"]),
    )
    summed = rows.groupby("scheduler", sort=False).agg(
        rank=("rank", "mean"),
        over_same_order=("ln_mean", "mean"),
        worst_over=("over_same_order", "max"),
        p99_over_same_order=("ln_p99", "mean"),
        slo_attainment=("slo_attainment", "mean"),
    )
    ratios = ["over_same_order", "p99_over_same_order"]
    summed[ratios] = np.exp(summed[ratios])
    return summed.sort_values("over_same_order").reset_index()


def told(table: pd.DataFrame, work: str) -> pd.DataFrame:
    """Rows in which schedulers are told so much of service times, and those of workloads where it makes no difference.

    Args:
        table: Rows of the suite.
        work: ``predicted`` or ``known``.
    """
    both = table.groupby("workload")["work"].transform("nunique") > 1
    return table[(table["work"] == work) | ~both]


def leaderboards(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The leaderboard of each order of service and of what schedulers are told, by title."""
    works = [work for work in ("predicted", "known") if work in set(table["work"])]
    boards = {
        f"{order}, work {work}": leaderboard(table, order, work) for order in table["order"].unique() for work in works
    }
    return {title: board for title, board in boards.items() if len(board)}


def leaderboard_page(table: pd.DataFrame) -> str:
    """All leaderboards in Markdown."""
    workloads, loads = (", ".join(map(str, table[column].unique())) for column in CELL)
    boards = [(f"## {title}", summary_table(board, COLUMNS)) for title, board in leaderboards(table).items()]
    return markdown_page(
        "Leaderboard",
        f"Workloads: {workloads}. Loads: {loads}. Rank and ratios are by mean delay, each workload and load counting "
        "the same; least work left is served in the same order. Only schedulers that played all of them are here.",
        *(part for board in boards for part in board),
    )

"""``lad-rllib evaluate``: prints the comparison as a table or as JSON."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import pandas as pd

from lad_rllib.runs.evaluate import FILES, Evaluation, evaluate
from lad_rllib.runs.options import EvaluateOptions
from lad_rllib.runs.tables import json_rows, print_json, print_table

COLUMNS = {
    "scheduler": "scheduler",
    "order": "order",
    "mean_s": "mean",
    "over_oracle": "/oracle",
    "over_least_work_left": "/least work",
    "p50_s": "p50",
    "p95_s": "p95",
    "p99_s": "p99",
    "max_s": "max",
    "fairness": "fair.",
    "miss_rate": "missed",
    "slo_attainment": "SLO",
    "swaps": "swaps",
    "upload_s": "upload",
    "waiting_s": "waiting",
    "swap_s": "swap",
    "computing_s": "comp.",
    "download_s": "downl.",
    "utilisation": "util.",
}
_THREE_DIGITS = (
    *("over_oracle", "over_least_work_left", "fairness", "miss_rate", "slo_attainment", "swaps"),
    *("upload_s", "download_s", "utilisation"),
)


def run(options: EvaluateOptions, *, as_json: bool) -> int:
    """Evaluate; returns the exit status."""
    evaluation = evaluate(options, say=partial(print, file=sys.stderr) if as_json else print)
    if as_json:
        print_json(json_rows(evaluation.table))
    elif evaluation.is_new:
        _print_table(evaluation)
        print(f"written: {', '.join(str(evaluation.folder / file) for file in FILES)}")
    else:
        print(f"{evaluation.folder} has the results of this command already")
    return 0


def _print_table(evaluation: Evaluation) -> None:
    orders = set(evaluation.table["order"]) - {"fifo", "any"}
    columns = {key: label for key, label in COLUMNS.items() if key in evaluation.table}
    if not orders:
        del columns["order"]
    rows = evaluation.table.to_dict("records")
    cells = [{label: _cell(key, row[key]) for key, label in columns.items()} for row in rows]
    print_table(f"{evaluation.title}; delays in s", cells)


def _cell(key: str, value: Any) -> str:
    if key in ("scheduler", "order"):
        return str(value)
    return "–" if pd.isna(value) else f"{value:.{3 if key in _THREE_DIGITS else 2}f}"

"""``lad-rllib bench-suite``: prints the leaderboards, or all rows as JSON."""

from __future__ import annotations

import sys
from functools import partial

from lad_rllib.runs.leaderboard import COLUMNS, leaderboards
from lad_rllib.runs.suite import LEADERBOARD, RESULTS, run_suite
from lad_rllib.runs.suite_options import SuiteOptions
from lad_rllib.runs.tables import cell, json_rows, print_json, print_table


def run(options: SuiteOptions, *, as_json: bool) -> int:
    """Run the suite; returns the exit status."""
    suite = run_suite(options, say=partial(print, file=sys.stderr))
    if as_json:
        print_json(json_rows(suite.table))
        return 0
    for title, board in leaderboards(suite.table).items():
        rows = board.to_dict("records")
        print_table(title, [{column: cell(row, name) for name, column in COLUMNS.items()} for row in rows])
    print(f"written: {suite.folder / RESULTS}, {suite.folder / LEADERBOARD}, a picture of each workload")
    return 0

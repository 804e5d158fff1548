"""``lad-rllib tune``: prints the summary of a search, or its trials as JSON."""

from __future__ import annotations

import sys
from functools import partial

from lad_rllib.runs.options import SearchOptions
from lad_rllib.runs.tables import json_rows, print_json
from lad_rllib.runs.tune import search


def run(options: SearchOptions, *, as_json: bool) -> int:
    """Search; returns the exit status: 1 if a trial failed for good, 128 and a signal's number if one ended it."""
    to_errors = partial(print, file=sys.stderr)
    say = (lambda line: None) if options.quiet else to_errors if as_json else print
    searched = search(options, say)
    report = searched.report
    if as_json:
        print_json(json_rows(report.trials))
    else:
        print(report.text)
    if searched.signal is not None:
        to_errors(f"lad-rllib tune: interrupted; lad-rllib tune --resume --output {options.output} goes on")
        return 128 + searched.signal
    return 1 if searched.failed or report.best is None else 0

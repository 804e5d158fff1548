"""``lad-rllib improve``: prints how each scheduler fared, and the verdict; or the record as JSON."""

from __future__ import annotations

import json
import sys
from functools import partial

from lad_rllib.runs.improve import PAGE, PICTURE, RECORD, improve
from lad_rllib.runs.improve_options import ImproveOptions
from lad_rllib.runs.tables import cell, print_table

KEPT = 3
"""Exit status where the present scheduler is to be kept."""

COLUMNS = {"scheduler": "scheduler", "mean_s": "mean", "p50_s": "p50", "p95_s": "p95", "p99_s": "p99"}
RATIOS = {"mean": "mean/present", "p99": "p99/present"}


def run(options: ImproveOptions, *, as_json: bool) -> int:
    """Improve; returns the exit status."""
    improved = improve(options, say=partial(print, file=sys.stderr))
    if as_json:
        record = json.loads((improved.folder / RECORD).read_text(encoding="utf-8"))
        json.dump(record, sys.stdout, indent=2)
        print()
    else:
        rows = [
            {title: cell(row, name) for name, title in COLUMNS.items()}
            | {title: "{:.3f} ({:.3f}–{:.3f})".format(*_ratio(row, name)) for name, title in RATIOS.items()}
            for row in improved.table.to_dict("records")
        ]
        print_table("held-out requests replayed; delays in s, ratios with 95 % intervals", rows)
        print(f"verdict: {improved.verdict} ({'; '.join(improved.why)})")
        if improved.swapped:
            print(f"the service decides by {improved.swapped} from now on")
        elif improved.recommended:
            print(f"recommended: {improved.recommended}")
        print(f"written: {', '.join(str(improved.folder / file) for file in (PAGE, RECORD, PICTURE))}")
    return KEPT if improved.verdict == "keep" else 0


def _ratio(row: dict[object, float], name: str) -> tuple[float, float, float]:
    return row[f"{name}_ratio"], row[f"{name}_low"], row[f"{name}_high"]

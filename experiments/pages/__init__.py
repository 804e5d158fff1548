"""The tables of results on the pages, made from the CSV files that experiments and benchmarks left.

    python -m experiments.pages            writes them into the pages again, after a file has changed

A page says where a table belongs, and the script fills what is between:

    <!-- results: methods -->
    <!-- end of results -->

So every number of a table has one source; a test compares all pages with the files.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from experiments.pages import fleets, learning, measured
from experiments.pages.reading import ROOT, Table
from lad_rllib.runs.tables import markdown_table

BLOCK = re.compile(r"(<!-- results: ([\w-]+) -->\n).*?(<!-- end of results -->)", re.DOTALL)
TABLES: dict[str, Callable[[], Table]] = {
    "readme": partial(learning.budgets, ("100 episodes",), brief=True),
    "budgets": learning.budgets,
    "tails": partial(learning.studies, "tails", "bound"),
    "loads": partial(learning.studies, "loads", "tasks of a station in a slot"),
    "views": partial(learning.studies, "views", "what is known"),
    "horizons": partial(learning.studies, "horizons", "episodes"),
    "lad-pmd-parts": learning.parts_of_lad_pmd,
    "methods": learning.methods,
    "first-episodes": learning.first_episodes,
    "lad-ts-parts": learning.parts_of_lad_ts,
    **{f"sweep-{name}": partial(learning.sweep, name) for name in learning.SWEEPS},
    "sweeps": learning.sweeps_won,
    "trace-work-unknown": partial(learning.trace, "mean"),
    "trace-work-known": partial(learning.trace, "known"),
    "one-by-one": learning.one_by_one,
    "one-by-one-bounds": partial(learning.one_by_one, "one_by_one_bounds"),
    "one-by-one-paper": partial(
        learning.one_by_one, "one_by_one_paper", ("p95", "p99"), ("shortest-expected-delay", "first-policy-iteration")
    ),
    **{f"recorded-{work}": partial(learning.recorded, work) for work in ("predicted", "known")},
    "any-fleet": partial(fleets.any_fleet, 1, 20),
    "any-fleet-parts": fleets.parts_of_any_fleet,
    "any-fleet-100": partial(fleets.any_fleet, 100, 100),
    "specialists": fleets.specialists,
    "paper-slots": fleets.paper_slots,
    "improve-loop": measured.improve_loop,
    "policy-guard": measured.policy_guard,
    "tuned": learning.tuned,
    "learners": learning.learners,
    "live": measured.live,
    "live-requests": measured.live_requests,
    "prototype-jetson": partial(measured.prototype, "jetson"),
    "prototype-digits": partial(measured.prototype, "digits"),
    "yardsticks": measured.yardsticks,
    "yardsticks-by-load": measured.yardsticks_by_load,
    "suite-fifo": partial(measured.suite, "fifo", "predicted"),
    "suite-shortest-first": partial(measured.suite, "shortest_first", "predicted"),
    "suite-aged": partial(measured.suite, "aged:service_weight=10", "predicted"),
    "suite-known": partial(measured.suite, "fifo", "known"),
    "suite-workloads": measured.suite_workloads,
    "embedded-model-quality": measured.embedded_quality,
    "speed": measured.speed,
    "before-after": measured.before_after,
    "edge-predictions": measured.edge_predictions,
    **{f"dispatch-{name}": partial(measured.dispatch, name) for name in ("latency", "throughput", "resources")},
    "scaling": measured.scaling,
    "scaling-worlds": partial(measured.scaling_worlds, "runners", "staleness", "learners", "batch"),
    "scaling-emulated": partial(measured.scaling_worlds, "emulated"),
    "staleness": learning.staleness,
    "service-delays": measured.service_delays,
    "service-faults": measured.service_faults,
    "calibration": measured.calibration,
    "clip-denoised": learning.limit_of_chain,
    "sd3-models": measured.sd3_models,
    "sd3-profiles": measured.sd3_profiles,
}
"""Every table by the name that pages call it."""


def markdown(name: str) -> str:
    """A table as Markdown."""
    return markdown_table(*TABLES[name]()) + "\n"


def filled(text: str) -> str:
    """A page with its tables as the files have them."""
    return BLOCK.sub(lambda block: f"{block[1]}{markdown(block[2])}{block[3]}", text)


def pages() -> list[Path]:
    """Pages that may hold tables."""
    return [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("lad_rllib/**/README.md"))]


def main() -> None:
    """Fill every page."""
    for page in pages():
        before = page.read_text(encoding="utf-8")
        if (after := filled(before)) != before:
            page.write_text(after, encoding="utf-8")
            print(f"written: {page.relative_to(ROOT)}")

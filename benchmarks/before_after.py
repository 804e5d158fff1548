"""Simulator, costs and training iterations of the paper's setting before and after a change, taking turns in one run.

    git worktree add build/before COMMIT
    python -m benchmarks.before_after --before build/before     # two minutes; writes benchmarks/results/before_after.*

Two processes, one with the ``lad_rllib`` of each checkout, run the same cases in turns, so that a busy machine slows
both. Figures are medians of CPU times; a ratio is the median of those of the same turn.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS, ROOT, provenance, show, write_figures, write_page
from lad_rllib.runs.provenance import source_commit

GOAL = 1.05
CASES = Path(__file__).with_name("before_after_cases.py")


class Side:
    """A process with the package of a checkout.

    Args:
        checkout: Its folder.
    """

    def __init__(self, checkout: Path) -> None:
        environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-P", CASES],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=checkout,
        )
        self.cases = self._answer().split("\t")

    def cpu_s(self, case: str) -> float:
        """CPU time of a case, run once [s]."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{case}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"before_after: a side ended with status {self._process.wait()}; see its error above")
        return line.rstrip("\n")


def measured(before: Path, after: Path, rounds: int) -> list[dict[str, Any]]:
    """A row for each case."""
    sides = [Side(before), Side(after)]
    taken: dict[str, tuple[list[float], list[float]]] = {case: ([], []) for case in sides[0].cases}
    for number in range(rounds):
        for case, seconds in taken.items():
            for index in (0, 1) if number % 2 else (1, 0):
                seconds[index].append(sides[index].cpu_s(case))
    for side in sides:
        side.close()
    return [
        {
            "case": case,
            "before, CPU s": statistics.median(old),
            "after, CPU s": statistics.median(new),
            "after over before": statistics.median(b / a for a, b in zip(old, new, strict=True)),
            "least over least": min(new) / min(old),
        }
        for case, (old, new) in taken.items()
    ]


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write; returns 1 if a case has become slower than the goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, metavar="DIR", help="checkout of the commit before")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of all cases (default: 15)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the results")
    options = parser.parse_args(argv)
    before = options.before.resolve()
    rows = measured(before, ROOT, options.rounds)
    slowest = max(rows, key=lambda row: row["after over before"])
    verdict = (
        f"{'reached' if slowest['after over before'] <= GOAL else 'MISSED'}: goal at most {GOAL}; the most is "
        f"{slowest['after over before']:.3f}, {slowest['case']}"
    )
    about = provenance("one thread") | {"before": str(source_commit(before)), "rounds": str(options.rounds)}
    figures = [(row["case"], key, value) for row in rows for key, value in row.items() if key != "case"]
    write_figures(options.output / "before_after.csv", ("row", "figure", "value"), figures, about)
    about_this = "The paper's setting, one episode; medians of CPU time."
    write_page(options.output / "before_after.md", "Before and after", about, about_this, show(rows), verdict)
    print(show(rows), verdict, sep="\n\n")
    return int(slowest["after over before"] > GOAL)


if __name__ == "__main__":
    sys.exit(main())

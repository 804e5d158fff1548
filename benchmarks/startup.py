"""How long the command line takes to answer help, the version and a typing error, and ``import lad_rllib`` takes.

    python -m benchmarks.startup        # a few seconds; writes benchmarks/results/startup.md

Wall time of whole processes, the smallest of several, all in turn in one run.
"""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.report import RESULTS, provenance, show, write_page

REPEATS = 7
GOAL_S, IMPORT_GOAL_S = 0.4, 0.3
IMPORT = "import lad_rllib"
COMMAND = "from lad_rllib.cli import main; main({})"
CASES = {
    "python -c pass": "pass",
    f"python -c '{IMPORT}'": IMPORT,
    "lad-rllib --version": COMMAND.format(["--version"]),
    "lad-rllib --help": COMMAND.format(["--help"]),
    "lad-rllib train --help": COMMAND.format(["train", "--help"]),
    "lad-rllib train --gama 0.9": COMMAND.format(["train", "--gama", "0.9"]),
    "python -c 'import ray'": "import ray",
}


def seconds(statement: str) -> float:
    """Wall time of a process that runs one statement [s]."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], capture_output=True, check=False)
    return time.perf_counter() - began


def main() -> int:
    """Measure, print and write the table; returns 1 if a goal is missed."""
    taken = {name: [seconds(statement)] for name, statement in CASES.items()}  # the first round warms the disk cache
    for _ in range(REPEATS):
        for name, statement in CASES.items():
            taken[name].append(seconds(statement))
    least = {name: min(values[1:]) for name, values in taken.items()}
    bare = least["python -c pass"]
    rows = [{"process": name, "wall s": value, "over python": value / bare} for name, value in least.items()]
    slowest = max(value for name, value in least.items() if name.startswith("lad-rllib"))
    imported = least[f"python -c '{IMPORT}'"]
    verdicts = [
        f"{'reached' if slowest < GOAL_S else 'missed'}: the slowest command takes {slowest:.3f} s, goal {GOAL_S} s",
        f"{'reached' if imported < IMPORT_GOAL_S else 'missed'}: the import takes {imported:.3f} s, "
        f"goal {IMPORT_GOAL_S} s",
    ]
    print(show(rows), *verdicts, sep="\n")
    about = provenance("one thread")
    write_page(RESULTS / "startup.md", "Start of the command line", about, show(rows), "\n".join(verdicts))
    return int(slowest >= GOAL_S or imported >= IMPORT_GOAL_S)


if __name__ == "__main__":
    sys.exit(main())

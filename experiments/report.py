"""One page of all results beside the paper's: what was reproduced, what was not, with tables and pictures.

    python experiments/report.py                       reads and writes experiments/results
    python experiments/report.py --results results/mine

Reads what learning.py --methods, sweeps.py, ablations.py, trace.py, yardsticks.py and beyond.py left there (copy their
files to one folder); what is missing is said to be. Writes report.md beside them.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from experiments.beyond import PARTS as BEYOND  # noqa: E402
from experiments.comparison import tables  # noqa: E402
from experiments.comparison.methods import PAPER, PAPER_ORACLE_S  # noqa: E402
from lad_rllib import names  # noqa: E402
from lad_rllib.cli.main import run_command  # noqa: E402
from lad_rllib.errors import ConfigurationError  # noqa: E402
from lad_rllib.runs.output_folder import writable_folder  # noqa: E402

SECTIONS = {
    "methods": "python experiments/learning.py --methods lad-ts d2sac-ts sac-ts dqn-ts --seeds 5 --episodes 500",
    "sweeps": "python experiments/sweeps.py",
    "ablations": "python experiments/ablations.py",
    "trace": "python experiments/trace.py --log FILE",
    "yardsticks": "python experiments/yardsticks.py",
    **{f"beyond_{part}": f"python experiments/beyond.py --parts {part}" for part in BEYOND},
}
"""Stem of the files of each experiment, and what makes them."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", default="experiments/results", metavar="DIR", help="(experiments/results)")
    parsed = parser.parse_args(arguments)
    parsed.command = "report"
    return parsed


def run(parsed: argparse.Namespace) -> int:
    """Write the page; returns the exit status."""
    folder = Path(parsed.results)
    if not folder.is_dir():
        raise ConfigurationError(f"there is no folder {folder}; give --results")
    writable_folder(folder)
    file = folder / "report.md"
    file.write_text("\n".join(page(folder)).rstrip() + "\n", encoding="utf-8")
    print(f"written: {file}")
    return 0


def page(folder: Path) -> Iterator[str]:
    """Lines of the page."""
    yield from ("# Results beside the paper's", "")
    yield "Paper: arXiv 2412.18212. Ours: mean over seeds ± sd; agrees: within 5 % or 2 sd."
    yield ""
    claims = [*method_claims(folder), *sweep_claims(folder)]
    if claims:
        yield from tables.markdown_table(("what", "paper", "ours", "verdict"), claims)
        yield ""
    for stem, command in SECTIONS.items():
        yield from section(folder, stem, command)


def method_claims(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    """What the paper says of its methods: delays, differences, convergence."""
    file = folder / "methods_summary.csv"
    if not file.exists():
        return
    table = pd.read_csv(file).set_index("case")
    for method in (method for method in PAPER if method in table.index):
        row, (episodes, delay_s) = table.loc[method], PAPER[method]
        ratio = delay_s / PAPER_ORACLE_S
        ours = tables.mean_sd(row["over_oracle"], row["over_oracle_sd"], 3)
        verdict = tables.against(ratio, row["over_oracle"], row["over_oracle_sd"])
        yield f"{names.ALGORITHMS[method]}, final delay over the greedy oracle's", f"{ratio:.3f}", ours, verdict
        ours = tables.mean_sd(row["converged_at"], row["converged_at_sd"], 0)
        verdict = tables.against(episodes, row["converged_at"], row["converged_at_sd"])
        yield f"{names.ALGORITHMS[method]}, episodes to convergence", f"about {episodes}", ours, verdict
    if "lad-ts" in table.index:
        for method in (method for method in PAPER if method in table.index and method != "lad-ts"):
            published = PAPER[method][1] / PAPER["lad-ts"][1] - 1
            ratio = table.loc[method, "over_oracle"] / table.loc["lad-ts", "over_oracle"] - 1
            order = "same order" if ratio > 0 else "the other way round"
            what = f"{names.ALGORITHMS[method]}'s final delay above LAD-TS's"
            yield what, f"{published:.1%}", f"{ratio:.1%}", f"{order}; {tables.against(1 + published, 1 + ratio, 0.0)}"


def sweep_claims(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    """In how many points of each sweep LAD-TS has the least delay of the learned methods."""
    file = folder / "sweeps_summary.csv"
    if not file.exists():
        return
    table = pd.read_csv(file)
    for sweep, points in table.groupby("sweep", sort=False):
        delays = points.pivot(index="value", columns="method", values="over_oracle")
        if "lad-ts" not in delays or delays.shape[1] < 2:
            continue
        least = int((delays.idxmin(axis=1) == "lad-ts").sum())
        verdict = "holds" if least == len(delays) else "does not hold" if least == 0 else "holds in part"
        yield (
            f"LAD-TS least of the learned methods, sweep of {sweep}",
            "at every point",
            f"{least} of {len(delays)}",
            verdict,
        )


def section(folder: Path, stem: str, command: str) -> Iterator[str]:
    """An experiment's own text one level down, and its pictures; or how to make it."""
    file = folder / f"{stem}.md"
    if not file.exists():
        yield from (f"## {stem.replace('_', ' ').capitalize()}", "", f"Not run yet: `{command}`.", "")
        return
    yield re.sub(r"^(#+ )", r"#\1", file.read_text(encoding="utf-8").rstrip(), flags=re.MULTILINE)
    yield ""
    for picture in sorted(folder.glob(f"{stem}*.png")):
        yield from (f"![{picture.stem.replace('_', ' ')}]({picture.name})", "")


if __name__ == "__main__":
    sys.exit(run_command(run, parse()))

"""The paper's sweeps: delay of each method against one quantity at a time, everything else as in the paper's setting.

    python experiments/sweeps.py                                        all sweeps; prints how long that takes
    python experiments/sweeps.py --sweeps tasks --points tasks=10 tasks=50 --methods lad-ts sac-ts --seeds 5
    python experiments/sweeps.py --episodes 200 --address auto          on a cluster

Sweeps (figures of arXiv 2412.18212): steps (denoising steps I of the policy), temperature (at the start), tasks (most
tasks of a station in a slot), servers (edge servers, one at each base station), capacity (greatest capacity, drawn from
10 to it [Gcycle/s]), quality (most denoising steps that a task asks for). Methods that do not have the swept
hyperparameter are left out of its sweep. Left are, in --output: every episode (CSV), the mean delay of the last ten
episodes and its ratios to the greedy oracle, to water-filling and to capacity-proportional on the same arrivals as mean
+- sd over seeds (CSV and Markdown), and a picture of each sweep.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from experiments.comparison import pictures, tables  # noqa: E402
from experiments.comparison.runs import METHODS, Case, CaseRuns, add_methods_argument, add_run_arguments  # noqa: E402
from lad_rllib import names  # noqa: E402
from lad_rllib.algorithms import CONFIGS  # noqa: E402
from lad_rllib.cli import flags  # noqa: E402
from lad_rllib.errors import ConfigurationError  # noqa: E402
from lad_rllib.runs.command import run_command  # noqa: E402

WINDOW = 10
"""Episodes at the end of a run that count."""


@dataclass(frozen=True)
class Sweep:
    """A quantity and its values.

    Attributes:
        label: What it is, with its unit.
        points: Values.
        training: Hyperparameters with a value, or none.
        setting: Changes to the setting with a value, or none.
    """

    label: str
    points: tuple[float, ...]
    training: Callable[[Any], dict[str, Any]] = lambda value: {}
    setting: Callable[[Any], dict[str, Any]] = lambda value: {}

    def fits(self, method: str) -> bool:
        """Whether the method has what is swept."""
        return CONFIGS[method].hyperparameters.model_fields.keys() >= self.training(self.points[0]).keys()


SWEEPS = {
    "steps": Sweep(
        "denoising steps I of the policy",
        (1, 2, 3, 5, 8, 10),
        training=lambda value: {"policy_denoising_steps": int(value)},
    ),
    "temperature": Sweep(
        "temperature at the start", (0.01, 0.05, 0.1, 0.2, 0.5), training=lambda value: {"initial_alpha": value}
    ),
    "tasks": Sweep(
        "most tasks of a station in a slot",
        (10, 20, 30, 40, 50, 60),
        setting=lambda value: {"arrivals": {"max_tasks": int(value)}},
    ),
    "servers": Sweep(
        "edge servers and base stations", (10, 20, 30, 40), setting=lambda value: {"network": {"stations": int(value)}}
    ),
    "capacity": Sweep(
        "greatest capacity [Gcycle/s]",
        (20, 30, 40, 50, 60, 80),
        setting=lambda value: {"network": {"capacity_gcycles_per_s": {"range": [10, int(value)], "seed": 0}}},
    ),
    "quality": Sweep(
        "most denoising steps of a task",
        (5, 10, 15, 20, 25),
        setting=lambda value: {"arrivals": {"denoising_steps": [1, int(value)]}},
    ),
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_arguments(parser, output="results/sweeps", seeds=2, episodes=60)
    add_methods_argument(parser, list(METHODS))
    parser.add_argument("--sweeps", nargs="+", choices=tuple(SWEEPS), default=list(SWEEPS), metavar="NAME")
    parser.add_argument(
        "--points", nargs="+", metavar="SWEEP=VALUE", help="these points only, of the sweeps that are named"
    )
    parser.add_argument("--estimate", action="store_true", help="print how long it takes, and end")
    flags.add_smoke(
        parser,
        setting="small",
        seeds=1,
        episodes=2,
        checkpoint_every=1,
        sweeps=["steps", "tasks"],
        points=["steps=1", "tasks=3", "tasks=6"],
        methods=["lad-ts", "sac-ts"],
    )
    parsed = parser.parse_args(arguments)
    parsed.command = "sweeps"
    return parsed


def cases_of(sweeps: list[str], points: list[str] | None, methods: list[str]) -> list[Case]:
    """What is trained: each method at each point of each sweep.

    Raises:
        ConfigurationError: for a point that is none, and if nothing is left.
    """
    wanted: dict[str, set[float]] = {}
    for point in points or ():
        sweep, _, value = point.partition("=")
        if sweep not in SWEEPS or not value.replace(".", "", 1).isdigit():
            raise ConfigurationError(f"--points: write SWEEP=VALUE with a sweep of {', '.join(SWEEPS)}, got {point!r}")
        wanted.setdefault(sweep, set()).add(float(value))
    cases = [
        Case(
            f"{name}={value:g} {method}",
            method,
            training=sweep.training(value),
            setting=sweep.setting(value),
            columns={"sweep": name, "value": value, "method": method},
        )
        for name, sweep in SWEEPS.items()
        if name in sweeps
        for value in (sorted(wanted[name]) if name in wanted else sweep.points)
        for method in methods
        if sweep.fits(method)
    ]
    if not cases:
        raise ConfigurationError("nothing to train: none of the methods has what is swept")
    return cases


def run(parsed: argparse.Namespace) -> int:
    """Train, and write; returns the exit status."""
    runs = CaseRuns(parsed, "sweeps", cases_of(parsed.sweeps, parsed.points, parsed.methods))
    if parsed.estimate:
        print(f"{len(runs.cases) * parsed.seeds} runs, about {runs.estimated_s / 60:.0f} CPU minutes")
        return 0
    curves = runs.train()
    table = tables.last_episodes(curves, WINDOW, by=("sweep", "value", "method"))
    for name, points in table.groupby("sweep", sort=False):
        plot(points, runs.file("png", f"_{name}"), SWEEPS[str(name)].label)
    runs.write(describe(table, parsed.episodes), curves=curves, summary=table)
    return 0


def describe(table: pd.DataFrame, episodes: int) -> str:
    """Each sweep as a Markdown table."""
    lines = [
        "# Sweeps over one quantity at a time",
        "",
        f"Mean over seeds ± sd of the last {min(WINDOW, episodes)} of {episodes} episodes; ratios on the same "
        "arrivals. Water-filling and capacity-proportional learn nothing.",
    ]
    for name, points in table.groupby("sweep", sort=False):
        label = SWEEPS[str(name)].label
        rows = [
            (
                f"{row['value']:g}",
                names.ALGORITHMS[row["method"]],
                row["seeds"],
                tables.mean_sd(row["delay_s"], row["delay_sd_s"], 2),
                f"{row[names.ORACLE_DELAY]:.2f}",
                *(tables.mean_sd(row[ratio], row[f"{ratio}_sd"], 3) for ratio in tables.RATIOS),
            )
            for row in points.to_dict("records")
        ]
        header = (
            label,
            "method",
            "seeds",
            "delay, s",
            "greedy oracle, s",
            *(r.replace("_", " ") for r in tables.RATIOS),
        )
        lines += ["", f"## {label}", "", *tables.markdown_table(header, rows)]
    return "\n".join([*lines, "", tables.provenance(), ""])


def plot(points: pd.DataFrame, path: Path, label: str) -> None:
    """Delay and ratio to the greedy oracle of each method against the swept value."""
    plt = pictures.pyplot()
    figure, (delays, ratios) = plt.subplots(1, 2, figsize=(11, 4.2))
    for method, rows in points.groupby("method", sort=False):
        style = {
            "color": pictures.COLOURS[str(method)],
            "label": names.ALGORITHMS[str(method)],
            "capsize": 3,
            "marker": "o",
        }
        delays.errorbar(rows["value"], rows["delay_s"], yerr=rows["delay_sd_s"].fillna(0), **style)
        ratios.errorbar(rows["value"], rows["over_oracle"], yerr=rows["over_oracle_sd"].fillna(0), **style)
    means = points.groupby("value")[list(pictures.YARDSTICK_STYLES)].mean()
    for column, (name, colour, line) in pictures.YARDSTICK_STYLES.items():
        delays.plot(means.index, means[column], line, color=colour, label=name)
        ratios.plot(means.index, means[column] / means[names.ORACLE_DELAY], line, color=colour)
    delays.set(xlabel=label, ylabel="mean service delay [s]")
    ratios.set(xlabel=label, ylabel="mean delay / greedy oracle's")
    delays.legend(fontsize=8)
    for axes in (delays, ratios):
        axes.grid(alpha=0.3)
    pictures.save(figure, path)


if __name__ == "__main__":
    sys.exit(run_command(run, parse()))

"""The paper's sweeps: delay of each method against one quantity at a time, everything else as in the paper's setting.

    python -m experiments.sweeps                                        all sweeps; prints how long that takes
    python -m experiments.sweeps --sweeps tasks --points tasks=10 tasks=50 --methods lad-ts sac-ts --seeds 5
    python -m experiments.sweeps --episodes 200 --address auto          on a cluster

Sweeps (figures of arXiv 2412.18212): steps (denoising steps I of the policy), temperature (at the start), tasks (most
tasks of a station in a slot), servers (edge servers, one at each base station), capacity (greatest capacity, drawn from
10 to it [Gcycle/s]), quality (most denoising steps that a task asks for). A method without the swept hyperparameter is
left out of its sweep. Left are, in --output: every episode (CSV), the mean delay of the last ten episodes and its
ratios to the greedy oracle, to water-filling and to capacity-proportional on the same arrivals as mean +- sd over seeds
(CSV and Markdown), and a picture of each sweep.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import pandas as pd

from lad_rllib import names
from lad_rllib.algorithms import CONFIGS
from lad_rllib.cli.program import Program
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.cases import OWN_DELAY, Case, CaseOptions, CaseRuns
from lad_rllib.runs.options import Count, option
from lad_rllib.runs.over_seeds import RATIOS, last_episodes
from lad_rllib.runs.plots_of_cases import plot_sweep
from lad_rllib.runs.tables import markdown_page, summary_table

WINDOW = 10
"""Episodes at the end of a run that count."""


class Sweep(NamedTuple):
    """A quantity with its unit, its values, and what a value changes: hyperparameters, or the setting."""

    label: str
    points: tuple[float, ...]
    training: Callable[[Any], dict[str, Any]] = lambda value: {}
    setting: Callable[[Any], dict[str, Any]] = lambda value: {}


def _capacity(value: float) -> dict[str, Any]:
    return {"network": {"capacity_gcycles_per_s": {"range": [10, int(value)], "seed": 0}}}


SWEEPS = {
    "steps": Sweep(
        "denoising steps I of the policy", (1, 2, 3, 5, 8, 10), training=lambda n: {"policy_denoising_steps": int(n)}
    ),
    "temperature": Sweep(
        "temperature at the start", (0.01, 0.05, 0.1, 0.2, 0.5), training=lambda x: {"initial_alpha": x}
    ),
    "tasks": Sweep(
        "most tasks of a station in a slot",
        (10, 20, 30, 40, 50, 60),
        setting=lambda n: {"arrivals": {"max_tasks": int(n)}},
    ),
    "servers": Sweep(
        "edge servers and base stations", (10, 20, 30, 40), setting=lambda n: {"network": {"stations": int(n)}}
    ),
    "capacity": Sweep("greatest capacity [Gcycle/s]", (20, 30, 40, 50, 60, 80), setting=_capacity),
    "quality": Sweep(
        "most denoising steps of a task",
        (5, 10, 15, 20, 25),
        setting=lambda n: {"arrivals": {"denoising_steps": [1, int(n)]}},
    ),
}


class SweepOptions(CaseOptions):
    """Which quantities are swept, over which values, for which methods."""

    command: ClassVar[str] = "sweeps"

    methods: list[Literal[OWN_DELAY]] = option(list(OWN_DELAY), "what learns", "NAME", min_length=1)  # type: ignore
    sweeps: list[Literal[tuple(SWEEPS)]] = option(list(SWEEPS), "quantities to sweep", "NAME")  # type: ignore[misc]
    points: list[str] | None = option(None, "these points only, of the sweeps that are named", "SWEEP=VALUE")
    seeds: Count = option(2, "runs of each point and method, with seeds 0, 1, ...")
    episodes: Count = option(60, "episodes of each run")
    output: str = option("results/sweeps", "output folder", "DIR")


def cases_of(sweeps: list[str], points: list[str] | None, methods: list[str]) -> list[Case]:
    """What is trained: each method at each point of each sweep.

    Raises:
        ConfigurationError: for a point of no sweep, and if nothing is left.
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
        if CONFIGS[method].hyperparameters.model_fields.keys() >= sweep.training(value).keys()
    ]
    if not cases:
        raise ConfigurationError("nothing to train: none of the methods has what is swept")
    return cases


def run(options: SweepOptions) -> int:
    """Train, and write; returns the exit status."""
    runs = CaseRuns(options, "sweeps", cases_of(options.sweeps, options.points, options.methods))
    if options.estimate:
        return runs.print_estimate()
    curves = runs.train()
    table = last_episodes(curves, WINDOW, by=("sweep", "value", "method"))
    for name, points in table.groupby("sweep", sort=False):
        plot_sweep(points, runs.file("png", f"_{name}"), SWEEPS[str(name)].label)
    runs.write(describe(table, options.episodes), curves=curves, summary=table)
    return 0


SHOWN = {"method": "method", "seeds": "seeds", "delay_s": "delay, s", names.ORACLE_DELAY: "greedy oracle, s"}
SHOWN |= {ratio: ratio.replace("_", " ") for ratio in RATIOS}


def describe(table: pd.DataFrame, episodes: int) -> str:
    """Each sweep as a Markdown table."""
    table = table.assign(value=table["value"].map("{:g}".format), method=table["method"].map(names.ALGORITHMS))
    parts = {SWEEPS[str(name)].label: points for name, points in table.groupby("sweep", sort=False)}
    return markdown_page(
        "Sweeps over one quantity at a time",
        f"Mean over seeds ± sd of the last {min(WINDOW, episodes)} of {episodes} episodes; ratios on the same "
        "arrivals. Water-filling and capacity-proportional learn nothing.",
        *(f"## {label}\n\n{summary_table(points, {'value': label} | SHOWN)}" for label, points in parts.items()),
    )


SMOKE = {"setting": "small", "seeds": 1, "episodes": 2, "checkpoint_every": 1, "sweeps": ["steps", "tasks"]}
SMOKE |= {"points": ["steps=1", "tasks=3", "tasks=6"], "methods": ["lad-ts", "sac-ts"]}
main = Program(run, SweepOptions, __doc__, SMOKE)

if __name__ == "__main__":
    sys.exit(main())

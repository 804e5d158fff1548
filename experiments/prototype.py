"""The paper's prototype: how long a fleet of five edge servers takes for 1, 100, 500 and 1000 images, by scheduler.

python -m experiments.prototype                                     five real pipelines of the embedded model
python -m experiments.prototype --fleet jetson --checkpoint DIR      five emulated Jetson AGX Orin, and a trained policy

All tasks of a run are there at once. Writes prototype.csv (one row per scheduler and number of tasks) and
deliveries.csv (every task) after each run, then prototype.png and contact_sheet.png, into --output.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from lad_rllib.cli.program import Program
from lad_rllib.edge import ImageTask
from lad_rllib.fleet import FleetSpec, load_fleet
from lad_rllib.names import HEURISTICS, POLICY
from lad_rllib.runs import live
from lad_rllib.runs.contact_sheet import save_contact_sheet
from lad_rllib.runs.fleet_options import FleetOptions, Pair
from lad_rllib.runs.options import Count, Seed, StorageOptions, option
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.plots import draw_parts, pyplot, save
from lad_rllib.runs.progress import bars
from lad_rllib.runs.served_runs import ServedRuns
from lad_rllib.runs.storage import SharedCopy
from lad_rllib.runs.tables import print_table
from lad_rllib.scheduling import heuristics_for
from lad_rllib.service import image_tasks, read_prompts, serve
from lad_rllib.service.live_run import PARTS

TASKS = (1, 100, 500, 1000)
QUOTED = {
    "paper: DEdgeAI (quoted)": (18.3, 382.4, 1921.5, 3895.4),
    "paper: best of five platforms (quoted)": (5.4, 540.0, 2700.0, 5400.0),
}
"""Total delay [s] for ``TASKS`` in the table of arXiv 2412.18212: five Jetson AGX Orin with SD3-medium, 512x512, and
the fastest commercial platform. Other models, devices and prompts than here: beside ours, not against them."""
WITHOUT_LEARNING = ("greedy-oracle", "water-filling", "least-loaded", "round-robin", "random", "local-only")


class PrototypeOptions(FleetOptions, StorageOptions):
    """Which fleet serves which tasks, and who decides."""

    command: ClassVar[str] = "prototype"
    title = "run"

    checkpoint: str | None = option(None, "trained policy; without one, only heuristics are compared", "DIR")
    schedulers: list[Literal[(POLICY, *HEURISTICS)]] | None = option(  # type: ignore[valid-type]
        None, f"what is compared (default: {POLICY} with a checkpoint, {', '.join(WITHOUT_LEARNING)})", "NAME"
    )
    tasks: list[Count] = option(list(TASKS), "numbers of tasks", "N")
    prompts: str | None = option(None, "one prompt per line (default: a list in the package)", "FILE")
    steps: Pair = option([10, 19], "denoising steps", ("LOW", "HIGH"))
    seed: Seed = option(0, "seed of stations, steps and decisions")
    keep_images: bool = option(False, "keep every image, in images/SCHEDULER-N/")
    output: str = option("results/prototype", "output folder", "DIR")
    resume: bool = option(False, "keep the runs that are in the output folder or storage")


def run(options: PrototypeOptions) -> int:
    """Run all; returns the exit status."""
    numbers = list(dict.fromkeys(options.tasks))
    spec = load_fleet(options.fleet)
    names = list(dict.fromkeys(options.schedulers or _possible_schedulers(spec, options.checkpoint)))
    deciders = {name: live.Decider(name, options.checkpoint) for name in names}
    for decider in deciders.values():
        decider.check_fleet(spec)
    prompts = read_prompts(options.prompts)

    def tasks_of(number: int, name: str) -> list[ImageTask]:
        """The same tasks for every scheduler."""
        return image_tasks(
            prompts,
            number,
            np.random.default_rng(options.seed),
            num_stations=spec.stations,
            denoising_steps=(options.steps[0], options.steps[1]),
            name=f"{name}-{number}",
        )

    plan = [(number, name, tasks_of(number, name)) for number in numbers for name in names]
    output = writable_folder(options.output)
    copy = SharedCopy(output, options.storage_path)
    if options.resume:
        copy.fetch()
    about = {"fleet": spec.name, "seed": options.seed}
    runs = ServedRuns(output, "prototype", options.resume, keep_images=options.keep_images, **about)
    print(f"writing to {copy.place}")
    with live.open_fleet(options) as fleet, bars() as progress:
        model = live.fleet_model(fleet, deciders[POLICY].setting if POLICY in deciders else None)
        for number, name, tasks in plan:
            if runs.has(name, number):
                continue
            bar = progress.add_task(f"{number} tasks, {name}", total=number)
            with deciders[name].dispatcher(fleet, model, options.seed) as dispatcher:
                served = serve(dispatcher, [tasks], on_delivery=lambda _, bar=bar: progress.advance(bar))
            progress.remove_task(bar)
            runs.add(name, served)
            copy.push()
            if number == max(numbers) and name == names[0]:
                save_contact_sheet(served.deliveries, output / "contact_sheet.png", columns=10, max_images=60)
    frame = runs.frame
    _print(frame, numbers, spec.name)
    plot(frame, output / "prototype.png", spec.name)
    copy.push()
    files = ("prototype.csv", "deliveries.csv", "prototype.png", "contact_sheet.png")
    print(f"written: {', '.join(str(output / file) for file in files if (output / file).exists())}")
    return 1 if frame["failed"].any() else 0


def _possible_schedulers(spec: FleetSpec, checkpoint: str | None) -> list[str]:
    """All that can decide for the fleet, the policy first."""
    heuristics = heuristics_for(spec.home_server, WITHOUT_LEARNING, say=partial(print, file=sys.stderr))
    return [POLICY] * bool(checkpoint) + heuristics


def _print(frame: pd.DataFrame, numbers: list[int], fleet: str) -> None:
    """Total delays in the form of the paper's table, then the rest for the largest number of tasks."""
    totals = []
    for name, group in frame.groupby("scheduler", sort=False):
        by_number = group.set_index("tasks")["total_s"]
        totals.append({"scheduler": str(name)} | {str(number): f"{by_number[number]:.2f}" for number in numbers})
    for name, quoted in QUOTED.items():
        known = dict(zip(TASKS, quoted, strict=True))
        cells = {str(number): f"{known[number]:.1f}" if number in known else "" for number in numbers}
        totals.append({"scheduler": name} | cells)
    print_table(f"{fleet}: total delay in s for so many tasks at once", totals)
    columns = ("failed", "mean_s", "p95_s", *PARTS, "images_per_minute", "utilisation")
    rest = [
        {"scheduler": row["scheduler"]}
        | {column.removesuffix("_s").replace("_", " "): _shown(row[column]) for column in columns}
        for row in frame[frame["tasks"] == max(numbers)].to_dict("records")
    ]
    print_table(f"{fleet}: service delay of {max(numbers)} tasks in s, and its parts", rest)


def _shown(value: float) -> str:
    """A number with three digits, or all of those before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def plot(frame: pd.DataFrame, path: Path, fleet: str) -> None:
    """Total delay by number of tasks, and the parts of the mean delay of the most tasks, for each scheduler."""
    figure, (totals, parts) = pyplot().subplots(1, 2, figsize=(12, 4.5))
    for name, group in frame.groupby("scheduler", sort=False):
        totals.plot(group["tasks"], group["total_s"], "o-", label=name, linewidth=2.5 if name == POLICY else 1.2)
    totals.set(xscale="log", yscale="log", xlabel="tasks at once", ylabel="until the last image is there [s]")
    totals.set_title(f"fleet {fleet}")
    totals.legend(fontsize=8)
    totals.grid(alpha=0.3)
    most = frame[frame["tasks"] == frame["tasks"].max()].fillna(dict.fromkeys(PARTS, 0.0))
    widths = {part.removesuffix("_s"): most[part].to_numpy() for part in PARTS}
    draw_parts(parts, list(most["scheduler"]), widths, lambda delay_s: _shown(delay_s) if delay_s else "no image")
    parts.set_title(f"{frame['tasks'].max()} tasks at once")
    save(figure, path)


main = Program(run, PrototypeOptions, __doc__, {"tasks": [1, 10]})

if __name__ == "__main__":
    sys.exit(main())

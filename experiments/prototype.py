"""The paper's prototype: how long a fleet of five edge servers takes for 1, 100, 500 and 1000 images, by scheduler.

python experiments/prototype.py                                     five real pipelines of the embedded model
python experiments/prototype.py --fleet jetson --checkpoint DIR      five emulated Jetson AGX Orin, and a trained policy

All tasks of a run are there at once. Writes prototype.csv (one row per scheduler and number of tasks) and
deliveries.csv (every task) after each run, then prototype.png and contact_sheet.png, into --output.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import Progress

from lad_rllib.cli import flags
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import FleetSpec, load_fleet
from lad_rllib.names import HEURISTICS, LEARNED  # noqa: E402
from lad_rllib.runs import live
from lad_rllib.runs.command import run_command
from lad_rllib.runs.contact_sheet import save_contact_sheet
from lad_rllib.runs.options import FleetOptions, StorageOptions, check_seed  # noqa: E402
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.rows import ResultRows
from lad_rllib.runs.storage import SharedCopy
from lad_rllib.runs.tables import print_table
from lad_rllib.service import LiveRun, image_tasks, read_prompts, serve
from lad_rllib.service.live_run import PARTS

TASKS = (1, 100, 500, 1000)
QUOTED = {
    "paper: DEdgeAI (quoted)": (18.3, 382.4, 1921.5, 3895.4),
    "paper: best of five platforms (quoted)": (5.4, 540.0, 2700.0, 5400.0),
}
"""Total delay [s] for ``TASKS`` in the table of arXiv 2412.18212: five Jetson AGX Orin with SD3-medium, 512x512, and
the fastest commercial platform. Other models, devices and prompts than here: beside ours, not against them."""
WITHOUT_LEARNING = ("greedy-oracle", "water-filling", "least-loaded", "round-robin", "random", "local-only")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_options(parser, FleetOptions)
    parser.add_argument("--checkpoint", metavar="DIR", help="trained policy; without one LAD-TS is left out")
    parser.add_argument(
        "--schedulers", nargs="+", choices=(LEARNED, *HEURISTICS), metavar="NAME", help="whom to compare"
    )
    parser.add_argument("--tasks", type=int, nargs="+", default=TASKS, metavar="N", help="numbers of tasks")
    parser.add_argument("--prompts", metavar="FILE", help="one prompt per line (default: a list in the package)")
    parser.add_argument("--steps", type=int, nargs=2, default=(10, 19), metavar=("LOW", "HIGH"), help="(10 19)")
    parser.add_argument("--seed", type=int, default=0, help="seed of stations, steps and decisions (default: 0)")
    parser.add_argument("--keep-images", action="store_true", help="keep every image, in images/SCHEDULER-N/")
    parser.add_argument("--output", default="results/prototype", metavar="DIR", help="output folder")
    parser.add_argument("--resume", action="store_true", help="keep the runs that are in the output folder or storage")
    flags.add_options(parser, StorageOptions)
    flags.add_smoke(parser, tasks=(1, 10))
    parsed = parser.parse_args(arguments)
    parsed.command = "prototype"
    return parsed


def run(parsed: argparse.Namespace) -> int:
    """Run all; returns the exit status."""
    numbers = tuple(dict.fromkeys(parsed.tasks))
    if min(numbers) < 1:
        raise ConfigurationError(f"--tasks must be at least 1, got {min(numbers)}")
    check_seed(parsed.seed)
    spec = load_fleet(parsed.fleet)
    names = parsed.schedulers or _all_schedulers(spec, parsed.checkpoint)
    deciders = {name: live.Decider(name, parsed.checkpoint) for name in names}
    for decider in deciders.values():
        decider.check_fleet(spec)
    prompts = read_prompts(parsed.prompts)
    plan = [
        (
            number,
            name,
            image_tasks(
                prompts,
                number,
                np.random.default_rng(parsed.seed),
                num_stations=spec.stations,
                denoising_steps=tuple(parsed.steps),
                name=f"{name}-{number}",
            ),
        )
        for number in numbers
        for name in deciders
    ]
    output = writable_folder(parsed.output)
    copy = SharedCopy(output, parsed.storage_path)
    if parsed.resume:
        copy.fetch()
    rows = ResultRows(output / "prototype.csv", parsed.resume, fleet=spec.name, seed=parsed.seed)
    delivered = output / "deliveries.csv"
    before = pd.read_csv(delivered) if parsed.resume and delivered.exists() else None
    tables = (
        []
        if before is None
        else [
            run
            for (name, number), run in before.groupby(["scheduler", "tasks"], sort=False)
            if rows.has(tasks=number, scheduler=name)
        ]
    )
    plan = [(number, name, tasks) for number, name, tasks in plan if not rows.has(tasks=number, scheduler=name)]
    print(f"writing to {copy.place}")
    with live.open_fleet(parsed) as fleet, Progress(console=Console(stderr=True), transient=True) as progress:
        trained = deciders[LEARNED].setting if LEARNED in deciders else None
        model = live.fleet_model(fleet, trained)
        for number, name, tasks in plan:
            bar = progress.add_task(f"{number} tasks, {name}", total=number)
            with deciders[name].dispatcher(fleet, model, parsed.seed) as dispatcher:
                result = serve(dispatcher, [tasks], on_delivery=lambda _, bar=bar: progress.advance(bar))
            progress.remove_task(bar)
            tables.append(result.table().assign(scheduler=name, tasks=number))
            pd.concat(tables, ignore_index=True).to_csv(delivered, index=False)
            rows.add({"scheduler": name, **result.summary()})
            copy.push()
            if parsed.keep_images:
                _keep_images(result, output / "images" / f"{name}-{number}")
            if number == max(numbers) and name == names[0]:
                save_contact_sheet(result.deliveries, output / "contact_sheet.png", columns=10, max_images=60)
    frame = rows.frame
    _print(frame, numbers, spec.name)
    plot(frame, output / "prototype.png", spec.name)
    copy.push()
    files = ("prototype.csv", "deliveries.csv", "prototype.png", "contact_sheet.png")
    print(f"written: {', '.join(str(output / file) for file in files if (output / file).exists())}")
    return 1 if frame["failed"].any() else 0


def _all_schedulers(spec: FleetSpec, checkpoint: str | None) -> list[str]:
    """All that can decide for the fleet, the learned one first."""
    from lad_rllib.scheduling import HEURISTICS

    names = [LEARNED] if checkpoint else []
    for name in WITHOUT_LEARNING:
        try:
            HEURISTICS[name].check_stations(spec.home_server)
        except ConfigurationError as error:
            print(f"left out: {error}", file=sys.stderr)
        else:
            names.append(name)
    return names


def _keep_images(result: LiveRun, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for delivery in result.deliveries:
        if delivery.png is not None:
            (folder / f"{delivery.task.task_id}.png").write_bytes(delivery.png)


def _print(frame: pd.DataFrame, numbers: tuple[int, ...], fleet: str) -> None:
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
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (totals, parts) = pyplot.subplots(1, 2, figsize=(12, 4.5))
    for name, group in frame.groupby("scheduler", sort=False):
        totals.plot(group["tasks"], group["total_s"], "o-", label=name, linewidth=2.5 if name == LEARNED else 1.2)
    totals.set(xscale="log", yscale="log", xlabel="tasks at once", ylabel="until the last image is there [s]")
    totals.set_title(f"fleet {fleet}")
    totals.legend(fontsize=8)
    totals.grid(alpha=0.3)
    most = frame[frame["tasks"] == frame["tasks"].max()].fillna(dict.fromkeys(PARTS, 0.0))
    left = np.zeros(len(most))
    for part in PARTS:
        width = most[part].to_numpy()
        parts.barh(most["scheduler"], width, left=left, label=part.removesuffix("_s"))
        left += width
    for place, total in enumerate(left):
        parts.text(total, place, f" {_shown(total)}" if total else " no image", va="center", fontsize=9)
    parts.invert_yaxis()
    parts.set_xlim(right=left.max() * 1.15 or 1.0)
    parts.set(xlabel="mean service delay [s]", title=f"{frame['tasks'].max()} tasks at once")
    parts.legend(ncols=len(PARTS), fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def main(arguments: list[str] | None = None) -> int:
    """Compare; returns the exit status."""
    return run_command(run, parse(arguments))


if __name__ == "__main__":
    sys.exit(main())

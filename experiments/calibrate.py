"""A simulator calibrated to a fleet of edge servers: measure them, fit, write the setting, and check it live.

python experiments/calibrate.py                              the five real servers of the fleet 'digits'
python experiments/calibrate.py --fleet emulated             emulated devices, forty times faster than the clock
lad-rllib train --setting results/calibration/setting.yaml   train in the simulator of this fleet

Writes setting.yaml (for every --setting and for live training), calibration.csv (one row for each server),
measurements.csv (every image), check.csv (the same schedules live and simulated) and calibration.png into --output.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lad_rllib.cli import flags
from lad_rllib.cli import options as shared
from lad_rllib.cli.main import run_command
from lad_rllib.fleet import Calibration, Fleet, calibrate, calibration_of_images, compare_schedules
from lad_rllib.runs import live
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.rows import ResultRows
from lad_rllib.runs.storage import SharedCopy
from lad_rllib.runs.tables import print_table
from lad_rllib.scheduling import HEURISTICS
from lad_rllib.simulator import build_setting


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_fleet_arguments(parser)
    measure = parser.add_argument_group("measuring")
    measure.add_argument(
        "--step-counts", type=int, nargs="+", default=(2, 8, 14, 20), metavar="N", help="steps to fit to (2 8 14 20)"
    )
    measure.add_argument(
        "--held-out", type=int, nargs="+", default=(5, 11, 17), metavar="N", help="steps to judge the fit by (5 11 17)"
    )
    measure.add_argument("--repeats", type=int, default=3, help="images for each number of steps and server (3)")
    setting = parser.add_argument_group("setting")
    setting.add_argument("--name", help="name of the setting (default: the fleet's)")
    setting.add_argument("--steps", type=int, nargs=2, default=(10, 19), metavar=("LOW", "HIGH"), help="(10 19)")
    setting.add_argument("--slots", type=int, default=60, help="slots of an episode (60)")
    setting.add_argument("--max-tasks", type=int, default=10, help="most tasks of a station in a slot (10)")
    length = setting.add_mutually_exclusive_group()
    length.add_argument("--load", type=float, default=1.2, help="work that arrives over what the servers can do (1.2)")
    length.add_argument("--slot-seconds", type=float, metavar="S", help="length of a slot instead, in the fleet's time")
    check = parser.add_argument_group("check")
    check.add_argument("--no-check", action="store_true", help="leave the comparison with live runs out")
    check.add_argument("--check-slots", type=int, default=20, help="slots of each live run (20)")
    check.add_argument(
        "--schedules",
        nargs="+",
        choices=tuple(HEURISTICS),
        metavar="NAME",
        default=("capacity-proportional", "round-robin"),
        help="heuristics whose decisions in the simulator are played live (capacity-proportional round-robin)",
    )
    check.add_argument("--seed", type=int, default=0, help="seed of the check's arrivals and decisions (0)")
    parser.add_argument("--output", default="results/calibration", metavar="DIR", help="(results/calibration)")
    parser.add_argument(
        "--resume", action="store_true", help="keep the images that were measured, and the schedules that were checked"
    )
    flags.add_storage_argument(parser)
    small = {"step_counts": (2, 4, 6), "held_out": (3,), "repeats": 1, "check_slots": 2}
    flags.add_smoke_argument(parser, **small)
    parsed = parser.parse_args(arguments)
    parsed.command = "calibrate"
    return parsed


def run(parsed: argparse.Namespace) -> int:
    """Measure, fit, write and check; returns the exit status."""
    shared.check_at_least(1, parsed, "repeats", "slots", "check_slots")
    output = writable_folder(parsed.output)
    copy = SharedCopy(output, parsed.storage_path)
    if parsed.resume:
        copy.fetch()
    print(f"writing to {copy.place}")
    with live.open_fleet(parsed) as fleet:
        calibration = _calibration(fleet, output / "measurements.csv", parsed)
        spec = calibration.model.spec(
            parsed.name or fleet.spec.name,
            slots=parsed.slots,
            max_tasks=parsed.max_tasks,
            denoising_steps=tuple(parsed.steps),
            load=parsed.load,
            slot_s=parsed.slot_seconds,
        )
        _write(calibration, spec, output)
        _print_calibration(calibration)
        copy.push()
        checked = None if parsed.no_check else _check(fleet, spec, parsed, output / "check.csv")
    if checked is not None:
        _print_check(checked)
    plot(calibration, checked, output / "calibration.png")
    copy.push()
    print(f"written: {output}; train on it with: lad-rllib train --setting {output / 'setting.yaml'}")
    return 0


def _calibration(fleet: Fleet, measured: Path, parsed: argparse.Namespace) -> Calibration:
    typical_steps = sum(parsed.steps) / 2
    if parsed.resume and measured.exists():
        return calibration_of_images(fleet.spec, pd.read_csv(measured), typical_steps)
    with _progress() as progress:
        bar = progress.add_task("measuring", total=None)
        return calibrate(
            fleet,
            parsed.step_counts,
            parsed.held_out,
            parsed.repeats,
            typical_steps=typical_steps,
            report=lambda done, total: progress.update(bar, completed=done, total=total),
        )


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _write(calibration: Calibration, spec: dict[str, object], output: Path) -> None:
    setting = build_setting(spec)
    note = (
        f"# Simulator of the fleet {calibration.spec.name}; experiments/calibrate.py made it from measured delays.\n"
        f"# A slot lasts {setting.network.slot_s:.3g} s; the load is {setting.load:.2f}.\n"
    )
    (output / "setting.yaml").write_text(note + yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    calibration.table().to_csv(output / "calibration.csv", index=False)
    calibration.images.to_csv(output / "measurements.csv", index=False)


def _check(fleet: Fleet, spec: dict[str, object], parsed: argparse.Namespace, file: Path) -> pd.DataFrame:
    rows = ResultRows(file, parsed.resume, seed=parsed.seed, slots=parsed.check_slots)
    setting = build_setting(spec)
    with _progress() as progress:
        for name in parsed.schedules:
            if rows.has(schedule=name):
                continue
            bar = progress.add_task(f"live: {name}", total=None)
            compared = compare_schedules(
                fleet,
                setting,
                (name,),
                seed=parsed.seed,
                slots=parsed.check_slots,
                report=lambda _, done, total, bar=bar: progress.update(bar, completed=done, total=total),
            )
            rows.add(compared.to_dict("records")[0])
    return rows.frame


def _print_calibration(calibration: Calibration) -> None:
    rows = [
        {
            "server": row["server"],
            "overhead [s]": f"{row['overhead_s']:.3g}",
            "per step [s]": f"{row['per_step_s']:.3g}",
            "residual sd [s]": f"{row['residual_sd_s']:.3g}",
            "held-out error": f"{row['median_error']:.1%}",
            "in the simulator": f"{row['median_error_simulator']:.1%}",
            "Gcycle/s": f"{row['capacity_gcycles_per_s']:.2f}",
        }
        for row in calibration.table().to_dict("records")
    ]
    print_table(f"fleet {calibration.spec.name}", rows)
    print(
        f"median error on held-out images: {calibration.median_error():.1%}, "
        f"with one work model for all servers, as the simulator has it: {calibration.median_error('simulated_s'):.1%}"
    )


def _print_check(checked: pd.DataFrame) -> None:
    for row in checked.to_dict("records"):
        print(
            f"{row['schedule']}: mean delay live {row['live_mean_s']:.3g} s, simulated {row['simulated_mean_s']:.3g} s "
            f"(live over simulated {row['live_over_simulated']:.2f}; {row['tasks']} tasks, {row['failed']} failed, "
            f"{row['elsewhere']} had to go elsewhere)"
        )


def plot(calibration: Calibration, checked: pd.DataFrame | None, path: Path) -> None:
    """Computing delay by steps for each server, with its line; beside it, the schedules live and simulated."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 1 if checked is None else 2, figsize=(6 if checked is None else 12, 4.5))
    lines = axes if checked is None else axes[0]
    for number, (server, fit) in enumerate(zip(calibration.spec.servers, calibration.fits, strict=True)):
        images, color = calibration.images[calibration.images["server"] == server.name], f"C{number}"
        for held_out, marker in ((False, "o"), (True, "x")):
            some = images[images["held_out"] == held_out]
            lines.plot(some["denoising_steps"], some["computing_s"], marker, color=color, markersize=5, alpha=0.7)
        steps = [0, int(images["denoising_steps"].max())]
        label = f"{server.name}: {fit.overhead_s:.2g} + {fit.per_step_s:.2g} s a step"
        lines.plot(steps, [fit.overhead_s + fit.per_step_s * n for n in steps], color=color, linewidth=1, label=label)
    lines.set(xlabel="denoising steps (dots: fitted to, crosses: held out)", ylabel="computing delay [s]")
    lines.set(title=f"fleet {calibration.spec.name}", xlim=(0, None), ylim=(0, None))
    lines.legend(fontsize=8)
    lines.grid(alpha=0.3)
    if checked is not None:
        place = range(len(checked))
        axes[1].bar([x - 0.2 for x in place], checked["live_mean_s"], 0.38, label="live")
        axes[1].bar([x + 0.2 for x in place], checked["simulated_mean_s"], 0.38, label="simulated")
        axes[1].set_xticks(list(place), checked["schedule"])
        axes[1].set(ylabel="mean service delay [s]", title="the same schedule live and in the simulator")
        axes[1].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(run_command(run, parse()))

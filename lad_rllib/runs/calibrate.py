"""A simulator calibrated to a fleet of edge servers: measure them, fit, write the setting, and test it live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml
from rich.progress import TaskID

from lad_rllib.envs.episodes import read_setting
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import Calibration, Fleet, calibration_of_images, compare_schedules
from lad_rllib.fleet.calibration import check_step_counts, measure_images
from lad_rllib.fleet.requests import request_spec, service_of_images
from lad_rllib.runs import live, plots_of_calibration
from lad_rllib.runs.fleet_options import CalibrateOptions
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.progress import bars
from lad_rllib.runs.rows import ResultRows
from lad_rllib.runs.storage import SharedCopy
from lad_rllib.simulator import build_setting
from lad_rllib.simulator.requests import build_request_setting
from lad_rllib.simulator.requests.mixes import IMAGE_KINDS

DEFAULT_LOAD, DEFAULT_REQUEST_LOAD = 1.2, 0.7


@dataclass(frozen=True)
class CalibratedFleet:
    """A fleet that was measured, and its setting on disk.

    Attributes:
        folder: Where ``setting.yaml``, ``requests.yaml`` and the tables are.
        calibration: Fits and measured images.
        compared: The same schedules live and simulated, one row each; None if that was left out.
    """

    folder: Path
    calibration: Calibration
    compared: pd.DataFrame | None


def calibrate_fleet(options: CalibrateOptions, say: Callable[[str], None] = lambda line: None) -> CalibratedFleet:
    """Measure a fleet, fit, write its setting, and play the same schedules live and in the simulator.

    Args:
        options: Which fleet, how much is measured, and what the setting is like.
        say: Takes lines about where results go.

    Raises:
        ConfigurationError: for options that contradict one another, and for images that fit no line.
    """
    _check(options)
    output = writable_folder(options.output)
    copy = SharedCopy(output, options.storage_path)
    if options.resume:
        copy.fetch()
    say(f"writing to {copy.place}")
    with live.open_fleet(options) as fleet:
        calibration = _calibration(fleet, output / "measurements.csv", options)
        spec = calibration.model.spec(
            options.name or fleet.spec.name,
            slots=options.slots,
            max_tasks=options.max_tasks,
            denoising_steps=(options.steps[0], options.steps[1]),
            load=DEFAULT_LOAD if options.load is None else options.load,
            slot_s=options.slot_seconds,
        )
        _write(calibration, spec, output)
        _write_requests(fleet, calibration, options, output)
        copy.push()
        compared = None if options.no_check else _compare(fleet, spec, options, output / "check.csv")
    plots_of_calibration.plot_calibration(calibration, compared, output / "calibration.png")
    copy.push()
    return CalibratedFleet(output, calibration, compared)


def _check(options: CalibrateOptions) -> None:
    """Refuse before anything is measured what makes no fit or no setting, whatever the fleet is like."""
    if options.load is not None and options.slot_seconds is not None:
        raise ConfigurationError("--load and --slot-seconds contradict each other; give one of them")
    check_step_counts(options.step_counts, options.held_out)
    arrivals = {"attributes": "per_task", "max_tasks": options.max_tasks, "denoising_steps": options.steps}
    read_setting({"preset": "paper", "slots": options.slots, "slot_s": options.slot_seconds, "arrivals": arrivals})


def _calibration(fleet: Fleet, measured: Path, options: CalibrateOptions) -> Calibration:
    typical_steps = sum(options.steps) / 2
    if options.resume and measured.exists():
        images = pd.read_csv(measured)
        if "own_size" not in images:
            raise ConfigurationError(f"{measured} is of an earlier version; calibrate without --resume")
    else:
        with bars() as progress:
            bar = progress.add_task("measuring", total=None)
            images = measure_images(
                fleet,
                options.step_counts,
                options.held_out,
                options.repeats,
                report=lambda done, total: progress.update(bar, completed=done, total=total),
                sizes=[(kind["width"], kind["height"]) for kind in IMAGE_KINDS.get(options.mix, ())],
            )
        images.to_csv(measured, index=False)  # kept for --resume, also if no line fits them
    return calibration_of_images(fleet.spec, images, typical_steps)


def _write(calibration: Calibration, spec: dict[str, object], output: Path) -> None:
    setting = build_setting(spec)
    note = (
        f"# Simulator of the fleet {calibration.spec.name}; 'lad-rllib fleet calibrate' made it from measured delays.\n"
        f"# A slot lasts {setting.network.slot_s:.3g} s; the load is {setting.load:.2f}.\n"
    )
    (output / "setting.yaml").write_text(note + yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    calibration.table().to_csv(output / "calibration.csv", index=False)
    calibration.measured.to_csv(output / "measurements.csv", index=False)


def _write_requests(fleet: Fleet, calibration: Calibration, options: CalibrateOptions, output: Path) -> None:
    """Write the setting of the fleet's requests one by one, with service models of all measured sizes."""
    engines, images = [server.describe() for server in fleet.servers], calibration.measured.groupby("server")
    names = [server.name for server in fleet.spec.servers]
    spec = request_spec(
        fleet.spec,
        [service_of_images(images.get_group(name), engine) for name, engine in zip(names, engines, strict=True)],
        engines,
        name=options.name or fleet.spec.name,
        mix=options.mix,
        denoising_steps=(options.steps[0], options.steps[1]),
        load=DEFAULT_REQUEST_LOAD if options.load is None else options.load,
        result_mbit=calibration.model.work.result_mbit,
    )
    build_request_setting(spec)
    note = (
        f"# Requests one by one on the fleet {fleet.spec.name}; 'lad-rllib fleet calibrate' made it from measured\n"
        "# delays. Change traffic to what your clients send.\n"
    )
    (output / "requests.yaml").write_text(note + yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")


def _compare(fleet: Fleet, spec: dict[str, object], options: CalibrateOptions, file: Path) -> pd.DataFrame:
    rows = ResultRows(file, options.resume, seed=options.seed, slots=options.check_slots)
    setting = build_setting(spec)
    with bars() as progress:
        for name in options.schedules:
            if rows.has(schedule=name):
                continue
            bar = progress.add_task(f"live: {name}", total=None)

            def show(_: str, done: int, total: int, bar: TaskID = bar) -> None:
                progress.update(bar, completed=done, total=total)

            compared = compare_schedules(
                fleet,
                setting,
                (name,),
                seed=options.seed,
                slots=options.check_slots,
                report=show,
            )
            rows.add(compared.to_dict("records")[0])
    return rows.frame

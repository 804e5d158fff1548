"""``lad-rllib fleet calibrate``: prints how well a fleet's delays fit, and how schedules compare live and simulated."""

from __future__ import annotations

import sys
from functools import partial

import pandas as pd

from lad_rllib.fleet import Calibration
from lad_rllib.runs.calibrate import calibrate_fleet
from lad_rllib.runs.fleet_options import CalibrateOptions
from lad_rllib.runs.tables import json_rows, print_json, print_table


def run(options: CalibrateOptions, *, as_json: bool) -> int:
    """Calibrate; returns the exit status."""
    calibrated = calibrate_fleet(options, say=partial(print, file=sys.stderr) if as_json else print)
    if as_json:
        print_json(json_rows(calibrated.calibration.table()))
        return 0
    _print_calibration(calibrated.calibration)
    if calibrated.compared is not None:
        _print_compared(calibrated.compared)
    folder = calibrated.folder
    print(f"written: {folder}; train on it with: lad-rllib train --setting {folder / 'setting.yaml'}")
    return 0


def _print_calibration(calibration: Calibration) -> None:
    rows = [
        {
            "server": row["server"],
            "overhead [s]": f"{row['overhead_s']:.3g}",
            "per step [s]": f"{row['per_step_s']:.3g}",
            "residual sd [s]": f"{row['residual_sd_s']:.3g}",
            "held-out error": f"{row['median_error']:.1%}",
            "with one model": f"{row['median_error_simulator']:.1%}",
            "Gcycle/s": f"{row['capacity_gcycles_per_s']:.2f}",
        }
        for row in calibration.table().to_dict("records")
    ]
    print_table(f"fleet {calibration.spec.name}", rows)
    print(
        f"median error on held-out images: {calibration.median_error():.1%}, "
        f"with one work model for all servers, as the simulator has it: {calibration.median_error('simulated_s'):.1%}"
    )


def _print_compared(compared: pd.DataFrame) -> None:
    for row in compared.to_dict("records"):
        print(
            f"{row['schedule']}: mean delay live {row['live_mean_s']:.3g} s, simulated {row['simulated_mean_s']:.3g} s "
            f"(live over simulated {row['live_over_simulated']:.2f}; {row['tasks']} tasks, {row['failed']} failed, "
            f"{row['elsewhere']} had to go elsewhere)"
        )

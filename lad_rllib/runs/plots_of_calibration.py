"""Picture of a calibration."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lad_rllib.fleet import Calibration
from lad_rllib.runs.plots import pyplot, save


def plot_calibration(calibration: Calibration, checked: pd.DataFrame | None, path: Path) -> None:
    """Computing delay by steps for each server, with its line; beside it, the schedules live and simulated."""
    figure, axes = pyplot().subplots(1, 1 if checked is None else 2, figsize=(6 if checked is None else 12, 4.5))
    lines = axes if checked is None else axes[0]
    for number, (server, fit) in enumerate(zip(calibration.spec.servers, calibration.fits, strict=True)):
        images, color = calibration.images[calibration.images["server"] == server.name], f"C{number}"
        for held_out, marker in ((False, "o"), (True, "x")):
            some = images[images["held_out"] == held_out]
            lines.plot(some["denoising_steps"], some["computing_s"], marker, color=color, markersize=5, alpha=0.7)
        steps = [0, int(images["denoising_steps"].max())]
        label = f"{server.name}: {fit.overhead_s:.2g} s + {fit.per_step_s:.2g} s a step"
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
    save(figure, path)

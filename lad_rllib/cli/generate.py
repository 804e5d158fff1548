"""``lad-rllib generate``: prompts in, images out, over a fleet of edge servers and by any scheduler."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import Progress

from lad_rllib import durable, names
from lad_rllib.cli import options as shared
from lad_rllib.edge.record import TaskRecord
from lad_rllib.edge.task import ImageTask
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import load_fleet
from lad_rllib.runs import live, signals
from lad_rllib.runs.contact_sheet import save_contact_sheet
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.tables import print_table
from lad_rllib.service import Delivery, Dispatcher, LiveRun, image_tasks, read_prompts, serve
from lad_rllib.simulator import sizes


def run(parsed: argparse.Namespace) -> int:
    """Generate; returns the exit status, 1 if a task failed."""
    prompts = read_prompts(parsed.prompts)
    number = len(prompts) if parsed.tasks is None else parsed.tasks
    if number < 1:
        raise ConfigurationError(f"--tasks must be at least 1, got {number}")
    shared.check_seed(parsed.seed)
    sizes.check_fits(f"{number:,} tasks", number * sizes.IMAGE_TASK_BYTES, "--tasks")
    decider = _decider(parsed)
    spec = load_fleet(parsed.fleet)
    decider.check_fleet(spec)
    tasks = image_tasks(
        prompts,
        number,
        np.random.default_rng(parsed.seed),
        num_stations=spec.stations,
        denoising_steps=tuple(parsed.steps),
        size=tuple(parsed.size) if parsed.size else None,
        deadline_s=parsed.deadline,
    )
    folder = ImageFolder(writable_folder(parsed.output))
    folder.check_free(tasks, overwrite=parsed.overwrite)
    with live.open_fleet(parsed) as fleet:
        model = live.fleet_model(fleet, decider.setting)
        folder.begin()
        with decider.dispatcher(fleet, model, parsed.seed) as dispatcher:
            run = _serve(dispatcher, tasks, folder)
    _print_run(run, f"{fleet.spec.name}, {decider.title}: {number} tasks")
    print(f"written: {folder.images}, {folder.table}, {folder.contact_sheet}")
    return 1 if any(delivery.error for delivery in run.deliveries) else 0


def _decider(parsed: argparse.Namespace) -> live.Decider:
    name = parsed.scheduler or (names.LEARNED if parsed.checkpoint else "greedy-oracle")
    if name != names.LEARNED:
        for option in ("checkpoint", "greedy_actions"):
            if getattr(parsed, option):
                raise ConfigurationError(
                    f"--{option.replace('_', '-')} has no effect on scheduler {name}; leave one of the two out"
                )
    return live.Decider(name, parsed.checkpoint, explore=not parsed.greedy_actions)


class ImageFolder:
    """Images as they come, and a table and a contact sheet of them.

    Args:
        path: An existing folder.
    """

    def __init__(self, path: Path) -> None:
        self.images, self.table, self.contact_sheet = (
            path / "images",
            path / "deliveries.csv",
            path / "contact_sheet.png",
        )
        self._came: list[Delivery] = []

    def check_free(self, tasks: Sequence[ImageTask], *, overwrite: bool) -> None:
        """Refuse to write over files, unless that is wanted.

        Raises:
            ConfigurationError: names the first file that is there already.
        """
        for file in (self.table, self.contact_sheet, *(self._image(task.task_id) for task in tasks)):
            if file.exists() and not overwrite:
                raise ConfigurationError(f"{file} is there already; give --overwrite or another --output")

    def begin(self) -> None:
        """Remove what an earlier run has written: the images in its table, the table and the contact sheet."""
        self.images.mkdir(exist_ok=True)
        try:
            earlier = pd.read_csv(self.table, usecols=["task_id"], dtype=str)["task_id"].dropna()
        except (OSError, ValueError):  # there is none
            return
        for name in earlier[earlier.str.fullmatch(r"task-\d+")]:
            self._image(name).unlink(missing_ok=True)
        for file in (self.table, self.contact_sheet):
            file.unlink(missing_ok=True)

    def keep(self, delivery: Delivery) -> None:
        """Take a task's end; its image is on disk when this returns."""
        self._came.append(delivery)
        self._write_image(delivery)

    def finish(self) -> None:
        """Write the table and the contact sheet of what came, in the order of the tasks."""
        if not self._came:
            return
        self._write_image(self._came[-1])  # Ctrl-C may have cut it short
        came = sorted(self._came, key=lambda delivery: delivery.task.seed)
        durable.write_file(self.table, pd.DataFrame([delivery.to_dict() for delivery in came]).to_csv(index=False))
        save_contact_sheet(came, self.contact_sheet)

    def _write_image(self, delivery: Delivery) -> None:
        if delivery.png is not None:
            durable.write_file(self._image(delivery.task.task_id), delivery.png)

    def _image(self, task_id: str) -> Path:
        return self.images / f"{task_id}.png"


def _serve(dispatcher: Dispatcher, tasks: list[ImageTask], folder: ImageFolder) -> LiveRun:
    """Serve all; what came is in the folder also after an interruption."""
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task("images", total=len(tasks))

            def keep(delivery: Delivery) -> None:
                folder.keep(delivery)
                progress.advance(bar)

            return serve(dispatcher, [tasks], on_delivery=keep)
    except signals.Interrupted as interruption:
        raise signals.Interrupted(interruption.number, "the images that were there are kept") from None
    finally:
        folder.finish()


def _print_run(run: LiveRun, title: str) -> None:
    summary, table = run.summary(), run.table()
    images = table.loc[table["error"] == "", "server"].value_counts()
    rows = [
        {"server": name, "images": str(images.get(name, 0)), "utilisation": f"{share:.2f}"}
        for name, share in run.utilisation().items()
    ]
    print_table(title, rows)
    delays = (
        f"; service delay: mean {summary['mean_s']:.3f} s, p95 {summary['p95_s']:.3f} s, max {summary['max_s']:.3f} s"
    )
    number = summary["tasks"] - summary["failed"]
    print(f"{number} images in {summary['total_s']:.2f} s{delays if number else ''}")
    for delivery in run.deliveries:
        if delivery.error is not None:
            print(f"{delivery.task.task_id}: {delivery.error.name}: {delivery.error}", file=sys.stderr)
    _print_remarks([delivery.record for delivery in run.deliveries if delivery.record])


def _print_remarks(records: list[TaskRecord]) -> None:
    """Say which images are there and yet not what was asked for."""
    cut = sum(record.prompt_tokens_cut > 0 for record in records)
    if cut:
        print(f"{cut} prompts were cut at a text encoder's limit; column prompt_tokens_cut says by how much")
    cut = sum(record.negative_prompt_tokens_cut > 0 for record in records)
    if cut:
        print(
            f"the negative prompt of {cut} images was cut at a text encoder's limit; column negative_prompt_tokens_cut "
            "says by how much"
        )
    ignored = sum(bool(record.settings_ignored) for record in records)
    if ignored:
        print(f"{ignored} images were made without what their model does not take; column settings_ignored says what")
    blanked = sum(record.safety_check == "blanked" for record in records)
    if blanked:
        print(f"{blanked} images are blank: the model's safety checker objected; column safety_check says which")

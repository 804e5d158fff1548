"""``lad-rllib generate``: prints what became of the tasks, as a table of the servers or all of them as JSON."""

from __future__ import annotations

import sys

from lad_rllib.edge.record import TaskRecord
from lad_rllib.runs.fleet_options import GenerateOptions
from lad_rllib.runs.generate import generate
from lad_rllib.runs.tables import json_rows, print_json, print_table
from lad_rllib.service import LiveRun

LATE_SHARE = 0.5
"""A hand-over that is later than this share of the mean delay is worth a remark."""


def run(options: GenerateOptions, *, as_json: bool) -> int:
    """Generate; returns the exit status, 1 if a task failed."""
    generated = generate(options)
    run, folder = generated.run, generated.folder
    for delivery in run.deliveries:
        if delivery.error is not None:
            print(f"{delivery.task.task_id}: {delivery.error.name}: {delivery.error}", file=sys.stderr)
    if as_json:
        print_json(json_rows(run.table()))
    else:
        _print_run(run, generated.title)
        if generated.simulated_mean_s is not None:
            print(f"the simulator expected a mean of {generated.simulated_mean_s:.3f} s")
        _print_remarks([delivery.record for delivery in run.deliveries if delivery.record])
        print(f"written: {folder.images}, {folder.table}, {folder.contact_sheet}")
    return 1 if any(delivery.error for delivery in run.deliveries) else 0


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
    if run.late_s > LATE_SHARE * summary["mean_s"]:
        print(
            f"tasks were handed in up to {run.late_s:.2f} s late, over half their mean delay: the machine was too busy "
            "for these delays to tell schedulers apart"
        )


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

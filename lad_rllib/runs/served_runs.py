"""Runs of schedulers on a fleet, on disk as soon as each has ended: a row for each, every task, and images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from lad_rllib import durable
from lad_rllib.runs.rows import ResultRows
from lad_rllib.service import LiveRun


class ServedRuns:
    """Results of runs, each of one scheduler on one number of tasks; a resumed comparison keeps those of before.

    Args:
        folder: An existing folder; it receives ``STEM.csv``, ``deliveries.csv`` and, if asked for, ``images/``.
        stem: Name of the table.
        resume: Keep the runs that are there.
        keep_images: Keep every image, in ``images/SCHEDULER-TASKS/``.
        same: Columns that every row has, and that those of before must have, too.

    Raises:
        ConfigurationError: if the rows of before cannot be read, or are of something else.
    """

    def __init__(self, folder: Path, stem: str, resume: bool, *, keep_images: bool = False, **same: Any) -> None:
        self._folder, self._keep_images = folder, keep_images
        self._rows = ResultRows(folder / f"{stem}.csv", resume, **same)
        self._tables: list[pd.DataFrame] = []
        if resume and self._file.exists():
            runs = pd.read_csv(self._file).groupby(["scheduler", "tasks"], sort=False)
            self._tables = [run for (name, number), run in runs if self.has(name, number)]

    @property
    def _file(self) -> Path:
        return self._folder / "deliveries.csv"

    @property
    def frame(self) -> pd.DataFrame:
        """One row for each run."""
        return self._rows.frame

    def has(self, scheduler: str, tasks: int) -> bool:
        """Whether a run is there."""
        return self._rows.has(scheduler=scheduler, tasks=tasks)

    def add(self, scheduler: str, run: LiveRun) -> None:
        """Keep a run; its row is written last."""
        summary = run.summary()
        if self._keep_images:
            folder = self._folder / "images" / f"{scheduler}-{summary['tasks']}"
            folder.mkdir(parents=True, exist_ok=True)
            for delivery in run.deliveries:
                for number, png in enumerate(filter(None, (delivery.png, *delivery.more_pngs))):
                    suffix = f"-{number}" if number else ""
                    (folder / f"{delivery.task.task_id}{suffix}.png").write_bytes(png)
        self._tables.append(run.table().assign(scheduler=scheduler, tasks=summary["tasks"]))
        durable.write_file(self._file, pd.concat(self._tables, ignore_index=True).to_csv(index=False))
        self._rows.add({"scheduler": scheduler, **summary})

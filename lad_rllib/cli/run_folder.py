"""The output folder of a training run: what it holds, and how it survives a kill at any moment."""

from __future__ import annotations

import csv
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from lad_rllib import __version__, names
from lad_rllib.errors import ConfigurationError

_ITERATION_FILE = "lad_rllib_progress.yaml"


class RunFolder:
    """Progress, checkpoint, configuration and picture of one training run.

    A checkpoint is written beside the last one and then takes its name, so that one is always complete. Rows of
    ``progress.csv`` are on disk when their iteration ends; a resumed run cuts off those after its checkpoint.

    Args:
        path: An existing folder that can be written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.progress_file = path / "progress.csv"
        self.configuration_file = path / "config.yaml"
        self.learning_curve = path / "learning_curve.png"
        self.checkpoint = path / "checkpoint"
        self._previous = path / "checkpoint.previous"
        self._unfinished = path / "checkpoint.unfinished"
        self.episodes_done = 0

    def begin(self, *, overwrite: bool) -> None:
        """Make room for a new run.

        Raises:
            ConfigurationError: if there is a run already and it must not be overwritten.
        """
        if self.configuration_file.exists() and not overwrite:
            raise ConfigurationError(f"{self.path} holds a run already; give --resume, --overwrite or another --output")
        for folder in (self.checkpoint, self._previous, self._unfinished):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.progress_file, self.configuration_file, self.learning_curve):
            file.unlink(missing_ok=True)

    def write_configuration(self, configuration: dict[str, Any]) -> None:
        """Write everything that the run depends on, and where it ran."""
        machine = {
            "lad_rllib": __version__,
            "commit": source_commit(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
        }
        text = yaml.safe_dump(configuration | {"machine": machine}, sort_keys=False)
        self.configuration_file.write_text(text, encoding="utf-8")

    def read_configuration(self) -> dict[str, Any]:
        """The configuration of the run in this folder.

        Raises:
            ConfigurationError: if there is none.
        """
        if not self.configuration_file.exists():
            raise ConfigurationError(f"{self.path} holds no run to resume; leave --resume out to start one")
        configuration: dict[str, Any] = yaml.safe_load(self.configuration_file.read_text(encoding="utf-8"))
        return configuration

    def save(self, algorithm: Any) -> None:
        """Save a checkpoint; the last one stays until the new one is complete."""
        shutil.rmtree(self._unfinished, ignore_errors=True)
        algorithm.save_to_path(str(self._unfinished.resolve()))
        counters = {"iteration": int(algorithm.iteration), "episodes": int(self.progress()["episodes"].iloc[-1])}
        (self._unfinished / _ITERATION_FILE).write_text(yaml.safe_dump(counters), encoding="utf-8")
        shutil.rmtree(self._previous, ignore_errors=True)
        if self.checkpoint.exists():
            self.checkpoint.rename(self._previous)
        self._unfinished.rename(self.checkpoint)
        shutil.rmtree(self._previous, ignore_errors=True)

    def restore(self, algorithm: Any) -> None:
        """Restore the last complete checkpoint, and cut ``progress.csv`` back to it.

        Raises:
            ConfigurationError: if there is none.
        """
        if not self.checkpoint.exists() and self._previous.exists():
            self._previous.rename(self.checkpoint)
        if not self.checkpoint.exists():
            raise ConfigurationError(f"{self.path} holds no checkpoint yet; start the run anew with --overwrite")
        algorithm.restore_from_path(str(self.checkpoint.resolve()))
        counters = yaml.safe_load((self.checkpoint / _ITERATION_FILE).read_text(encoding="utf-8"))
        self.episodes_done = counters["episodes"]
        progress = self.progress()
        progress[progress["iteration"] <= counters["iteration"]].to_csv(self.progress_file, index=False)

    def append_progress(self, row: dict[str, Any]) -> None:
        """Add a row to ``progress.csv``."""
        is_new = not self.progress_file.exists()
        with self.progress_file.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if is_new:
                writer.writeheader()
            writer.writerow(row)

    def progress(self) -> pd.DataFrame:
        """All rows so far."""
        return pd.read_csv(self.progress_file)

    def title(self, configuration: dict[str, Any]) -> str:
        """Title of the learning curve."""
        preset = configuration["training"].get("preset", "published_code")
        algorithm = names.ALGORITHMS[configuration.get("algorithm", "lad-ts")]
        return f"{algorithm} ({preset}) on {configuration['setting']['name']}, seed {configuration['seed']}"

    def closing_words(self, *, interrupted: bool) -> str:
        """What was reached, and what to do next."""
        progress = self.progress()
        last = progress.tail(10)
        ratio = last[names.DELAY_OVER_ORACLE].mean()
        head = "interrupted" if interrupted else "done"
        return (
            f"{head} after {progress['episodes'].iloc[-1]} episodes: mean delay of the last {len(last)} "
            f"{last[names.MEAN_DELAY].mean():.2f} s, {ratio:.3f} x the greedy oracle's\n"
            f"curve:      {self.learning_curve}\n"
            f"evaluate:   lad-rllib evaluate --checkpoint {self.checkpoint}\n"
            f"go on:      lad-rllib train --resume --episodes N --output {self.path}"
        )


def source_commit() -> str | None:
    """Commit of the source tree that the package runs from, if it is one."""
    source = Path(__file__).resolve().parents[2]
    if not (source / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(source), "describe", "--always", "--dirty"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None

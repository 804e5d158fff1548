"""The output folder of a training run: what it holds, and how it survives a kill at any moment."""

from __future__ import annotations

import csv
import io
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from lad_rllib import durable, names
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.output_folder import FETCHED
from lad_rllib.runs.provenance import machine

if TYPE_CHECKING:
    from lad_rllib.algorithms.common.policy import FleetPolicy
    from lad_rllib.algorithms.common.policy_file import SavedPolicy
    from lad_rllib.algorithms.lad_dispatch.policy import DispatchPolicy

_RECORD = "run"
"""Folder of a checkpoint that holds ``progress.csv`` and ``config.yaml`` as they were then."""


class RunFolder:
    """Progress, checkpoint, configuration and picture of one training run.

    A checkpoint is written in full, with checksums and the run's progress and configuration, before it takes the name
    ``checkpoint``; the one before it stays as ``checkpoint.previous``. A run resumes from the newest of the two that
    is undamaged, and takes its progress and configuration from there. Rows of ``progress.csv`` are on disk when
    their iteration ends; a resumed run cuts off those after its checkpoint. A run that is to be overwritten waits in
    ``replaced`` until the new one has a checkpoint.

    Args:
        path: An existing folder that can be written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.progress_file = path / "progress.csv"
        self.configuration_file = path / "config.yaml"
        self.learning_curve = path / "learning_curve.png"
        self.tensorboard = path / "tensorboard"
        self.checkpoint = path / "checkpoint"
        self._previous = path / f"checkpoint{durable.PREVIOUS}"
        self._unfinished = path / "checkpoint.unfinished"
        self._damaged = path / "checkpoint.damaged"
        self._replaced = path / "replaced"
        self._resume_from: Path | None = None
        self.episodes_done = 0

    def check_free(self, *, overwrite: bool) -> None:
        """Refuse to begin where a run is, unless it may be overwritten.

        Raises:
            ConfigurationError: if there is a run already and it must not be overwritten.
        """
        if not overwrite and any(path.exists() for path in (self.configuration_file, self.checkpoint, self._previous)):
            raise ConfigurationError(f"{self.path} holds a run already; give --resume, --overwrite or another --output")

    def begin(self) -> None:
        """Move an earlier run aside; it is deleted when this one has a checkpoint, see :meth:`settle`."""
        self._replaced.mkdir(exist_ok=True)
        for part in self._parts():  # the checkpoint first: where that is, the run is
            if part.exists():
                part.rename(self._replaced / part.name)
        for folder in (self._unfinished, self._damaged, self.path / FETCHED):
            shutil.rmtree(folder, ignore_errors=True)

    def settle(self) -> None:
        """Keep one of two runs: without a checkpoint of the new one, the run that it was to replace is back."""
        if not self._replaced.exists():
            return
        if not self.checkpoint.exists():
            earlier = {path.name for path in self._replaced.iterdir()}
            if earlier or not self.progress_file.exists():
                for file in (self.configuration_file, self.progress_file, self.learning_curve):
                    file.unlink(missing_ok=True)
                shutil.rmtree(self.tensorboard, ignore_errors=True)
            for part in reversed(self._parts()):
                if part.name in earlier:
                    (self._replaced / part.name).rename(part)
            if earlier:
                print(f"the new run has no checkpoint, so {self.path} holds the earlier run again", file=sys.stderr)
        shutil.rmtree(self._replaced)

    def _parts(self) -> tuple[Path, ...]:
        """Everything that makes a run."""
        files = (self.configuration_file, self.progress_file, self.learning_curve)
        return (self.checkpoint, self._previous, *files, self.tensorboard)

    def write_configuration(self, configuration: dict[str, Any]) -> None:
        """Write everything that the run depends on, and where it ran."""
        durable.write_file(
            self.configuration_file, yaml.safe_dump(configuration | {"machine": machine()}, sort_keys=False)
        )

    def read_configuration(self) -> dict[str, Any]:
        """The configuration of the run in this folder, from the checkpoint that it resumes from.

        Raises:
            ConfigurationError: if there is no run, or no undamaged checkpoint.
        """
        record = self._newest_undamaged() / _RECORD / self.configuration_file.name
        configuration: dict[str, Any] = yaml.safe_load(record.read_text(encoding="utf-8"))
        try:
            present = yaml.safe_load(self.configuration_file.read_text(encoding="utf-8"))
            is_same = _lasting(present) == _lasting(configuration)
        except (OSError, ValueError, AttributeError, yaml.YAMLError):
            is_same = False
        if not is_same:
            self._say_restored(self.configuration_file)
        return configuration

    def save(self, algorithm: Any) -> None:
        """Save a checkpoint; the one before it stays."""
        shutil.rmtree(self._unfinished, ignore_errors=True)
        algorithm.save_to_path(str(self._unfinished.resolve()))
        record = self._unfinished / _RECORD
        record.mkdir()
        for file in (self.progress_file, self.configuration_file):
            shutil.copyfile(file, record / file.name)
        durable.seal(self._unfinished)
        if self.checkpoint.exists():
            shutil.rmtree(self._previous, ignore_errors=True)
            self.checkpoint.rename(self._previous)
        self._unfinished.rename(self.checkpoint)
        durable.sync(self.path)
        shutil.rmtree(self._replaced, ignore_errors=True)

    def restore(self, algorithm: Any) -> None:
        """Restore the newest undamaged checkpoint, and the ``progress.csv`` of then.

        Raises:
            ConfigurationError: if there is none.
        """
        newest = self._newest_undamaged()
        algorithm.restore_from_path(str(newest.resolve()))
        if newest == self._previous:
            if self.checkpoint.exists():
                shutil.rmtree(self._damaged, ignore_errors=True)
                self.checkpoint.rename(self._damaged)
            self._previous.rename(self.checkpoint)
            self._resume_from = None
        recorded = (self.checkpoint / _RECORD / self.progress_file.name).read_bytes()
        if not self.progress_file.exists() or not self.progress_file.read_bytes().startswith(recorded):
            self._say_restored(self.progress_file)
        durable.write_file(self.progress_file, recorded)
        self.episodes_done = int(self.progress()["episodes"].iloc[-1])

    @staticmethod
    def _say_restored(file: Path) -> None:
        print(f"warning: {file} is not what the run wrote; it is taken from the checkpoint", file=sys.stderr)

    def _newest_undamaged(self) -> Path:
        """The checkpoint to resume from; a damaged one is passed over, and named on standard error.

        Raises:
            ConfigurationError: if there is none.
        """
        if self._resume_from is not None:
            return self._resume_from
        problems = []
        for folder in (self.checkpoint, self._previous):
            if not folder.exists():
                continue
            try:
                durable.check_seal(folder)
            except ConfigurationError as error:
                problems.append(str(error))
                continue
            if problems:
                print(f"warning: {problems[0]}; going on from the checkpoint before it", file=sys.stderr)
            self._resume_from = folder
            return folder
        if problems:
            raise ConfigurationError(
                f"{problems[0]}, and there is no other checkpoint; start the run anew with --overwrite"
            )
        if self.configuration_file.exists():
            raise ConfigurationError(f"{self.path} holds no checkpoint yet; start the run anew with --overwrite")
        raise ConfigurationError(f"{self.path} holds no run to resume; leave --resume out to start one")

    def append_progress(self, row: dict[str, Any]) -> None:
        """Add a row to ``progress.csv``; it is on disk when this returns."""
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(row))
        if not self.progress_file.exists():
            writer.writeheader()
        writer.writerow(row)
        durable.append(self.progress_file, text.getvalue())

    def progress(self) -> pd.DataFrame:
        """All rows so far."""
        return pd.read_csv(self.progress_file)

    def title(self, configuration: dict[str, Any]) -> str:
        """Title of the learning curve."""
        name, preset = configuration["algorithm"], configuration["training"].get("preset")
        algorithm = names.ALGORITHMS.get(name, name) + (f" ({preset})" if preset else "")
        return f"{algorithm} on {configuration['setting']['name']}, seed {configuration['seed']}"

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


def _lasting(configuration: dict[str, Any]) -> dict[str, Any]:
    """What a resumed run does not change."""
    return {key: value for key, value in configuration.items() if key not in ("episodes", "machine")}


def newest_policy(checkpoint: str | Path) -> SavedPolicy:
    """The policy of a checkpoint, or of the one before it if that cannot be read; this is said on standard error.

    Raises:
        ConfigurationError: if neither can be read.
    """
    from lad_rllib.algorithms.common.policy_file import read_policy

    try:
        return read_policy(checkpoint)
    except ConfigurationError as error:
        given = Path(os.path.expanduser(checkpoint))
        try:
            policy = read_policy(given.with_name(f"{given.name}{durable.PREVIOUS}"))
        except (ConfigurationError, ValueError):
            raise error from None
        print(f"warning: {error}; using that one", file=sys.stderr)
        return policy


def scheduler_of(saved: SavedPolicy, **acting: Any) -> FleetPolicy | DispatchPolicy:
    """The scheduler that a saved policy is, for slots or for requests one by one; ``acting`` as of its class."""
    from lad_rllib.algorithms.common.policy import FleetPolicy
    from lad_rllib.algorithms.lad_dispatch.policy import DispatchPolicy
    from lad_rllib.algorithms.lad_dispatch.policy_file import SavedDispatchPolicy

    kind = DispatchPolicy if isinstance(saved, SavedDispatchPolicy) else FleetPolicy
    scheduler: FleetPolicy | DispatchPolicy = kind.of_saved(saved, **acting)
    return scheduler

"""The folder of a run: what survives a kill, a power cut and damage, and what a resumed run takes up."""

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from lad_rllib import names
from lad_rllib.cli.run_folder import RunFolder
from lad_rllib.errors import ConfigurationError


class CountingAlgorithm:
    """Stands for an algorithm: its state is the number of its iterations."""

    def __init__(self):
        self.iteration = 0

    def save_to_path(self, path):
        inner = Path(path) / "learner"
        inner.mkdir(parents=True)
        (inner / "state.pkl").write_text(str(self.iteration))
        return path

    def restore_from_path(self, path):
        self.iteration = int((Path(path) / "learner" / "state.pkl").read_text())


def train(folder, algorithm, iterations):
    for _ in range(iterations):
        algorithm.iteration += 1
        k = algorithm.iteration
        folder.append_progress({"iteration": k, "episodes": 2 * k, names.MEAN_DELAY: 1 / k})


@pytest.fixture
def run(tmp_path):
    """Checkpoints after iterations 2 and 4, and a row more."""
    folder = RunFolder(tmp_path)
    folder.begin(overwrite=False)
    folder.write_configuration({"seed": 7})
    algorithm = CountingAlgorithm()
    for _ in range(2):
        train(folder, algorithm, 2)
        folder.save(algorithm)
    train(folder, algorithm, 1)
    return tmp_path


def resumed(path):
    """Iterations of the restored algorithm and of the rows, the seed of the configuration."""
    folder, algorithm = RunFolder(path), CountingAlgorithm()
    seed = folder.read_configuration()["seed"]
    folder.restore(algorithm)
    assert folder.episodes_done == 2 * algorithm.iteration
    return algorithm.iteration, folder.progress()["iteration"].tolist(), seed


def test_a_resumed_run_goes_on_from_its_last_checkpoint_and_drops_later_rows(run, capsys):
    assert resumed(run) == (4, [1, 2, 3, 4], 7)
    assert capsys.readouterr().err == ""


def test_every_file_of_a_checkpoint_is_on_disk_before_it_takes_its_name(run, monkeypatch):
    folder, algorithm = RunFolder(run), CountingAlgorithm()
    folder.restore(algorithm)
    train(folder, algorithm, 1)
    flushed, lost, real_sync, real_rename = set(), [], os.fsync, Path.rename

    def record_sync(descriptor):
        flushed.add(os.fstat(descriptor).st_ino)
        real_sync(descriptor)

    def rename(self, target):
        if self.name == "checkpoint.unfinished":
            lost.extend(path for path in (self, *self.rglob("*")) if path.stat().st_ino not in flushed)
            flushed.clear()
        return real_rename(self, target)

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(Path, "rename", rename)
    folder.save(algorithm)
    assert lost == []
    assert run.stat().st_ino in flushed  # its new name, too


def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(run, capsys):
    (run / "checkpoint" / "learner" / "state.pkl").write_text("5")
    assert resumed(run) == (2, [1, 2], 7)
    (line,) = capsys.readouterr().err.splitlines()
    assert "checkpoint/learner/state.pkl is damaged" in line and "going on from the checkpoint before it" in line


def test_after_a_fall_back_the_next_checkpoint_leaves_the_good_one_in_place(run):
    (run / "checkpoint" / "learner" / "state.pkl").write_text("")
    folder, algorithm = RunFolder(run), CountingAlgorithm()
    folder.restore(algorithm)
    train(folder, algorithm, 1)
    folder.save(algorithm)
    shutil.rmtree(run / "checkpoint")  # a kill between the two renames looks the same
    assert resumed(run) == (2, [1, 2], 7)


def test_without_an_undamaged_checkpoint_a_run_cannot_resume_and_says_why(run):
    shutil.rmtree(run / "checkpoint.previous")
    (run / "checkpoint" / "learner" / "state.pkl").unlink()
    with pytest.raises(ConfigurationError, match=r"state.pkl is damaged: No such file.* no other checkpoint; .*anew"):
        resumed(run)


@pytest.mark.parametrize(("begun", "message"), [(False, "holds no run to resume"), (True, "holds no checkpoint yet")])
def test_nothing_to_resume_is_said(tmp_path, begun, message):
    folder = RunFolder(tmp_path)
    if begun:
        folder.write_configuration({"seed": 7})
    with pytest.raises(ConfigurationError, match=message):
        folder.read_configuration()


def test_rows_are_read_as_they_were_written(run):
    assert pd.read_csv(run / "progress.csv")["iteration"].tolist() == [1, 2, 3, 4, 5]

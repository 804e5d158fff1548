"""The folder of a run: what survives a kill, a power cut and damage, and what a resumed run takes up."""

import contextlib
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from lad_rllib import names
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.run_folder import RunFolder


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
    path = tmp_path / "run"
    path.mkdir()
    folder, algorithm = begun(path, seed=7), CountingAlgorithm()
    for _ in range(2):
        train(folder, algorithm, 2)
        folder.save(algorithm)
    train(folder, algorithm, 1)
    folder.settle()
    return path


def begun(path, seed):
    folder = RunFolder(path)
    folder.settle()
    folder.begin()
    folder.write_configuration({"seed": seed})
    return folder


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


DAMAGE = {
    "emptied": lambda file: file.write_bytes(b""),
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "bit flipped": lambda file: file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:]),
    "removed": lambda file: file.unlink(),
    "garbage": lambda file: file.write_bytes(b"\x00\xff: [}\n" * 9),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_whatever_file_is_damaged_a_resumed_run_has_a_true_history_and_names_the_file(run, damage, tmp_path, capsys):
    names_of_files = [path.relative_to(run) for path in sorted(run.rglob("*")) if path.is_file()]
    assert len(names_of_files) == 2 * 4 + 2
    for index, name in enumerate(names_of_files):
        copy = shutil.copytree(run, tmp_path / str(index))
        DAMAGE[damage](copy / name)
        newest = 2 if name.parts[0] == "checkpoint" else 4
        assert resumed(copy) == (newest, list(range(1, newest + 1)), 7), name
        said = capsys.readouterr().err
        harmless = name.parts[0] == "checkpoint.previous" or (len(name.parts) == 1 and damage == "truncated")
        assert said.count("\n") == (0 if harmless else 1), (name, said)
        assert harmless or str(name) in said


def test_a_run_is_overwritten_only_when_the_new_one_has_a_checkpoint(run):
    folder, algorithm = begun(run, seed=8), CountingAlgorithm()
    train(folder, algorithm, 1)
    assert (run / "replaced" / "checkpoint").exists() and not (run / "checkpoint").exists()
    folder.save(algorithm)
    folder.settle()
    assert not (run / "replaced").exists()
    assert resumed(run) == (1, [1], 8)


def test_a_run_that_ends_without_a_checkpoint_has_replaced_nothing(run, capsys):
    before = contents(run)
    folder = begun(run, seed=8)
    train(folder, CountingAlgorithm(), 1)
    folder.settle()
    assert contents(run) == before
    assert "holds the earlier run again" in capsys.readouterr().err


def test_a_begun_run_without_a_row_leaves_nothing(tmp_path):
    begun(tmp_path, seed=8).settle()
    assert contents(tmp_path) == {}


def test_a_kill_at_any_moment_of_overwriting_loses_neither_run(run, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    moves, real = [], Path.rename

    def rename(self, target):
        moves.append(self)
        if len(moves) == last:
            raise Killed
        return real(self, target)

    def overwrite(path):
        folder, algorithm = begun(path, seed=8), CountingAlgorithm()
        train(folder, algorithm, 1)
        folder.save(algorithm)

    seeds, last = [], 0
    monkeypatch.setattr(Path, "rename", rename)
    for last in range(1, 9):
        copy = shutil.copytree(run, tmp_path / f"killed at {last}")
        moves.clear()
        with contextlib.suppress(Killed):
            overwrite(copy)
        moves.extend([None] * 99)
        RunFolder(copy).settle()
        seeds.append(resumed(copy))
    old, new = (4, [1, 2, 3, 4], 7), (1, [1], 8)
    assert sorted(seeds, key=seeds.index) == [old] * seeds.count(old) + [new] * seeds.count(new)
    assert seeds[0] == old and seeds[-1] == new


def test_a_run_that_is_there_is_not_overwritten_unasked(run):
    with pytest.raises(ConfigurationError, match="holds a run already; give --resume, --overwrite or another"):
        RunFolder(run).check_free(overwrite=False)
    RunFolder(run).check_free(overwrite=True)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_rows_are_read_as_they_were_written(run):
    assert pd.read_csv(run / "progress.csv")["iteration"].tolist() == [1, 2, 3, 4, 5]

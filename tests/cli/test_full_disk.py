"""A disk that is full or read-only ends a command in one line, with what was written before in place."""

import argparse
import contextlib
import errno
import os
import resource

import pytest

from lad_rllib.cli import main
from lad_rllib.runs.command import run_command
from tests.cli.fleet_files import fleet_file, the_line

COMMAND = argparse.Namespace(command="train", output="results/run")


@contextlib.contextmanager
def files_of_at_most(size):
    """Let the system refuse longer files, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_an_error_of_the_disk_is_one_line_and_status_1(number, capsys):
    def run(parsed):
        raise OSError(number, "the system's words", "results/run/progress.csv")

    assert run_command(run, COMMAND) == 1
    message = the_line(capsys.readouterr().err)
    assert message.startswith(f"lad-rllib train: cannot write results/run/progress.csv: {os.strerror(number)}; ")


def test_an_error_of_the_disk_is_found_within_another_one(capsys):
    def run(parsed):
        try:
            raise OSError(errno.ENOSPC, "full")
        except OSError:
            raise RuntimeError("a search failed\nTraceback ...")  # noqa: B904 - as Ray Tune does

    assert run_command(run, COMMAND) == 1
    assert "cannot write results/run: No space left on device" in the_line(capsys.readouterr().err)


def test_other_errors_keep_their_traceback():
    def run(parsed):
        raise FileNotFoundError(errno.ENOENT, "a mistake of ours")

    with pytest.raises(FileNotFoundError):
        run_command(run, COMMAND)


def test_evaluate_on_a_full_disk_is_one_line(tmp_path, capsys):
    arguments = ["--setting", "small", "--episodes", "1", "--schedulers", "random", "--output", str(tmp_path)]
    with files_of_at_most(100):
        assert main(["evaluate", *arguments]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]  # on a slow machine a line of progress comes before it
    assert last.startswith("lad-rllib evaluate: cannot write ") and "File too large" in last


def test_generate_on_a_full_disk_is_one_line(tmp_path, capsys):
    arguments = ["--fleet", fleet_file(tmp_path), "--in-process", "--tasks", "2", "--output", str(tmp_path / "images")]
    with files_of_at_most(50):
        assert main(["generate", *arguments]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("lad-rllib generate: cannot write ") and "File too large" in last
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".png", ".unfinished")]  # half an image is none

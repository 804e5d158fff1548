"""Output folders: one process at a time writes to each, and a refused command leaves none behind."""

import os
import signal
import socket

import pytest
from filelock import FileLock

from lad_rllib.cli import main
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.output_folder import LOCK_FILE, release_folders, writable_folder


@pytest.fixture(autouse=True)
def released():
    yield
    release_folders()


def test_a_folder_in_use_is_refused_with_the_others_host_and_process(tmp_path):
    other = FileLock(tmp_path / LOCK_FILE)
    with other:
        (tmp_path / LOCK_FILE).write_text("node7, process 4321")
        with pytest.raises(ConfigurationError, match="in use by another run, on host node7, process 4321; wait for"):
            writable_folder(tmp_path)
        assert (tmp_path / LOCK_FILE).read_text() == "node7, process 4321"
        writable_folder(tmp_path / "inner")  # another folder
    release_folders()
    assert writable_folder(tmp_path) == tmp_path


def test_a_locked_folder_says_who_writes_there_until_it_is_released(tmp_path):
    writable_folder(tmp_path)
    writable_folder(tmp_path)  # again, in the same process
    assert (tmp_path / LOCK_FILE).read_text() == f"{socket.gethostname()}, process {os.getpid()}"
    with pytest.raises(TimeoutError):
        FileLock(tmp_path / LOCK_FILE).acquire(blocking=False)
    release_folders()
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_killed_process_does_not_block(tmp_path):
    child = os.fork()
    if not child:
        writable_folder(tmp_path)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert f"process {child}" in (tmp_path / LOCK_FILE).read_text()
    writable_folder(tmp_path)


def test_an_evaluation_may_write_beside_a_run_that_goes_on(tmp_path):
    with FileLock(tmp_path / LOCK_FILE):
        assert writable_folder(tmp_path, alone=False) == tmp_path


def test_a_folder_with_results_stays(tmp_path):
    (writable_folder(tmp_path / "a" / "b") / "rows.csv").write_text("1")
    release_folders()
    assert (tmp_path / "a" / "b" / "rows.csv").exists()


def test_a_refused_command_leaves_no_folder(tmp_path, capsys):
    assert main(["train", "--servers", "0", "--output", str(tmp_path / "a" / "b")]) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_refused_overwrite_leaves_the_earlier_run(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("seed: 7\n")
    config = tmp_path / "wrong.yaml"
    config.write_text("training: {actor_lr: fast}\n")
    assert main(["train", "--config", str(config), "--overwrite", "--output", str(tmp_path)]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "wrong.yaml"]


def test_a_search_that_is_there_is_refused_before_ray_starts(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("lad_rllib.runs.tune.start_ray", lambda *_, **__: pytest.fail("Ray was started"))
    (tmp_path / "tune.yaml").write_text("")
    assert main(["tune", "--setting", "small", "--output", str(tmp_path)]) == 2
    assert "holds a search already; give --resume or another --output" in capsys.readouterr().err

"""Files that are on disk before they replace others, and folders that know their checksums."""

import os
from pathlib import Path

import pytest
import yaml

from lad_rllib import durable
from lad_rllib.errors import ConfigurationError


@pytest.fixture
def events(monkeypatch):
    """What is flushed and renamed, in order: ("flush", path) and ("rename", old path, new path)."""
    happened = []
    real_sync, real_rename, real_replace = os.fsync, Path.rename, Path.replace

    def record_sync(descriptor):
        happened.append(("flush", Path(os.readlink(f"/proc/self/fd/{descriptor}"))))
        real_sync(descriptor)

    def recorded(real):
        def move(self, target):
            happened.append(("rename", self, Path(target)))
            return real(self, target)

        return move

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(Path, "rename", recorded(real_rename))
    monkeypatch.setattr(Path, "replace", recorded(real_replace))
    return happened


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "one").write_text("one")
    (folder / "inner" / "two").write_text("two")
    durable.seal(folder)
    return folder


def test_a_file_is_flushed_before_it_replaces_another_and_its_folder_after(tmp_path, events):
    file = tmp_path / "file"
    file.write_text("old")
    durable.write_file(file, "new")
    beside = tmp_path / "file.unfinished"
    assert events == [("flush", beside), ("rename", beside, file), ("flush", tmp_path)]
    assert file.read_text() == "new" and not beside.exists()


def test_an_appended_row_is_flushed_and_a_new_file_is_in_its_folder(tmp_path, events):
    file = tmp_path / "rows"
    durable.append(file, "a\n")
    durable.append(file, "b\n")
    assert events == [("flush", file), ("flush", tmp_path), ("flush", file)]
    assert file.read_text() == "a\nb\n"


def test_sealing_flushes_every_file_and_folder(tmp_path, events):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "two").write_text("two")
    durable.seal(tmp_path)
    flushed = {event[1] for event in events if event[0] == "flush"}
    assert {tmp_path, tmp_path / "inner", tmp_path / "inner" / "two"} <= flushed


def test_an_untouched_folder_keeps_its_seal(folder):
    durable.check_seal(folder)


@pytest.mark.parametrize("name", ["one", "inner/two"])
def test_one_flipped_bit_breaks_the_seal_and_names_the_file(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[1] ^= 4
    (folder / name).write_bytes(data)
    with pytest.raises(ConfigurationError, match=f"{name} is damaged: it is not what was written"):
        durable.check_seal(folder)


def test_only_the_files_asked_for_are_compared(folder):
    (folder / "one").unlink()
    durable.check_seal(folder, under="inner/")
    with pytest.raises(ConfigurationError, match="one is damaged: No such file"):
        durable.check_seal(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"files": {}, "sha256": "0"}'])
def test_a_damaged_seal_is_one_line(folder, content):
    (folder / durable.SEAL).write_bytes(content)
    with pytest.raises(ConfigurationError) as error:
        durable.check_seal(folder)
    assert "is damaged" in str(error.value) and "\n" not in str(error.value)


def test_devices_and_pipes_in_a_strangers_folder_are_refused_without_reading_them(folder):
    (folder / "one").unlink()
    os.mkfifo(folder / "one")
    with pytest.raises(ConfigurationError, match="one is damaged: it is not a regular file"):
        durable.check_seal(folder)
    (folder / durable.SEAL).unlink()
    (folder / durable.SEAL).symlink_to("/dev/zero")
    with pytest.raises(ConfigurationError, match=f"{durable.SEAL} cannot be read: it is not a regular file"):
        durable.check_seal(folder)


def test_a_checked_text_is_read_as_it_was_written_and_is_still_yaml(tmp_path):
    durable.write_checked(tmp_path / "plan.yaml", "trials: 3\n")
    assert durable.read_checked(tmp_path / "plan.yaml") == "trials: 3\n"
    assert yaml.safe_load((tmp_path / "plan.yaml").read_text()) == {"trials": 3}


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-1], lambda data: data.replace(b"3", b"7", 1)])
def test_a_damaged_checked_text_is_refused(damage, tmp_path):
    file = tmp_path / "plan.yaml"
    durable.write_checked(file, "trials: 3\n")
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ConfigurationError, match=r"plan.yaml is damaged: it is not what was written"):
        durable.read_checked(file)

"""Output folders: one process at a time writes to each, and a refused run leaves none behind."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

from lad_rllib.errors import ConfigurationError

LOCK_FILE = ".lock"
"""File of an output folder that the process writing there has locked; it holds that process's host and id."""
FETCHED = ".fetched"
"""Folder in an output folder for what comes from storage, until all of it is there."""
_claimed: dict[Path, tuple[FileLock | None, list[Path]]] = {}
"""Output folders of this process: the lock, and the folders that were made for it, innermost first."""


def writable_folder(path: str | Path, *, alone: bool = True) -> Path:
    """Create a folder for results, and keep other processes from it until :func:`release_folders`.

    Args:
        path: The folder.
        alone: Lock it. A lock ends with its process, however that ends.

    Raises:
        ConfigurationError: if it cannot be written to, or another process writes there.
    """
    folder = Path(os.path.expanduser(path))
    key = folder.resolve()
    if key in _claimed:
        return folder
    made = [each for each in (key, *key.parents) if not each.exists()]
    lock = FileLock(key / LOCK_FILE) if alone else None
    _claimed[key] = (None, made)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
        if lock is not None:
            lock.acquire(blocking=False)
            (key / LOCK_FILE).write_text(f"{socket.gethostname()}, process {os.getpid()}", encoding="utf-8")
            _claimed[key] = (lock, made)
    except Timeout:
        raise ConfigurationError(
            f"{folder} is in use by another run, on host {_holder(key / LOCK_FILE)}; wait for its end, or choose "
            "another folder with --output"
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"cannot write to output folder {folder}: {error.strerror}; choose another with --output"
        ) from None
    return folder


def release_folders() -> None:
    """Unlock all output folders; one that was made and holds nothing is removed."""
    while _claimed:
        folder, (lock, made) = _claimed.popitem()
        if lock is not None:
            (folder / LOCK_FILE).unlink(missing_ok=True)
            lock.release()
        for each in made:
            try:
                each.rmdir()
            except OSError:
                break


def _holder(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8") or "unknown"
    except OSError:
        return "unknown"

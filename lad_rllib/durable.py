"""Files that survive a power cut, and folders whose damage is found before anything is read from them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from io import BufferedReader
from pathlib import Path

from lad_rllib.errors import ConfigurationError

SEAL = "sealed.json"
"""File of a sealed folder: the SHA-256 of every other file by its path within the folder, and of this list."""
PREVIOUS = ".previous"
"""Added to the name of a checkpoint for the one before it."""
MAX_SEAL_BYTES = 16 * 2**20
_CHECKSUM = "# sha256 "


def write_file(path: Path, data: str | bytes) -> None:
    """Replace a file: whatever happens, it holds the old content or the new, never a part."""
    beside = path.with_name(f"{path.name}.unfinished")
    try:
        with beside.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_checked(path: Path, text: str) -> None:
    """Replace a text file whose lines may be comments after ``#``, such as YAML; the last one is its checksum."""
    write_file(path, f"{text}{_CHECKSUM}{hashlib.sha256(text.encode()).hexdigest()}\n")


def read_checked(path: Path) -> str:
    """The text of such a file.

    Raises:
        ConfigurationError: if it cannot be read or is not what was written.
    """
    try:
        text, _, checksum = path.read_bytes().rpartition(_CHECKSUM.encode())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    if checksum != f"{hashlib.sha256(text).hexdigest()}\n".encode():
        raise ConfigurationError(f"{path} is damaged: it is not what was written")
    return text.decode()


def append(path: Path, text: str) -> None:
    """Append to a file; the text is on disk when this returns."""
    is_new = not path.exists()
    with path.open("ab") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        sync(path.parent)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def seal(folder: Path) -> None:
    """Write the checksums of a finished folder into it, and flush all of it to disk."""
    paths = sorted(folder.rglob("*"))
    checksums = {_name(file, folder): _sha256(file) for file in _files(paths)}
    write_file(folder / SEAL, json.dumps({"files": checksums, "sha256": _sha256_of(checksums)}, indent=1))
    for path in paths:
        sync(path)


def check_seal(folder: Path, under: str = "") -> None:
    """Compare a sealed folder with its checksums.

    Args:
        folder: See :func:`seal`.
        under: Compare only files whose path within the folder begins so.

    Raises:
        ConfigurationError: names the first file that is missing or is not what was written.
    """
    for name, expected in _read_seal(folder).items():
        if not name.startswith(under):
            continue
        file = folder / name
        try:
            found = _sha256(file)
        except OSError as error:
            raise ConfigurationError(f"{file} is damaged: {error.strerror}") from None
        if found != expected:
            raise ConfigurationError(f"{file} is damaged: it is not what was written")


def _read_seal(folder: Path) -> dict[str, str]:
    file = folder / SEAL
    try:
        with _open(file) as stream:
            held = json.loads(stream.read(MAX_SEAL_BYTES))
        checksums: dict[str, str] = held["files"]
        if held["sha256"] == _sha256_of(checksums):
            return checksums
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, LookupError, RecursionError):
        pass
    raise ConfigurationError(f"{file} is damaged: it is not what was written")


def _sha256_of(checksums: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(checksums, sort_keys=True).encode()).hexdigest()


def _files(paths: list[Path]) -> list[Path]:
    return [path for path in paths if path.is_file() and path.name != SEAL]


def _name(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()


def _open(file: Path) -> BufferedReader:
    """Open a regular file to read; a device or a pipe, of which there may be no end, raises OSError."""
    if not stat.S_ISREG(file.stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    return file.open("rb")


def _sha256(file: Path) -> str:
    with _open(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

"""Storage that all nodes of a cluster reach: a shared folder, S3, or what else pyarrow opens."""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import socket
import sys
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.output_folder import FETCHED, LOCK_FILE

WHOLE = "checkpoint"
"""Sub-folder of results that is replaced as a whole: half of an old and half of a new checkpoint is none."""
_POINTER = "checkpoint.current"
_WHOLE_ON_STORAGE = re.compile(rf"{WHOLE}-[0-9a-f]{{12}}")
"""Name of such a copy on storage; the pointer file holds that of the last complete one, and nothing else."""
_HERE_ONLY = ("checkpoint.unfinished", "checkpoint.previous", "checkpoint.damaged", "replaced", LOCK_FILE, FETCHED)
_PROBE_TIMEOUT_S = 60.0


class Storage:
    """A folder on storage.

    Args:
        uri: A folder, or a URI such as ``s3://bucket/folder`` (``?endpoint_override=…`` for servers other than
            Amazon's), ``gs://…``, ``abfs://…``.

    Raises:
        ConfigurationError: if pyarrow cannot open it.
    """

    def __init__(self, uri: str) -> None:
        from pyarrow import fs

        self.uri = uri if "://" in uri else str(Path(os.path.expanduser(uri)).resolve())
        try:
            self.filesystem, self.root = fs.FileSystem.from_uri(self.uri)
        except (OSError, ValueError, ImportError) as error:
            raise ConfigurationError(f"--storage-path {uri} cannot be opened: {_one_line(error)}") from None

    def write(self, name: str, data: bytes) -> None:
        """Write a file; folders are made as needed."""
        path = posixpath.join(self.root, name)
        self.filesystem.create_dir(posixpath.dirname(path), recursive=True)
        with self.filesystem.open_output_stream(path) as stream:
            stream.write(data)

    def read(self, name: str) -> bytes | None:
        """Contents of a file; None if there is none."""
        try:
            with self.filesystem.open_input_stream(posixpath.join(self.root, name)) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None

    def delete(self, name: str) -> None:
        """Delete a file or a folder, if it is there."""
        from pyarrow import fs

        path = posixpath.join(self.root, name)
        kind = self.filesystem.get_file_info(path).type
        if kind == fs.FileType.Directory:
            self.filesystem.delete_dir(path)
        elif kind == fs.FileType.File:
            self.filesystem.delete_file(path)

    def folders(self, name: str) -> list[str] | None:
        """Names of the folders in a folder; None if there is no such folder."""
        from pyarrow import fs

        try:
            entries = self.filesystem.get_file_info(fs.FileSelector(posixpath.join(self.root, name)))
        except FileNotFoundError:
            return None
        return [entry.base_name for entry in entries if entry.type == fs.FileType.Directory]

    def copy_in(self, source: Path, name: str) -> None:
        """Copy a local file or folder to the storage."""
        from pyarrow import fs

        target = posixpath.join(self.root, name)
        self.filesystem.create_dir(target if source.is_dir() else posixpath.dirname(target), recursive=True)
        fs.copy_files(
            str(source), target, source_filesystem=fs.LocalFileSystem(), destination_filesystem=self.filesystem
        )

    def copy_out(self, name: str, target: Path) -> None:
        """Copy a folder of the storage to a local one."""
        from pyarrow import fs

        target.mkdir(parents=True, exist_ok=True)
        source = posixpath.join(self.root, name)
        fs.copy_files(
            source, str(target), source_filesystem=self.filesystem, destination_filesystem=fs.LocalFileSystem()
        )

    def check(self) -> None:
        """Write, read and delete a small file from here.

        Raises:
            ConfigurationError: if that does not work.
        """
        probe = f".probe-{uuid.uuid4().hex}"
        try:
            self.write(probe, b"here")
            self.delete(probe)
        except OSError as error:
            raise ConfigurationError(
                f"cannot write to --storage-path {self.uri}: {_one_line(error)}; check the path and the credentials"
            ) from None

    def check_from_nodes(self) -> None:
        """See that every node of the cluster writes to the same place as this one.

        Raises:
            ConfigurationError: naming the first node that does not.
        """
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self.check()
        nodes = [node for node in ray.nodes() if node["Alive"]]
        if len(nodes) < 2:
            return
        probe = f".probe-{uuid.uuid4().hex}"
        self.write(f"{probe}/driver", b"here")
        try:
            ask = ray.remote(num_cpus=0, max_retries=0)(_probe)
            asked = {
                ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                    self.uri, probe
                ): node["NodeManagerAddress"]
                for node in nodes
            }
            for answer, address in asked.items():
                try:
                    problem = ray.get(answer, timeout=_PROBE_TIMEOUT_S)
                except ray.exceptions.RayError as error:
                    problem = _one_line(error)
                if problem:
                    raise ConfigurationError(
                        f"--storage-path {self.uri} is not usable from node {address}: {problem}; give a folder that "
                        f"all nodes mount, or a URI such as s3://bucket/folder"
                    )
        finally:
            self.delete(probe)


def _probe(uri: str, probe: str) -> str:
    """What keeps this node from sharing the storage with the driver; empty if nothing does."""
    try:
        storage = Storage(uri)
        if storage.read(f"{probe}/driver") is None:
            return "it does not see the files that the driver writes there"
        storage.write(f"{probe}/{socket.gethostname()}-{uuid.uuid4().hex}", b"here")
    except (OSError, ConfigurationError) as error:
        return _one_line(error)
    return ""


class SharedCopy:
    """The copy of a results folder on storage, under the folder's name; does nothing without storage.

    A checkpoint goes to a folder of its own and is pointed to when it is complete.

    Args:
        folder: Local folder of results.
        storage_path: See :class:`Storage`; None: no copy.
        name: Another name for the copy.
    """

    def __init__(self, folder: Path, storage_path: str | None, name: str | None = None) -> None:
        self.folder, self.name = folder, name or folder.resolve().name
        self.storage = Storage(storage_path) if storage_path else None
        self._pushed: dict[str, tuple[int, int]] = {}

    @property
    def place(self) -> str:
        """Where the results are, for people: the copy, if there is one."""
        return str(self.folder.resolve()) if self.storage is None else f"{self.folder.resolve()} and {self._url()}"

    def _url(self) -> str:
        assert self.storage is not None
        base, mark, query = self.storage.uri.partition("?")
        return f"{base.rstrip('/')}/{self.name}{mark}{query}"

    def fetch(self) -> None:
        """Take over the results on storage, if this machine has none; a fetch that was cut short begins anew.

        Raises:
            ConfigurationError: if they cannot be copied, or are of no use.
        """
        if self.storage is None:
            return
        fetched = self.folder / FETCHED
        if not fetched.exists() and any(path.name != LOCK_FILE for path in self.folder.iterdir()):
            return
        shutil.rmtree(fetched, ignore_errors=True)
        try:
            if self.storage.folders(self.name) is None:
                return
            self.storage.copy_out(self.name, fetched)
        except OSError as error:
            shutil.rmtree(fetched, ignore_errors=True)
            raise ConfigurationError(
                f"cannot fetch the results from {self._url()}: {_one_line(error)}; repeat the command to try again"
            ) from None
        pointer = fetched / _POINTER
        if pointer.exists():
            whole = pointer.read_text(encoding="utf-8", errors="replace")
            if not _WHOLE_ON_STORAGE.fullmatch(whole) or not (fetched / whole).is_dir():
                shutil.rmtree(fetched)
                raise ConfigurationError(
                    f"{_POINTER} in {self._url()} does not name a checkpoint beside it; write the name of a whole "
                    f"{WHOLE}-… folder into it"
                )
            (fetched / whole).rename(fetched / WHOLE)
            pointer.unlink()
        for unfinished in fetched.glob(f"{WHOLE}-*"):
            shutil.rmtree(unfinished)
        for path in fetched.iterdir():
            target = self.folder / path.name
            if target.is_dir():
                shutil.rmtree(target)
            path.rename(target)
        fetched.rmdir()

    def push(self) -> None:
        """Copy what is new or has changed; a storage that fails is a warning, since the results are here, too."""
        if self.storage is None:
            return
        try:
            self._push(self.storage)
        except OSError as error:
            print(f"warning: no copy to {self._url()}: {_one_line(error)}", file=sys.stderr, flush=True)

    def _push(self, storage: Storage) -> None:
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if path.is_file() and name.partition("/")[0] not in (WHOLE, *_HERE_ONLY):
                self._push_new(name, path, partial(storage.copy_in, path, f"{self.name}/{name}"))
        whole = self.folder / WHOLE
        if whole.is_dir():
            self._push_new(WHOLE, whole, partial(self._push_whole, storage, whole))

    def _push_new(self, name: str, path: Path, copy: Callable[[], None]) -> None:
        """Copy what was not copied yet as it is now."""
        status: Any = path.stat()
        mark = (status.st_mtime_ns, status.st_ino if path.is_dir() else status.st_size)
        if self._pushed.get(name) != mark:
            copy()
            self._pushed[name] = mark

    def _push_whole(self, storage: Storage, whole: Path) -> None:
        """Copy a checkpoint, point to it, and delete those before it with what failed copies left."""
        new = f"{WHOLE}-{uuid.uuid4().hex[:12]}"
        storage.copy_in(whole, f"{self.name}/{new}")
        storage.write(f"{self.name}/{_POINTER}", new.encode())
        for other in storage.folders(self.name) or []:
            if other != new and _WHOLE_ON_STORAGE.fullmatch(other):
                storage.delete(f"{self.name}/{other}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

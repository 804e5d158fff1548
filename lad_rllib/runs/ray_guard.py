"""Run as a process of its own beside a local Ray: waits until its parent has ended, then removes what is left of Ray.

Ray's servers end with the process that started them, but their agents live on after a SIGKILL. Arguments: the folder of
Ray's session, the folder of the Ray package. Standard input is a pipe from the parent, which ends with it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path

import psutil


def wait_for_parent() -> None:
    """Return when the parent has ended."""
    while sys.stdin.buffer.read(1):
        pass


def processes_of(session: Path, package: str) -> list[psutil.Process]:
    """Ray's own processes that have files of the session open."""
    return [process for process in psutil.process_iter() if _belongs(process, session, package)]


def _belongs(process: psutil.Process, session: Path, package: str) -> bool:
    try:
        words = process.cmdline()
        is_ray = any(word.startswith(("ray::", package)) for word in words[:3])
        return is_ray and any(Path(file.path).is_relative_to(session) for file in process.open_files())
    except psutil.Error:  # it has ended, or is another user's
        return False


def remove(session: Path, package: str) -> None:
    """End the session's processes and remove its folder."""
    left = processes_of(session, package)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=5)
    shutil.rmtree(session, ignore_errors=True)
    latest = session.with_name("session_latest")
    with contextlib.suppress(OSError):
        if os.readlink(latest) == str(session):
            latest.unlink()


if __name__ == "__main__":
    wait_for_parent()
    remove(Path(sys.argv[1]), sys.argv[2])

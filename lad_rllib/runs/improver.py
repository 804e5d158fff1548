"""Looks for a better policy for a running service at regular times, in a process of its own that gives way to it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.improve import RECORD
from lad_rllib.runs.service_client import ServiceClient

KEPT = 5
"""Latest improvements whose folders are kept, besides those of policies that the service has or tries."""

END_S = 20.0
"""Time that a training has to end [s]."""


class Improver:
    """Runs ``lad-rllib improve`` for a service every so often; use it as a context manager.

    Args:
        url: Where the service listens.
        log: Folder of its decision log.
        folder: Each improvement gets a folder in this one.
        every_s: Time between the ends and the beginnings of improvements, and before the first [s].
        say: Takes lines about what happens.
        amounts: More words of the command: how much it learns from and judges.
    """

    def __init__(
        self,
        url: str,
        log: str,
        folder: Path,
        every_s: float,
        say: Callable[[str], object],
        amounts: Sequence[str] = (),
    ) -> None:
        self._url, self._log, self._folder, self._every_s, self._say = url, log, folder, every_s, say
        self._amounts = amounts
        self._closed, self._lock = threading.Event(), threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, name="improver", daemon=True)

    def __enter__(self) -> Improver:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._closed.set()
            process = self._process
        if process is not None and process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(self._every_s):
            try:
                self.improve()
            except (ConfigurationError, OSError) as error:  # a service that does not answer now, a full disk
                self._say(f"improve: {error}; it is tried again")

    def improve(self) -> None:
        """Look for a better policy once, and have the service try it."""
        output = self._folder / datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        told = ["--serve", self._url, "--log", self._log, "--output", str(output), "--background", *self._amounts]
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        with self._lock:
            if self._closed.is_set():
                return
            self._process = process = subprocess.Popen(
                [sys.executable, "-m", "lad_rllib.cli", "improve", *told],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the service, which ends this
            )
        said, _ = process.communicate()
        if not self._closed.is_set():
            lines = said.strip().splitlines() or [f"it ended with status {process.returncode}"]
            verdict = next((line for line in lines if line.startswith("verdict: ")), lines[-1])
            self._say(f"improve: {verdict.removeprefix('verdict: ')} ({output})")
            if not (output / RECORD).exists():
                shutil.rmtree(output, ignore_errors=True)  # it came to nothing, and has a copy of the log
            self._forget_old()

    def _forget_old(self) -> None:
        """Delete the folders of old improvements, unless the service has their policies."""
        policies = ServiceClient(self._url).policies()
        used = {policies["policy"], (policies["trial"] or {}).get("policy")}
        used |= {record["previous"] for record in policies["records"]}
        folders = sorted(path.parent for path in self._folder.glob(f"*/{RECORD}"))
        for folder in folders[:-KEPT]:
            if not any(policy and Path(policy).is_relative_to(folder.resolve()) for policy in used):
                shutil.rmtree(folder, ignore_errors=True)

"""``lad-rllib serve`` as a process of its own, for benchmarks that are its clients."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from lad_rllib.errors import ConfigurationError

START_S, END_S = 600.0, 60.0
"""Longest wait until a service answers, and until it has ended [s]."""


@contextlib.contextmanager
def serving(fleet: Mapping[str, Any], api: Mapping[str, Any]) -> Iterator[str]:
    """A service that runs in front of a fleet; its address.

    Args:
        fleet: The fleet, as in a fleet file.
        api: Fields of ``ApiSettings``.

    Raises:
        ConfigurationError: if it does not start, with the last it said.
    """
    with tempfile.TemporaryDirectory(prefix="lad_rllib_") as scratch:
        folder, port = Path(scratch), free_port()
        command = [sys.executable, "-m", "lad_rllib.cli", "serve", "--port", str(port)]
        for flag, name, content in (("--fleet", "fleet.yaml", fleet), ("--api-settings", "api.yaml", api)):
            (folder / name).write_text(yaml.safe_dump(dict(content)), encoding="utf-8")
            command += [flag, str(folder / name)]
        with (folder / "said").open("w+") as said:
            running = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                yield _address(running, f"http://127.0.0.1:{port}", Path(said.name))
            finally:
                running.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    running.wait(END_S)
                running.kill()


def _address(running: subprocess.Popen[bytes], url: str, said: Path) -> str:
    """The address, once the service answers there."""
    limit = time.monotonic() + START_S
    while time.monotonic() < limit and running.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/healthz").status_code == 200:
                return url
        time.sleep(0.2)
    raise ConfigurationError(f"the service has not started: {' '.join(said.read_text().split()[-60:])}")


def free_port() -> int:
    """A port where nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

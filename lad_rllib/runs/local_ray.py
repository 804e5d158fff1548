"""A Ray of this process's own: it ends with the process, however that ends, and takes its processes and files along."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.signals import Interrupted

SYSTEM_CONFIG = {"task_events_report_interval_ms": 0, "prestart_worker_first_driver": False}
"""Settings of a Ray that is one command's.

Ray would keep what became of the latest 100,000 calls for its dashboard, which does not run: 4 KB for each. It would
also start an idle worker for each core, whether the command needs any or not: 0.8 s of a core for each.
"""

ENVIRONMENT = {
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_worker_niceness": "0",
}
"""Environment of Ray's processes, where the user's does not say otherwise.

Serve ends a proxy that is not ready within 5 s, as on a busy machine, and whoever starts Serve waits for that very one:
"the actor died unexpectedly". The code of a replica runs in Serve's event loop, where Serve would otherwise hand each
message to another one: what takes long is done in threads anyway. Workers have the niceness of the command; at Ray's 15
any other program starves them.
"""

_GUARD = Path(__file__).with_name("ray_guard.py")
_GUARD_TIMEOUT_S = 20.0
_guards: list[subprocess.Popen[bytes]] = []


def start(num_cpus: int, num_gpus: int, **options: Any) -> None:
    """Start Ray on this machine; a guard process removes what is left of it once this process has ended.

    It listens on 127.0.0.1 alone.

    Args:
        num_cpus: Logical CPUs.
        num_gpus: GPUs.
        options: More arguments of ``ray.init``.

    Raises:
        Interrupted: at a signal.
        ConfigurationError: if Ray does not start, as on a machine that is too busy.
    """
    import ray
    from ray._private import auto_init_hook

    auto_init_hook.enable_auto_connect = True
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        with on_loopback():
            context = initialise(
                address="local",
                num_cpus=num_cpus,
                num_gpus=num_gpus or None,
                include_dashboard=False,
                _system_config=SYSTEM_CONFIG,
                **options,
            )
    except Exception as error:  # Ray raises plain Exceptions, too
        raise ConfigurationError(
            f"Ray could not be started on this machine: {first_line(error)}; if the machine is busy, try again later; "
            f"Ray's logs are in /tmp/ray/session_latest/logs"
        ) from error
    command = [sys.executable, "-P", str(_GUARD), context.address_info["session_dir"], str(Path(ray.__file__).parent)]
    _guards.append(
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    )
    atexit.register(end)  # runs before Ray's own


def first_line(error: BaseException) -> str:
    """The first line of what an error says, without its full stop; the error's type if it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def has_started() -> bool:
    """Whether :func:`start` has started a Ray that runs."""
    return bool(_guards)


def end() -> None:
    """End the Ray that :func:`start` started, if there is one; returns when nothing is left of it."""
    if not _guards:
        return
    import ray
    from ray._private import auto_init_hook

    auto_init_hook.enable_auto_connect = False  # a thread that still asks Ray for something must not start another one
    ray.shutdown()
    while _guards:
        guard = _guards.pop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            guard.communicate(timeout=_GUARD_TIMEOUT_S)  # closes the pipe that it waits at


@contextlib.contextmanager
def on_loopback() -> Iterator[None]:
    """Where a Ray that is started listens on 127.0.0.1 alone, and one that does so can be connected to.

    Ray means this switch for Windows and macOS; Ray 2.60 follows it on Linux, too.
    """
    from ray._private import ray_constants

    name, before = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, ray_constants.ENABLE_RAY_CLUSTER
    given = os.environ.get(name)
    os.environ[name], ray_constants.ENABLE_RAY_CLUSTER = "0", False  # Ray's processes read the former
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        if given is None:
            del os.environ[name]
        else:
            os.environ[name] = given


def initialise(**options: Any) -> Any:
    """``ray.init``, with signals as commands mean them.

    Ray's processes inherit blocked signals: a closed terminal or Ctrl-C must reach this process alone, which then ends
    them. Both wait here until Ray is there. For SIGTERM, Ray has a handler that exits the process with status 15.
    """
    import ray

    if threading.current_thread() is not threading.main_thread():
        return ray.init(**options)
    held, on_term = {signal.SIGINT, signal.SIGHUP}, signal.getsignal(signal.SIGTERM)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        return ray.init(**options)
    except SystemExit:
        raise Interrupted(signal.SIGTERM) from None
    finally:
        signal.signal(signal.SIGTERM, on_term)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

"""Files of a small emulated fleet and of its setting, and the commands that run on it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from lad_rllib.cli import main
from tests.envs.live_fleets import FLEET, setting

ROOT = Path(__file__).resolve().parents[2]
COMMAND = ["-c", "import sys; from lad_rllib.cli import main; sys.exit(main(sys.argv[1:]))"]
"""What makes Python ``lad-rllib``, in a process of its own."""


def fleet_file(folder, servers=None, **changes):
    """Fleet of three stations and two servers that draw pictures; ``servers`` has changes of each server."""
    each = [
        server | {"make_png": True, **change}
        for server, change in zip(FLEET["servers"], servers or [{}, {}], strict=True)
    ]
    return written(folder / "two.yaml", FLEET | {"servers": each} | changes)


def setting_file(folder):
    """Setting of that fleet: episodes of five slots, of which four are decided."""
    return written(folder / "setting.yaml", setting())


def written(path, values):
    """Write values as YAML; returns the path as a command takes it."""
    path.write_text(yaml.safe_dump(values))
    return str(path)


def error_of(capsys, *arguments):
    """Run a command that must fail at once; returns its one line of complaint."""
    assert main([str(argument) for argument in arguments]) == 2
    return the_line(capsys.readouterr().err)


def the_line(stderr):
    """The only line of an output."""
    lines = stderr.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def interrupted(command, until, timeout_s=60.0):
    """Run a command in a process of its own, and press Ctrl-C when ``until()`` is true.

    Returns:
        Exit status, and the last line on standard error.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + timeout_s
        while not until():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "it never came so far"
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=timeout_s)
        return process.returncode, stderr.strip().splitlines()[-1]
    finally:
        process.kill()
        process.wait()

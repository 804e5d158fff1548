"""Where results come from: the command, the source's commit, and the machine."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from lad_rllib import __version__


def command_line() -> str:
    """The command that runs, as one would type it; ``--resume`` is left out, since it leads to the same results."""
    script, module = Path(sys.argv[0]), getattr(sys.modules["__main__"], "__spec__", None)
    if module is not None:
        program = ["python", "-m", module.name.removesuffix(".__main__")]
    else:
        program = ["python", f"{script.parent.name}/{script.name}"] if script.suffix == ".py" else [script.name]
    return shlex.join([*program, *(argument for argument in sys.argv[1:] if argument != "--resume")])


_SOURCE = Path(__file__).resolve().parents[2]


def source_commit(source: Path = _SOURCE) -> str | None:
    """Commit of a source tree, by default of that which the package runs from; None: it is none."""
    if not (source / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(source), "describe", "--always", "--dirty"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def provenance() -> str:
    """What is needed to make a result again, as a sentence in Markdown."""
    return (
        f"Command: `{command_line()}`; commit {source_commit()}; "
        f"{platform.machine()}, Python {platform.python_version()}."
    )


def machine() -> dict[str, Any]:
    """Versions, commit, platform and number of CPUs."""
    return {
        "lad_rllib": __version__,
        "commit": source_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
    }

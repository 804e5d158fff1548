"""How benchmarks report: rows as a Markdown table, and what a figure must say about where it is from."""

from __future__ import annotations

import platform
import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any


def show(rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table."""

    def cell(value: Any) -> str:
        if not isinstance(value, float):
            return str(value)
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

    head = list(rows[0])
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(cell(row.get(key, "")) for key in head) + " |" for row in rows])


def provenance(script: str, processors: str) -> dict[str, str]:
    """Command, commit, machine and versions of a run of a script on so much of the machine."""
    from lad_rllib.runs.provenance import source_commit

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {
        "command": shlex.join(["python", script, *sys.argv[1:]]),
        "commit": str(source_commit()),
        "machine": f"{cpu}, {processors}, {platform.system()}",
        "versions": ", ".join(f"{name} {version(name)}" for name in ("ray", "torch", "numpy")),
    }

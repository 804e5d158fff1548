"""How benchmarks report: figures as CSV, tables as Markdown, and where a figure is from."""

from __future__ import annotations

import csv
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lad_rllib.runs.provenance import command_line, source_commit
from lad_rllib.runs.tables import markdown_table

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def show(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table."""

    def cell(value: Any) -> str:
        if not isinstance(value, float):
            return str(value)
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

    head = list(rows[0])
    return markdown_table(head, [[cell(row.get(key, "")) for key in head] for row in rows])


def provenance(processors: str) -> dict[str, str]:
    """Command, commit, machine and versions of this run, on so much of the machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {
        "command": command_line(),
        "commit": str(source_commit()),
        "machine": f"{cpu}, {processors}, {platform.system()}",
        "versions": ", ".join(f"{name} {version(name)}" for name in ("ray", "torch", "numpy")),
    }


def write_figures(
    path: Path, columns: Sequence[str], figures: Iterable[Sequence[object]], about: Mapping[str, str]
) -> None:
    """Write a CSV file with one line per figure, each with where it is from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, *about])
        writer.writerows([*figure, *about.values()] for figure in figures)


def write_page(path: Path, title: str, about: Mapping[str, str], *parts: str) -> None:
    """Write a page in Markdown: title, where the figures are from, then paragraphs and tables."""
    facts = "\n".join(f"- {key}: {value}" for key, value in about.items())
    path.write_text("\n\n".join([f"# {title}", facts, *parts]) + "\n", encoding="utf-8")

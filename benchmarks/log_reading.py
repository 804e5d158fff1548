"""CPU time and peak memory of reading a request log with a long column that is not needed, each in its own process.

    python -m benchmarks.log_reading                one million rows with prompts of 400 characters, CSV and Parquet
    python -m benchmarks.log_reading --rows 16000   about as many as the public log's first part

Ways of reading: `read_trace`, column by column and piece by piece; and, as the yardstick, pandas with the whole table
in memory, as a first version did. They take turns. Memory is the process's peak above the same process without a log.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import ROOT, provenance, show

WAYS = ("nothing", "read_trace", "pandas")


def write_logs(folder: Path, rows: int, characters: int) -> list[Path]:
    """The same made-up log as CSV and Parquet."""
    import pyarrow as pa
    from pyarrow import csv
    from pyarrow import parquet as pq

    rng = np.random.default_rng(0)
    words = np.array(["castle", "river", "watercolour", "portrait", "of", "a", "light", "misty"])
    prompts = [" ".join(words[rng.integers(len(words), size=characters // 6)])[:characters] for _ in range(997)]
    table = pa.table(
        {
            "gmt_create": pa.array(np.arange(rows) * 3_000_000, pa.timestamp("us")),
            "predict_type": pa.repeat("TXT_2_IMG", rows),
            "predict_status": pa.repeat("SUCCEED", rows),
            "exec_time_seconds": rng.integers(5, 60, rows).astype(float),
            "groupId": pa.array(np.char.add("G", rng.integers(2700, size=rows).astype(str))),
            "prompt": pa.array([prompts[index] for index in rng.integers(len(prompts), size=rows)]),
            "prompt_length": rng.integers(5, 400, rows),
            "negative_prompt_length": rng.integers(0, 100, rows),
            "num_images_per_prompt": rng.integers(1, 5, rows),
            "num_inference_steps": rng.integers(10, 50, rows),
        }
    )
    paths = [folder / "log.csv", folder / "log.parquet"]
    csv.write_csv(table, paths[0])
    pq.write_table(table, paths[1], use_dictionary=False)
    return paths


def read(way: str, path: Path) -> dict[str, float]:
    """CPU time and the process's peak memory of one reading; runs in a process of its own."""
    import pandas as pd

    from lad_rllib.simulator import read_trace

    begin = time.process_time()
    if way == "read_trace":
        read_trace(path)
    elif way == "pandas" and path.suffix == ".csv":
        pd.read_csv(path, dtype=str, index_col=False)
    elif way == "pandas":
        pd.read_parquet(path)
    cpu = time.process_time() - begin
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {"cpu_s": cpu, "peak_mib": float(peak.split()[1]) / 1024}


def measure(paths: list[Path], repeats: int) -> list[dict[str, Any]]:
    """A row for each file and way; the ways take turns."""
    taken: dict[tuple[str, str], list[dict[str, float]]] = {}
    for _ in range(repeats):
        for path in paths:
            for way in WAYS:
                command = [sys.executable, "-m", "benchmarks.log_reading", "--read", way, str(path)]
                answer = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout
                taken.setdefault((path.suffix, way), []).append(json.loads(answer))
    rows: list[dict[str, Any]] = []
    for (suffix, way), measured in taken.items():
        if way == "nothing":
            base = statistics.median(one["peak_mib"] for one in measured)
            continue
        seconds = statistics.median(one["cpu_s"] for one in measured)
        memory = statistics.median(one["peak_mib"] for one in measured) - base
        rows.append({"file": suffix, "way": way, "cpu_s": seconds, "memory_mib": memory})
    for row in rows:
        own = next(r for r in rows if r["file"] == row["file"] and r["way"] == "read_trace")
        row |= {
            "time_over": row["cpu_s"] / own["cpu_s"],
            "memory_over": row["memory_mib"] / max(own["memory_mib"], 1.0),
        }
    return rows


def main() -> None:
    """Write the logs, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--characters", type=int, default=400, help="of a prompt (400)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    parser.add_argument("--read", nargs=2, metavar=("WAY", "FILE"), help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.read:
        print(json.dumps(read(parsed.read[0], Path(parsed.read[1]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        paths = write_logs(Path(folder), parsed.rows, parsed.characters)
        sizes = ", ".join(f"{path.suffix} {path.stat().st_size / 2**20:,.0f} MiB" for path in paths)
        rows = measure(paths, parsed.repeats)
    print(f"{parsed.rows:,} rows, prompts of {parsed.characters} characters ({sizes})\n\n{show(rows)}")
    if parsed.output:
        figures = {**provenance("1 core"), "rows": parsed.rows, "measured": rows}
        parsed.output.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

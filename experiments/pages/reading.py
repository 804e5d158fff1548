"""Files of results, and how their numbers are shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS, BENCHMARKS = ROOT / "experiments" / "results", ROOT / "benchmarks" / "results"
METHODS = {"lad-ts": "LAD-TS", "sac-ts": "SAC-TS", "d2sac-ts": "D2SAC-TS", "dqn-ts": "DQN-TS"}
ORACLE, BOUND, PROPORTIONAL = "greedy-oracle", "lower bound", "capacity-proportional"
SCHEDULERS = {ORACLE: "greedy oracle (Opt-TS)", BOUND: "lower bound of any schedule"}
NO_SPREAD = float("nan")

Table = tuple[Sequence[str], Iterable[Sequence[str]]]
"""Titles of the columns, and rows."""


def read(stem: str, folder: Path = EXPERIMENTS, **columns: Any) -> pd.DataFrame:
    """A file of results; ``columns`` are arguments of pandas, such as ``dtype=str`` to show numbers as they stand."""
    return pd.read_csv(folder / f"{stem}.csv", **columns)


def significant(value: float) -> str:
    """Three digits."""
    return "" if pd.isna(value) else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"

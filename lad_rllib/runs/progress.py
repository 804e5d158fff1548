"""Progress on a terminal: bars of what a command does, and the line of a training run, with plain lines elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lad_rllib import names

_LINES = 20

SAY_SLOT_S = 5.0
"""Least time between two lines about slots [s]."""


def bars() -> Progress:
    """Bars on standard error that are gone at the end; nothing where that is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def time_is_over(seconds: float | None) -> Callable[[], bool]:
    """Whether more than so many seconds [s] have passed since this call; never if there are none."""
    began = time.monotonic()
    return lambda: seconds is not None and time.monotonic() - began > seconds


class SaysWhen:
    """Prints lines, each with the seconds since it was made."""

    def __init__(self) -> None:
        self._began_s = time.perf_counter()

    def __call__(self, line: str) -> None:
        """Print a line."""
        print(f"{time.perf_counter() - self._began_s:6.1f} s  {line}", flush=True)


class TrainingDisplay:
    """Shows episode, mean delay, delay against the greedy oracle, and the time left.

    The time left is estimated from the second iteration on: the first one starts and compiles what it needs.

    Args:
        total: Episodes of the whole run.
        done: Episodes trained before.
        quiet: Show nothing.
    """

    def __init__(self, total: int, done: int, *, quiet: bool = False) -> None:
        self._total, self._done, self._quiet = total, done, quiet
        self._recent: deque[dict[str, Any]] = deque(maxlen=10)
        self._console = Console()
        self._next_line = self._done_now = done
        self._said_slot = 0.0
        self._started: tuple[float, int] | None = None
        self._live = Progress(
            TextColumn("training"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._live.add_task("", total=total, completed=done, status="", left="")

    def __enter__(self) -> TrainingDisplay:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def update(self, row: dict[str, Any]) -> None:
        """Show a new row of ``progress.csv``."""
        self._recent.append(row)
        delay = sum(r[names.MEAN_DELAY] for r in self._recent) / len(self._recent)
        ratio = sum(r[names.DELAY_OVER_ORACLE] for r in self._recent) / len(self._recent)
        status = (
            f"delay {row[names.MEAN_DELAY]:6.2f} s, {row[names.DELAY_OVER_ORACLE]:5.3f} x oracle "
            f"(last {len(self._recent)}: {delay:6.2f} s, {ratio:5.3f} x)"
        )
        if names.FAILED_TASKS in row:
            status += f", failed {row[names.FAILED_TASKS]}/{row[names.ENDED_TASKS]} tasks"
        self._done_now = done = row["episodes"]
        left = self._time_left(done)
        self._live.update(self._task, completed=min(done, self._total), status=status, left=left)
        if self._quiet or self._console.is_terminal:
            return
        if done >= self._next_line or done >= self._total:
            print(f"episode {done:4d}/{self._total}  {status}  {left}".rstrip(), flush=True)
            self._next_line = done + max(self._total // _LINES, 1)

    def show_slot(self, slot: int, slots: int) -> None:
        """Show how far the present episode is, on a terminal each time and elsewhere every few seconds."""
        where = f"slot {slot}/{slots}"
        self._live.update(self._task, status=where)
        now = time.monotonic()
        if not (self._quiet or self._console.is_terminal) and now - self._said_slot >= SAY_SLOT_S:
            self._said_slot = now
            print(f"episode {self._done_now + 1:4d}/{self._total}  {where}", flush=True)

    def _time_left(self, done: int) -> str:
        """Time left after so many episodes; empty after the first iteration, of which nothing can be told."""
        now = time.perf_counter()
        if self._started is None:
            self._started = (now, done)
            return ""
        since, before = self._started
        return f"left {(now - since) / max(done - before, 1) * max(self._total - done, 0):5.0f} s"

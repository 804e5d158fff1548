"""What the benchmark of scaling says: speed-ups and efficiencies as rows, tables, words and a picture."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import show, write_page
from benchmarks.scaling_points import AXES, Axis, Point
from lad_rllib.runs.plots import pyplot, save

Row = dict[str, Any]

COLUMNS = (
    *("axis", "label", "servers", "stations", "env_runners", "envs", "learners", "batch", "gpu", "status"),
    *("repeats", "episodes", "episodes_per_s", "base_episodes_per_s", "slots_per_s", "updates_per_s"),
    *("updates_per_episode", "speed_up", "speed_up_min", "speed_up_max", "linear", "efficiency", "time_over_base"),
    *("time_over_linear", "updating_share", "sharing_share", "update_ms", "base_update_ms"),
    *("base_updating_share", "base_episodes_per_s_min", "base_episodes_per_s_max"),
)
"""Figures of ``scaling.csv``, before the columns that say where they are from."""

TABLE = (
    *("changed", "episodes/s", "base line's", "speed-up", "linear", "efficiency", "time ÷ size", "updates/s"),
    *("time in updates", "in sharing weights"),
)
"""Columns of the table that is printed."""

MIN_REPEATS = 3
"""With fewer repeats a spread says nothing."""


@dataclass(frozen=True)
class Run:
    """What one measurement saw.

    Attributes:
        wall_s: Wall time [s].
        updating_s: Of it in updates, with the drawing of their transitions and the way to the learner and back [s].
        sharing_s: Of it in giving the runners new weights [s].
        episodes: Episodes played.
        slots: Slots decided, of all environments.
        updates: Updates of all stations.
    """

    wall_s: float
    updating_s: float
    sharing_s: float
    episodes: int
    slots: int
    updates: int

    @property
    def episode_s(self) -> float:
        """Wall time of an episode [s]."""
        return self.wall_s / self.episodes


def speed_ups(runs: Sequence[Run], base_runs: Sequence[Run]) -> list[float]:
    """How many times as many episodes per second as the base line's runs just before and just after.

    Args:
        runs: Runs of a point.
        base_runs: Runs of the base line: one before each of ``runs``, and one after the last.
    """
    around = zip(base_runs, base_runs[1:], strict=False)
    return [
        (before.episode_s + after.episode_s) / 2 / run.episode_s
        for run, (before, after) in zip(runs, around, strict=True)
    ]


def row_of(point: Point, runs: Sequence[Run], base_runs: Sequence[Run]) -> Row:
    """All figures of a point; medians over its runs."""
    ratios = speed_ups(runs, base_runs)
    speed_up = statistics.median(ratios)
    base_rates = [1 / run.episode_s for run in base_runs]
    return _about(point) | {
        "status": "measured",
        "repeats": len(runs),
        "episodes": runs[0].episodes,
        "episodes_per_s": statistics.median(1 / run.episode_s for run in runs),
        "base_episodes_per_s": statistics.median(base_rates),
        "slots_per_s": statistics.median(run.slots / run.wall_s for run in runs),
        "updates_per_s": statistics.median(run.updates / run.wall_s for run in runs),
        "updates_per_episode": runs[0].updates / runs[0].episodes,
        "speed_up": speed_up,
        "speed_up_min": min(ratios),
        "speed_up_max": max(ratios),
        "linear": point.linear,
        "efficiency": speed_up / point.linear,
        "time_over_base": 1 / speed_up,
        "time_over_linear": point.linear / speed_up,
        "updating_share": _share(runs, "updating_s"),
        "sharing_share": _share(runs, "sharing_s"),
        "update_ms": _update_ms(runs),
        "base_update_ms": _update_ms(base_runs),
        "base_updating_share": _share(base_runs, "updating_s"),
        "base_episodes_per_s_min": min(base_rates),
        "base_episodes_per_s_max": max(base_rates),
    }


def not_run(point: Point, reason: str) -> Row:
    """Row of a point that could not be measured."""
    return _about(point) | {"status": f"not run: {reason}", "linear": point.linear}


def _about(point: Point) -> Row:
    return {key: value for key, value in asdict(point).items() if key in COLUMNS}


def _share(runs: Sequence[Run], part: str) -> float:
    return statistics.median(getattr(run, part) / run.wall_s for run in runs)


def _update_ms(runs: Sequence[Run]) -> float:
    return statistics.median(run.updating_s / max(run.updates, 1) * 1e3 for run in runs)


def table_row(row: Row) -> dict[str, Any]:
    """The figures that a reader looks at first."""
    changed = _name(row)
    if row["status"] != "measured":
        return dict.fromkeys(TABLE, "") | {"changed": changed, "episodes/s": row["status"]}
    figures = (
        changed,
        row["episodes_per_s"],
        row["base_episodes_per_s"],
        f"{row['speed_up']:.2f} ({row['speed_up_min']:.2f}-{row['speed_up_max']:.2f})",
        row["linear"],
        row["efficiency"],
        row["time_over_linear"] if AXES[row["axis"]].is_size else "",
        row["updates_per_s"],
        f"{row['updating_share']:.0%}",
        f"{row['sharing_share']:.0%}",
    )
    return dict(zip(TABLE, figures, strict=True))


def _name(row: Row) -> str:
    return f"{AXES[row['axis']].title}: {row['label']}"


# -- In words ---------------------------------------------------------------------------------------------------------


def reading(rows: Sequence[Row], cores: int) -> str:
    """One paragraph that says what the measured rows mean; each claim follows from their figures."""
    measured = [row for row in rows if row["status"] == "measured"]
    if not measured:
        return "Nothing was measured."
    least = min(row["base_episodes_per_s_min"] for row in measured)
    most = max(row["base_episodes_per_s_max"] for row in measured)
    share = statistics.median(row["base_updating_share"] for row in measured)
    said = [
        f"The base line trained {statistics.median(row['base_episodes_per_s'] for row in measured):.2f} episodes per "
        f"second (single measurements {least:.2f} to {most:.2f}: so much did the machine's speed change) on "
        f"{cores} cores.",
        f"It spends {share:.0%} of its time in updates, which follow one another: more runners or environments only "
        f"shorten the rest, and cannot make training more than {1 / share:.2f} times as fast.",
    ]
    for name, axis in AXES.items():
        own = [row for row in measured if row["axis"] == name]
        if own:
            said.append(_size_in_words(axis, own) if axis.is_size else _workers_in_words(axis, own))
    crowded = [row for row in measured if 1 + row["env_runners"] + row["learners"] > cores]
    if crowded:
        said.append(f"More processes than cores: {'; '.join(map(_name, crowded))}.")
    left_out = [f"{_name(row)} ({row['status']})" for row in rows if row not in measured]
    if left_out:
        said.append(f"Left out: {'; '.join(left_out)}.")
    return " ".join(said)


def verdict(row: Row) -> str:
    """Whether a point is faster than the base line, as far as its repeats tell."""
    if row["repeats"] < MIN_REPEATS:
        return "too few repeats to tell"
    if row["speed_up_min"] > 1:
        return "faster"
    return "slower" if row["speed_up_max"] < 1 else "no different within the spread"


def _workers_in_words(axis: Axis, rows: Sequence[Row]) -> str:
    points = [
        f"with {row['label']}, {row['speed_up']:.2f} times the base line's speed ({verdict(row)}; efficiency "
        f"{row['efficiency']:.2f}; an update takes {row['update_ms']:.1f} ms, else {row['base_update_ms']:.1f} ms)"
        for row in rows
    ]
    return f"{axis.title.capitalize()}: {'; '.join(points)}."


def _size_in_words(axis: Axis, rows: Sequence[Row]) -> str:
    points = [f"{row['time_over_base']:.1f} times the time for {1 / row['linear']:g} times as many" for row in rows]
    worst = max(row["time_over_linear"] for row in rows)
    growth = "less than linear growth at every point" if worst < 1 else f"up to {worst:.2f} times linear growth"
    return f"{axis.title.capitalize()}: {', '.join(points)}: {growth}."


# -- Files ------------------------------------------------------------------------------------------------------------


class Report:
    """Writes ``scaling.csv`` row by row, and ``scaling.md`` and ``scaling.png`` of what is there when the block ends.

    Args:
        folder: An existing folder that can be written to.
        about: Where the figures are from.
        method: How they were measured.
        cores: Cores of the machine.
    """

    def __init__(self, folder: Path, about: Mapping[str, str], method: str, cores: int) -> None:
        self.rows: list[Row] = []
        self._folder, self._about, self._method, self._cores = folder, about, method, cores

    def __enter__(self) -> Report:
        with self._csv("w") as file:
            csv.writer(file).writerow([*COLUMNS, *self._about])
        return self

    def add(self, row: Row) -> None:
        """Write a row, and keep it."""
        self.rows.append(row)
        with self._csv("a") as file:
            csv.writer(file).writerow([*(row.get(column, "") for column in COLUMNS), *self._about.values()])

    def _csv(self, mode: str) -> Any:
        return (self._folder / "scaling.csv").open(mode, newline="", encoding="utf-8")

    def reading(self) -> str:
        """The rows in words."""
        return reading(self.rows, self._cores)

    def __exit__(self, *exception: object) -> None:
        if not self.rows:
            return
        axes = list(dict.fromkeys(row["axis"] for row in self.rows))
        held = "\n".join(f"- {AXES[name].title.capitalize()}: {AXES[name].held}" for name in axes)
        table = show([table_row(row) for row in self.rows])
        parts = (self._method, table, self.reading(), "What is held constant:", held)
        write_page(self._folder / "scaling.md", "Scaling of training", self._about, *parts)
        draw(self.rows, self._folder / "scaling.png")


def draw(rows: Sequence[Row], path: Path) -> None:
    """A panel for each axis: measured points with their spread, and what linear scaling would be."""
    names = list(dict.fromkeys(row["axis"] for row in rows))
    columns = min(len(names), 3)
    lines = -(-len(names) // columns)
    figure, panels = pyplot().subplots(lines, columns, figsize=(4.4 * columns, 3.6 * lines), squeeze=False)
    for panel, name in zip(panels.flat, names, strict=False):
        _panel(panel, AXES[name], [row for row in rows if row["axis"] == name])
    for panel in panels.flat[len(names) :]:
        panel.set_axis_off()
    save(figure, path)


def _panel(panel: Any, axis: Axis, rows: Sequence[Row]) -> None:
    panel.set_title(axis.title)
    measured = [row for row in rows if row["status"] == "measured"]
    if not measured:
        panel.text(0.5, 0.5, rows[0]["status"], ha="center", va="center", transform=panel.transAxes)
        panel.set_xticks([])
        panel.set_yticks([])
        return
    base = {"speed_up": 1.0, "speed_up_min": 1.0, "speed_up_max": 1.0, "linear": 1.0, "label": axis.base_label}
    points = [base, *measured]
    values, least, most, linear = (
        [row[key] for row in points] for key in ("speed_up", "speed_up_min", "speed_up_max", "linear")
    )
    places: list[float] = list(range(len(points)))
    if axis.is_size:  # the time of an episode instead of the episodes per time; how many, instead of the order
        values, most, least, linear = ([1 / value for value in own] for own in (values, least, most, linear))
        places = [measured[0][axis.field] / linear[1] * size for size in linear]
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.minorticks_off()
    spread = [
        [v - low for v, low in zip(values, least, strict=True)],
        [h - v for v, h in zip(values, most, strict=True)],
    ]
    panel.errorbar(places, values, yerr=spread, fmt="o-", color="#0b6fa4", capsize=3, label="measured")
    panel.plot(places, linear, "--", color="#8a8a8a", label="linear")
    panel.set_ylabel("time of an episode / base line's" if axis.is_size else "episodes per s / base line's")
    panel.set_xticks(places, [f"{x:g}" for x in places] if axis.is_size else [row["label"] for row in points])
    if axis.is_size:
        panel.set_yticks(linear, [f"{size:g}" for size in linear])
    else:
        panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)

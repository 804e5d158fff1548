"""Pictures of results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lad_rllib.runs.comparison import Played

FloatArray = NDArray[np.float64]

_GREY = "#8a8a8a"
_MANY = 30
_FAR = 5.0
_MARKERS = "osD^vPX*"

_PART_COLOURS = {
    "upload": "#c9b458",
    "waiting": "#c1440e",
    "swap": "#7a4f9a",
    "computing": "#0b6fa4",
    "download": "#6aa84f",
}


def pyplot() -> Any:
    """Matplotlib without a screen."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def save(figure: Any, path: Path, dpi: int = 130) -> None:
    """Write a figure and free its memory."""
    figure.tight_layout()
    figure.savefig(path, dpi=dpi)
    pyplot().close(figure)


def plot_comparison(rows: Sequence[Played], capacity: FloatArray, path: Path, title: str) -> None:
    """Delay parts, distribution of the delay, utilisation of the servers; with several orders, mean against tail.

    Args:
        rows: How schedulers fared under orders of service.
        capacity: Capacity of each server, shape (A,).
        path: Picture to write.
        title: Above it.
    """
    orders = list(dict.fromkeys(one.row["order"] for one in rows))
    by_row = 0.2 * len(rows) + 1
    heights = [by_row, max(0.8 * by_row, 3), by_row, *([max(0.15 * len(rows), 4)] if len(orders) > 1 else [])]
    figure, axes = pyplot().subplots(len(heights), 1, figsize=(10, sum(heights) + 3), height_ratios=heights)
    parts = {part: np.array([one.row[f"{part}_s"] for one in rows]) for part in _PART_COLOURS}
    draw_parts(axes[0], [one.label for one in rows], parts, "{:.2f}".format)
    axes[0].set_title(title)
    _draw_distribution(axes[1], rows)
    _draw_utilisation(figure, axes[2], rows, capacity)
    if len(orders) > 1:
        _draw_mean_and_tail(axes[3], [one.row for one in rows])
        axes[3].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    save(figure, path)


def draw_parts(axes: Any, labels: Sequence[str], parts: Mapping[str, FloatArray], text: Callable[[float], str]) -> None:
    """Bars of mean service delays, each made of its parts, from above to below.

    Args:
        axes: Where.
        labels: Name of each bar.
        parts: What each has of each part, by the part's name [s].
        text: The words at the end of a bar, for its delay [s].
    """
    left = np.zeros(len(labels))
    for part, width in parts.items():
        if width.any():
            axes.barh(np.arange(len(labels)), width, left=left, color=_PART_COLOURS.get(part, _GREY), label=part)
            left += width
    drawn = left[left > 0]
    end = min(drawn.max(), _FAR * np.median(drawn)) if drawn.size else 1.0  # one that diverges hides no others
    for row, total in enumerate(left):
        axes.text(min(total, end), row, f" {text(total)}", va="center", fontsize=9)
    axes.set_yticks(np.arange(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlabel("mean service delay [s]")
    axes.set_xlim(right=end * 1.1)
    if drawn.size:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def _draw_distribution(axes: Any, rows: Sequence[Played]) -> None:
    colours = pyplot().get_cmap("turbo")(np.linspace(0, 1, len(rows)))
    for row, one in enumerate(rows):
        style = {"color": "black", "linewidth": 2.5} if row == 0 else {"color": colours[row], "linewidth": 1.2}
        axes.plot(one.quantiles_s, np.linspace(0, 1, len(one.quantiles_s)), label=one.label, **style)
    axes.set_xlabel("service delay [s]")
    axes.set_ylabel("share of tasks served within")
    axes.set_xscale("symlog", linthresh=0.1)
    axes.set_xlim(left=0)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.grid(alpha=0.3)


def _draw_utilisation(figure: Any, axes: Any, rows: Sequence[Played], capacity: FloatArray) -> None:
    order = np.argsort(-capacity)
    shares = np.stack([one.utilisation[order] for one in rows])
    image = axes.imshow(shares, vmin=0, vmax=1, aspect="auto", cmap="viridis")
    axes.set_yticks(range(len(rows)), [one.label for one in rows])
    if len(capacity) <= _MANY:
        axes.set_xticks(range(len(capacity)), [f"{value:.3g}" for value in capacity[order]], fontsize=8)
    axes.set_xlabel("edge servers by capacity [Gcycle/s], or by relative speed")
    figure.colorbar(image, ax=axes, label="utilisation")


def _draw_mean_and_tail(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Mean against the 99th percentile, a colour for each scheduler and a marker for each order."""
    schedulers, orders = (list(dict.fromkeys(row[name] for row in rows)) for name in ("scheduler", "order"))
    colours = pyplot().get_cmap("turbo")(np.linspace(0, 1, len(schedulers)))
    means = np.array([row["mean_s"] for row in rows])
    near = [row["p99_s"] for row in rows if row["mean_s"] <= _FAR * means.min()]
    axes.set_xlim(0.95 * means.min(), 1.05 * min(means.max(), _FAR * means.min()))
    axes.set_ylim(0.95 * min(near), 1.05 * max(near))
    for row in rows:
        marker = _MARKERS[orders.index(row["order"]) % len(_MARKERS)]
        axes.loglog(row["mean_s"], row["p99_s"], marker, color=colours[schedulers.index(row["scheduler"])])
    for colour, scheduler in zip(colours, schedulers, strict=True):
        axes.plot([], [], "s", color=colour, label=scheduler)
    for index, order in enumerate(orders):
        axes.plot([], [], _MARKERS[index % len(_MARKERS)], color=_GREY, label=order)
    axes.set_xlabel("mean service delay [s]")
    axes.set_ylabel("99th percentile [s]")
    axes.grid(alpha=0.3, which="both")

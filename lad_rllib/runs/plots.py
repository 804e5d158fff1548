"""Pictures of results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lad_rllib import names

if TYPE_CHECKING:
    from lad_rllib.scheduling import EpisodeRecord

_OURS, _ORACLE, _GREEN, _GREY = "#0b6fa4", "#c1440e", "#6aa84f", "#8a8a8a"
_PART_COLOURS = {"upload": "#c9b458", "waiting": "#c1440e", "computing": "#0b6fa4", "download": "#6aa84f"}
_SMOOTHING = 5


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


def plot_learning_curve(progress: pd.DataFrame, path: Path, title: str, learner: str = "LAD-TS") -> None:
    """Mean delay of each iteration beside the greedy oracle's on the same arrivals, and their ratio.

    Thin lines are single iterations, thick ones the mean of the last five. Water-filling and capacity-proportional
    random, which learn nothing, are drawn as well: closeness to the oracle says little without them.
    """
    episodes = progress["episodes"]
    figure, (delays, ratios) = pyplot().subplots(2, 1, figsize=(8, 7), sharex=True, height_ratios=(3, 2))
    for column, label, colour, style in (
        (names.MEAN_DELAY, learner, _OURS, "-"),
        (names.ORACLE_DELAY, "greedy oracle, same arrivals", _ORACLE, "-"),
        (names.WATER_FILLING_DELAY, "water-filling, same arrivals", _GREEN, "--"),
        (names.PROPORTIONAL_DELAY, "capacity-proportional random, same arrivals", _GREY, ":"),
    ):
        delays.plot(episodes, progress[column], color=colour, alpha=0.3, linewidth=0.8)
        smooth = progress[column].rolling(_SMOOTHING, min_periods=1).mean()
        delays.plot(episodes, smooth, style, color=colour, linewidth=2, label=label)
    delays.set_ylabel("mean service delay [s]")
    delays.set_ylim(bottom=0)
    delays.set_title(f"{title}\nthin: single iterations, thick: mean of the last {_SMOOTHING}")
    delays.legend()
    ratio = progress[names.DELAY_OVER_ORACLE]
    ratios.plot(episodes, ratio, color=_OURS, alpha=0.3, linewidth=0.8)
    ratios.plot(episodes, ratio.rolling(_SMOOTHING, min_periods=1).mean(), color=_OURS, linewidth=2)
    for column, colour, style in ((names.WATER_FILLING_DELAY, _GREEN, "--"), (names.PROPORTIONAL_DELAY, _GREY, ":")):
        yardstick = (progress[column] / progress[names.ORACLE_DELAY]).rolling(_SMOOTHING, min_periods=1)
        ratios.plot(episodes, yardstick.mean(), style, color=colour, linewidth=2)
    ratios.axhline(1.0, color=_ORACLE, linewidth=1)
    ratios.set_ylabel("delay / greedy oracle's")
    ratios.set_xlabel("episode")
    ratios.xaxis.get_major_locator().set_params(integer=True)
    for axes in (delays, ratios):
        axes.grid(alpha=0.3)
    save(figure, path)


def plot_comparison(records: Mapping[str, EpisodeRecord], path: Path, title: str) -> None:
    """Delay parts, distribution of the delay, and utilisation of the servers, for several schedulers."""
    labels = list(records)
    figure, (parts, distribution, utilisation) = pyplot().subplots(
        3, 1, figsize=(9, 12), height_ratios=(3, 3, 0.35 * len(labels) + 1)
    )
    left = np.zeros(len(labels))
    for part, colour in _PART_COLOURS.items():
        width = np.array([getattr(r, f"{part}_s").sum() / max(r.mask.sum(), 1) for r in records.values()])
        parts.barh(labels, width, left=left, color=colour, label=part)
        left += width
    for row, total in enumerate(left):
        parts.text(total, row, f" {total:.2f}", va="center", fontsize=9)
    parts.invert_yaxis()
    parts.set_xlabel("mean service delay [s]")
    parts.set_xlim(right=left.max() * 1.1)
    parts.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False)
    parts.set_title(title)

    shares = np.linspace(0, 1, 400)
    for row, (label, record) in enumerate(records.items()):
        style = {"color": "black", "linewidth": 2.5} if row == 0 else {"linewidth": 1.2}
        distribution.plot(np.quantile(record.delay_s[record.mask], shares), shares, label=label, **style)
    distribution.set_xlabel("service delay [s]")
    distribution.set_ylabel("share of tasks served within")
    distribution.set_xscale("symlog", linthresh=0.1)
    distribution.set_xlim(left=0)
    distribution.legend(fontsize=8)
    distribution.grid(alpha=0.3)

    network = next(iter(records.values())).network
    order = np.argsort(-network.capacity_gcycles_per_s)
    image = utilisation.imshow(
        np.stack([r.utilisation[order] for r in records.values()]), vmin=0, vmax=1, aspect="auto", cmap="viridis"
    )
    utilisation.set_yticks(range(len(labels)), labels)
    if network.num_servers <= 30:
        utilisation.set_xticks(
            range(network.num_servers), [f"{value:.0f}" for value in network.capacity_gcycles_per_s[order]], fontsize=8
        )
    utilisation.set_xlabel("edge servers by capacity [Gcycle/s]")
    figure.colorbar(image, ax=utilisation, label="utilisation")
    save(figure, path)

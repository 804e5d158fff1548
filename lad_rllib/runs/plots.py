"""Pictures of results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lad_rllib.scheduling import EpisodeRecord

_PART_COLOURS = {"upload": "#c9b458", "waiting": "#c1440e", "computing": "#0b6fa4", "download": "#6aa84f"}


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

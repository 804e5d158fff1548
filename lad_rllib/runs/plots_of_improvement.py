"""The picture of an improvement: each scheduler's mean and tail over the present one's, and all delays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lad_rllib.runs.plots import pyplot, save
from lad_rllib.scheduling.judgement import Replayed


def plot_improvement(replayed: Sequence[Replayed], table: pd.DataFrame, path: Path, title: str) -> None:
    """Ratios with their intervals, and the distribution of the delays.

    Args:
        replayed: How each scheduler fared.
        table: Their rows, see :meth:`Replayed.row`.
        path: Picture to write.
        title: Above it.
    """
    figure, (ratios, delays) = pyplot().subplots(1, 2, figsize=(11, 4))
    places = np.arange(len(table))
    for shift, name, marker in ((-0.12, "mean", "o"), (0.12, "p99", "x")):
        ratio, low, high = (table[f"{name}_{column}"] for column in ("ratio", "low", "high"))
        ratios.hlines(places + shift, low, high, color="#8a8a8a")
        ratios.plot(ratio, places + shift, marker, label=name)
    ratios.axvline(1.0, color="black", linewidth=0.8)
    ratios.set_yticks(places, table["scheduler"])
    ratios.invert_yaxis()
    ratios.set_xlabel("delay over the present scheduler's")
    ratios.legend()
    ratios.set_title(title)
    shares = np.linspace(0, 1, 400)
    for one in replayed:
        delays.plot(np.quantile(one.delay_s, shares), shares, label=one.name)
    delays.set_xscale("symlog", linthresh=0.1)
    delays.set_xlim(left=0)
    delays.set_xlabel("service delay [s]")
    delays.set_ylabel("share of requests served within")
    delays.legend(fontsize=7)
    delays.grid(alpha=0.3)
    save(figure, path)

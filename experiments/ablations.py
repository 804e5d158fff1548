"""What each of LAD-TS's parts is worth: one of them changed at a time, from either reading of the paper.

    python experiments/ablations.py                                     both presets and every change
    python experiments/ablations.py --bases published_code --variants latent_start denoiser_output --seeds 5

The paper's text and its published code differ in what the latent memory stores and what it is indexed by, in the noise
predictor's last layer, in which latent and which next queues the replay buffer holds, and in the target entropy. From
each preset, one of these is set to the other's value; besides, the chain starts from Gaussian noise (which is
D2SAC-TS). Where logits are remembered from the published code's settings, the estimate of x_0 is clamped as in preset
paper, without which they overflow.
Left are, in --output: every episode (CSV), delay and ratios of the last ten episodes as mean +- sd over seeds (CSV and
Markdown), and a picture.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from experiments.comparison import pictures, tables  # noqa: E402
from experiments.comparison.runs import Case, CaseRuns, add_run_arguments  # noqa: E402
from lad_rllib import names  # noqa: E402
from lad_rllib.algorithms.lad_ts import PRESETS  # noqa: E402
from lad_rllib.cli import flags  # noqa: E402
from lad_rllib.errors import ConfigurationError  # noqa: E402
from lad_rllib.runs.command import run_command  # noqa: E402

WINDOW = 10
NOTHING = "nothing"
CHANGED = (
    "latent_content",
    "latent_index",
    "denoiser_output",
    "replay_latent",
    "replay_next_queues",
    "target_entropy",
    "clip_denoised",
)
LATENT_START = "latent_start"
VARIANTS = (LATENT_START, *CHANGED)
MEANINGS = {
    LATENT_START: "where the chain starts",
    "latent_content": "what the latent memory stores",
    "latent_index": "what it is indexed by",
    "denoiser_output": "noise predictor's last layer",
    "replay_latent": "what the replay buffer holds",
    "replay_next_queues": "queues of the next slot in the replay buffer",
    "target_entropy": "target entropy",
    "clip_denoised": "limit of x_0's estimate",
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_arguments(parser, output="results/ablations", seeds=3, episodes=100)
    parser.add_argument("--bases", nargs="+", choices=tuple(PRESETS), default=list(PRESETS), metavar="PRESET")
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS), metavar="SETTING")
    parser.add_argument("--estimate", action="store_true", help="print how long it takes, and end")
    flags.add_smoke(
        parser,
        setting="small",
        seeds=1,
        episodes=2,
        checkpoint_every=1,
        bases=["published_code"],
        variants=[LATENT_START, "latent_content"],
    )
    parsed = parser.parse_args(arguments)
    parsed.command = "ablations"
    return parsed


def change(base: str, setting: str) -> dict[str, Any]:
    """The other value of a setting, and what it needs besides; D2SAC-TS is LAD-TS that starts from noise."""
    if setting == LATENT_START:
        return {}
    other = next(preset for preset in PRESETS if preset != base)
    values = {setting: PRESETS[other][setting]}
    if values.get("latent_content") == "logits":
        values["clip_denoised"] = PRESETS[other]["clip_denoised"]
    return values


def cases_of(bases: list[str], variants: list[str]) -> list[Case]:
    """Each preset as it is, and with each change.

    Without a limit, preset ``paper`` overflows in its first episode: that change is left out there.
    """
    cases = []
    for base in bases:
        changes: dict[str, dict[str, Any]] = {NOTHING: {}}
        changes |= {
            setting: change(base, setting) for setting in variants if (base, setting) != ("paper", "clip_denoised")
        }
        for setting, values in changes.items():
            method = "d2sac-ts" if setting == LATENT_START else "lad-ts"
            told = "latent_start=noise" if setting == LATENT_START else ", ".join(f"{k}={v}" for k, v in values.items())
            cases.append(
                Case(
                    f"{base}: {told}" if told else base,
                    method,
                    training={"preset": base, **values},
                    columns={"base": base, "changed": setting, "values": told},
                )
            )
    return cases


def run(parsed: argparse.Namespace) -> int:
    """Train, and write; returns the exit status."""
    if parsed.preset:
        raise ConfigurationError("--preset contradicts an ablation of presets; choose with --bases")
    runs = CaseRuns(parsed, "ablations", cases_of(parsed.bases, parsed.variants))
    if parsed.estimate:
        print(f"{len(runs.cases) * parsed.seeds} runs, about {runs.estimated_s / 60:.0f} CPU minutes")
        return 0
    curves = runs.train()
    table = tables.last_episodes(curves, WINDOW, by=("base", "changed", "values"))
    plot(table, runs.file("png"))
    runs.write(describe(table, curves, parsed.episodes), curves=curves, summary=table)
    return 0


def describe(table: pd.DataFrame, curves: pd.DataFrame, episodes: int) -> str:
    """The ablations in Markdown, with the difference to the preset on the same seeds."""
    first = max(1, episodes - WINDOW + 1)
    last = curves[curves["episodes"] >= first]
    by_seed = last.groupby(["base", "changed", "seed"])[names.DELAY_OVER_ORACLE].mean()
    rows = []
    for row in table.to_dict("records"):
        difference = by_seed[row["base"], row["changed"]] - by_seed[row["base"], NOTHING]
        rows.append(
            (
                row["base"],
                MEANINGS.get(row["changed"], "–"),
                f"`{row['values']}`" if row["values"] else "as it is",
                row["seeds"],
                tables.mean_sd(row["delay_s"], row["delay_sd_s"], 2),
                tables.mean_sd(row["over_oracle"], row["over_oracle_sd"], 3),
                tables.mean_sd(difference.mean(), difference.std(), 3) if row["values"] else "",
                tables.mean_sd(row["over_proportional"], row["over_proportional_sd"], 3),
            )
        )
    header = (
        "preset",
        "changed",
        "to",
        "seeds",
        "delay, s",
        "over greedy oracle",
        "less the preset's (same seeds)",
        "over capacity-proportional",
    )
    text = (
        f"Mean over seeds ± sd of the last {min(WINDOW, episodes)} of {episodes} episodes. Capacity-proportional "
        "chooses at random and learns nothing."
    )
    return "\n".join(
        ["# Ablations of LAD-TS", "", text, "", *tables.markdown_table(header, rows), "", tables.provenance(), ""]
    )


def plot(table: pd.DataFrame, path: Path) -> None:
    """Ratio to the greedy oracle of each variant."""
    plt = pictures.pyplot()
    labels = [f"{row['base']}: {row['values'] or 'as it is'}" for row in table.to_dict("records")]
    figure, axes = plt.subplots(figsize=(9, 0.4 * len(labels) + 1.2))
    colours = ["#0b6fa4" if base == "published_code" else "#8e44ad" for base in table["base"]]
    axes.barh(labels, table["over_oracle"], xerr=table["over_oracle_sd"].fillna(0), color=colours, capsize=3)
    axes.axvline(1.0, color="#c1440e", label="greedy oracle")
    proportional = (table[names.PROPORTIONAL_DELAY] / table[names.ORACLE_DELAY]).mean()
    axes.axvline(proportional, color="#8a8a8a", linestyle=":", label="capacity-proportional")
    axes.invert_yaxis()
    axes.set_xlabel("mean delay / greedy oracle's")
    axes.legend(fontsize=8)
    pictures.save(figure, path)


if __name__ == "__main__":
    sys.exit(run_command(run, parse()))

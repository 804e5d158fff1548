"""What each of LAD-TS's parts is worth: one of them changed at a time, from either reading of the paper.

    python -m experiments.ablations                                     both presets and every change
    python -m experiments.ablations --bases published_code --variants latent_start denoiser_output --seeds 5

The paper's text and its published code differ in what the latent memory stores and what it is indexed by, in the noise
predictor's last layer, in which latent and which next queues the replay buffer holds, and in the target entropy. From
each preset, one of these is set to the other's value; besides, the chain starts from Gaussian noise (which is
D2SAC-TS). Where the published code's settings remember logits, the estimate of x_0 is clamped as in preset paper,
without which they overflow.
Left are, in --output: every episode (CSV), delay and ratios of the last ten episodes as mean +- sd over seeds (CSV and
Markdown), and a picture.
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar, Literal

import pandas as pd

from lad_rllib import names
from lad_rllib.algorithms.lad_ts import PRESETS
from lad_rllib.cli.program import Program
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.cases import Case, CaseOptions, CaseRuns
from lad_rllib.runs.options import option
from lad_rllib.runs.over_seeds import last_episodes
from lad_rllib.runs.plots import pyplot, save
from lad_rllib.runs.plots_of_cases import draw_ratios
from lad_rllib.runs.tables import markdown_page, summary_table

WINDOW = 10
NOTHING, LATENT_START = "nothing", "latent_start"
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
"""What is changed, one at a time."""


class AblationOptions(CaseOptions):
    """Which parts are changed, from which preset."""

    command: ClassVar[str] = "ablations"

    bases: list[Literal[tuple(PRESETS)]] = option(list(PRESETS), "presets to change", "PRESET")  # type: ignore[misc]
    variants: list[Literal[tuple(MEANINGS)]] = option(  # type: ignore[misc]
        list(MEANINGS), "settings to change", "SETTING", may_be_empty=True
    )
    output: str = option("results/ablations", "output folder", "DIR")


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
        for changed in (NOTHING, *(one for one in variants if (base, one) != ("paper", "clip_denoised"))):
            values = {} if changed == NOTHING else change(base, changed)
            shown = (
                "latent_start=noise" if changed == LATENT_START else ", ".join(f"{k}={v}" for k, v in values.items())
            )
            cases.append(
                Case(
                    f"{base}: {shown}" if shown else base,
                    "d2sac-ts" if changed == LATENT_START else "lad-ts",
                    training={"preset": base, **values},
                    columns={"base": base, "changed": changed, "values": shown},
                )
            )
    return cases


def run(options: AblationOptions) -> int:
    """Train, and write; returns the exit status."""
    if options.preset:
        raise ConfigurationError("--preset contradicts an ablation of presets; choose with --bases")
    runs = CaseRuns(options, "ablations", cases_of(options.bases, options.variants))
    if options.estimate:
        return runs.print_estimate()
    curves = runs.train()
    table = last_episodes(curves, WINDOW, by=("base", "changed", "values"))
    figure, axes = pyplot().subplots(figsize=(9, 0.4 * len(table) + 1.2))
    labels = table["base"] + ": " + table["values"].replace("", "as it is")
    colours = table["base"].map({"published_code": "#0b6fa4"}).fillna("#8e44ad")
    draw_ratios(axes, labels, table["over_oracle"], table["over_oracle_sd"], colours)
    proportional = (table[names.PROPORTIONAL_DELAY] / table[names.ORACLE_DELAY]).mean()
    axes.axvline(proportional, color="#8a8a8a", linestyle=":", label="capacity-proportional")
    axes.legend(fontsize=8)
    save(figure, runs.file("png"))
    runs.write(describe(table, curves, options.episodes), curves=curves, summary=table)
    return 0


SHOWN = {
    **{"base": "preset", "part": "changed", "to": "to", "seeds": "seeds", "delay_s": "delay, s"},
    **{"over_oracle": "over greedy oracle", "over_preset": "less the preset's (same seeds)"},
    "over_proportional": "over capacity-proportional",
}


def describe(table: pd.DataFrame, curves: pd.DataFrame, episodes: int) -> str:
    """The ablations in Markdown, with the difference to the preset on the same seeds."""
    last = curves[curves["episodes"] >= max(1, episodes - WINDOW + 1)]
    by_seed = last.groupby(["base", "changed", "seed"])[names.DELAY_OVER_ORACLE].mean()
    changes = [by_seed[row["base"], row["changed"]] - by_seed[row["base"], NOTHING] for row in table.to_dict("records")]
    table = table.assign(
        part=table["changed"].map(lambda name: MEANINGS.get(name, "–")),
        to=table["values"].map(lambda values: f"`{values}`" if values else "as it is"),
        over_preset=[change.mean() for change in changes],
        over_preset_sd=[change.std() for change in changes],
    )
    return markdown_page(
        "Ablations of LAD-TS",
        f"Mean over seeds ± sd of the last {min(WINDOW, episodes)} of {episodes} episodes. Capacity-proportional "
        "chooses at random and learns nothing.",
        summary_table(table, SHOWN),
    )


SMOKE = {"setting": "small", "seeds": 1, "episodes": 2, "checkpoint_every": 1}
SMOKE |= {"bases": ["published_code"], "variants": [LATENT_START, "latent_content"]}
main = Program(run, AblationOptions, __doc__, SMOKE)

if __name__ == "__main__":
    sys.exit(main())

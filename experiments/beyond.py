"""LAD-PMD, which optimises total delay, beside the greedy oracle that the paper calls optimal, and a lower bound.

    python -m experiments.beyond                            all parts, 5 seeds, on the paper's setting
    python -m experiments.beyond --parts budgets --seeds 2  one of them

Parts: `budgets` (60, 100 and 200 episodes of training), `horizons` (longer episodes, and one without a known end),
`tails` (a bound on a percentile of the delays, that of the greedy oracle), `ablations` (one setting changed at a
time), `loads` (fewer tasks), `views` (decisions that know of earlier ones in the slot). Every policy is trained by
LAD-PMD and then plays 20 fresh episodes beside the greedy oracle and the best heuristics on the same
arrivals. Left are, in --output, for each part: every training episode; mean, percentiles, fairness and delay by size
of task of every scheduler (CSV); their mean +- sd over seeds (CSV and Markdown); and a picture.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from experiments.lad_pmd_studies import STUDIES, Study
from lad_rllib.cli.program import Program
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.cases import CaseOptions, CaseRuns, case_setting, shared_configuration
from lad_rllib.runs.comparison import LOWER_BOUND, bound_row, table_of_slots
from lad_rllib.runs.contest import evaluation_arrivals
from lad_rllib.runs.options import Count, option
from lad_rllib.runs.over_seeds import over_seeds
from lad_rllib.runs.plots import pyplot, save
from lad_rllib.runs.plots_of_cases import draw_ratios
from lad_rllib.runs.tables import markdown_page, summary_sections
from lad_rllib.scheduling import EpisodeRecord, lower_bound_s, make_heuristic, play
from lad_rllib.simulator import Arrivals, Setting

TITLE = "LAD-PMD"
ORACLE = "greedy-oracle"
BESIDE = (ORACLE, "water-filling", "capacity-proportional")
EVALUATION_SEED, BOUND_SEED = 1_000_000, 2_000_000
TAIL_MARGIN = 0.94
"""A fixed tail loss begins so far below the percentile that is to be met: a threshold by itself is passed by some."""


class BeyondOptions(CaseOptions):
    """Which studies are run, and how long."""

    command: ClassVar[str] = "beyond"

    parts: list[Literal[tuple(STUDIES)]] = option(list(STUDIES), "parts", "PART")  # type: ignore[misc]
    studies: list[str] | None = option(None, "only these of the parts, as the tables name them", "NAME")
    test_episodes: Count = option(20, "fresh episodes to evaluate on", "N")
    seeds: Count = option(5, "runs of each study, with seeds 0, 1, ...")
    episodes: Count | None = option(None, "episodes of each run, instead of the studies' own")
    output: str = option("results/beyond", "output folder", "DIR")


def run(options: BeyondOptions) -> int:
    """Train, evaluate and write; returns the exit status."""
    if options.arrivals not in (None, "uniform", "poisson"):
        raise ConfigurationError("this experiment draws its arrivals; experiments.trace learns from a request log")
    for part in options.parts:
        runs = CaseRuns(
            options, f"beyond_{part}", bounded(options, studies_of(part, options.episodes, options.studies))
        )
        if options.estimate:
            runs.print_estimate()
            continue
        curves = runs.train()
        evaluation = evaluate(runs).assign(part=part)
        by = ["part", "study", "scheduler"]
        evaluation = evaluation[[*by, "seed", *evaluation.columns.difference([*by, "seed"], sort=False)]]
        numbers = evaluation.select_dtypes("number").columns.drop(["seed", "episodes", "tasks"])
        spread = ["mean_s", "over_oracle", "p95_over_oracle", "p99_over_oracle"]
        summary = over_seeds(evaluation, by, list(numbers), spread)
        plot(summary, runs.file("png"))
        text = describe(summary, f"LAD-PMD on setting `{runs.configuration['setting']['name']}`: {part}")
        runs.write(text, curves=curves, evaluation=evaluation, summary=summary)
    return 0


def studies_of(part: str, episodes: int | None, chosen: list[str] | None) -> list[Study]:
    """The studies of a part, or those chosen; with a number of episodes, for as many instead of their own.

    Raises:
        ConfigurationError: if this part does not have one that is chosen.
    """
    names = [study.name for study in STUDIES[part]]
    if unknown := set(chosen or ()) - set(names):
        raise ConfigurationError(f"part {part} has no study {min(unknown)!r}; it has {names}")
    studies = [study for study in STUDIES[part] if chosen is None or study.name in chosen]
    if episodes is None:
        return studies
    if part == "budgets":
        name = f"{episodes} episodes"
        return [replace(STUDIES[part][0], name=name, columns={"study": name}, episodes=episodes)]
    return [replace(study, episodes=episodes) for study in studies]


def bounded(options: BeyondOptions, studies: list[Study]) -> list[Study]:
    """The studies with the bounds of their percentiles, which are the greedy oracle's on other arrivals."""
    configuration = shared_configuration(options, studies)
    result = []
    for study in studies:
        if study.percentile is not None:
            setting = case_setting(configuration, study)
            arrivals = evaluation_arrivals(setting, 20, BOUND_SEED)
            bound_s = play_on(arrivals, setting, make_heuristic(ORACLE), BOUND_SEED).percentile_s(study.percentile)
            bound: dict[str, Any] = {"bounded_percentile": study.percentile, "percentile_bound_s": bound_s}
            if study.tail_strength is not None:
                threshold_s = TAIL_MARGIN * bound_s
                bound = {"penalty": {"name": "tail", "threshold_s": threshold_s, "strength": study.tail_strength}}
            study = replace(study, training={**study.training, **bound})
        result.append(study)
    return result


def play_on(
    arrivals: Arrivals, setting: Setting, scheduler: Any, seed: int, counted_slots: int | None = None
) -> EpisodeRecord:
    """A scheduler's record on arrivals, of which the first slots count."""
    slots = counted_slots or setting.num_slots - 1
    return play(scheduler, setting.network, arrivals, np.random.default_rng(seed), slots)


def evaluate(runs: CaseRuns) -> pd.DataFrame:
    """Every trained policy beside heuristics and the lower bound, on fresh arrivals: a row for each and seed."""
    frames = []
    for study in runs.cases.values():
        setting = case_setting(runs.configuration, study)
        arrivals = evaluation_arrivals(setting, runs.options.test_episodes, EVALUATION_SEED)
        slots = study.counted_slots or setting.num_slots - 1
        played = {n: play_on(arrivals, setting, make_heuristic(n), EVALUATION_SEED, slots) for n in BESIDE}
        bounds_s = lower_bound_s(setting.network, arrivals, slots)
        bound = bound_row(
            bounds_s, arrivals.task_counts[:, :slots].sum(axis=(1, 2)), "over_oracle", played[ORACLE].mean_delay_s
        )
        for seed in range(runs.options.seeds):
            own = play_on(arrivals, setting, runs.trained(study.name, seed), EVALUATION_SEED, slots)
            rows = pd.concat([table_of_slots({TITLE: own, **played}), pd.DataFrame([bound])], ignore_index=True)
            oracle = rows.set_index("scheduler").loc[ORACLE]
            for column in ("p95", "p99"):
                rows[f"{column}_over_oracle"] = rows[f"{column}_s"] / oracle[f"{column}_s"]
            frames.append(rows.assign(study=study.name, seed=seed))
    return pd.concat(frames, ignore_index=True)


SHOWN = {
    **{"scheduler": "scheduler", "mean_s": "mean, s", "over_oracle": "over greedy oracle", "p50_s": "p50, s"},
    **{"p95_over_oracle": "p95 over oracle's", "p99_over_oracle": "p99 over oracle's", "max_s": "max, s"},
    **{"fairness": "fairness", "class1_s": "small, s", "class2_s": "middle, s", "class3_s": "large, s"},
}


def describe(table: pd.DataFrame, title: str) -> str:
    """The comparison in Markdown."""
    table = table.replace({"scheduler": {TITLE: f"**{TITLE}**"}})
    return markdown_page(
        title,
        "Mean over seeds ± sd, on fresh arrivals that all schedulers had. The lower bound is one of the mean delay of "
        "any schedule (docs/explanation/bounds.md). Fairness is Jain's index of the slowdowns; small, middle and large "
        "are the mean delays of thirds of the tasks by workload.",
        *summary_sections(table, ["study"], str, SHOWN),
    )


def plot(table: pd.DataFrame, path: Path) -> None:
    """Mean and 95th percentile over the greedy oracle's, for every study."""
    own = table[table["scheduler"] == TITLE].set_index("study")
    bound = table[table["scheduler"] == LOWER_BOUND].set_index("study")
    figure, panels = pyplot().subplots(1, 2, figsize=(12, 0.4 * len(own) + 1.8), sharey=True)
    for axes, column, what in zip(panels, ("over_oracle", "p95_over_oracle"), ("mean", "p95"), strict=True):
        draw_ratios(axes, own.index, own[column], own[f"{column}_sd"])
        axes.set_title(f"{what}, fresh arrivals")
    panels[1].invert_yaxis()  # shared: the second call has turned it back
    panels[0].plot(bound["over_oracle"], bound.index, "k|", markersize=14, label="lower bound of the mean")
    panels[0].legend(fontsize=8)
    save(figure, path)


SMOKE = {"setting": "small", "seeds": 1, "episodes": 2, "checkpoint_every": 1, "test_episodes": 2}
main = Program(run, BeyondOptions, __doc__, SMOKE | {"parts": ["budgets", "tails"]})

if __name__ == "__main__":
    sys.exit(main())

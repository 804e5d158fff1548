"""LAD-PMD, which optimises the delay of all tasks, beside the greedy oracle that the paper calls optimal, and a bound.

    python experiments/beyond.py                            all parts, 5 seeds, on the paper's setting
    python experiments/beyond.py --parts budgets --seeds 2  one of them

Parts: `budgets` (60, 100 and 200 episodes of training), `horizons` (longer episodes, and one without a known end),
`tails` (a bound on a percentile of the delays, that of the greedy oracle), `ablations` (one setting changed at a
time), `loads` (fewer tasks), `views` (decisions that know of earlier ones in the slot). Every policy is trained by
LAD-PMD and then plays 20 fresh episodes beside the greedy oracle and the best heuristics on the same
arrivals. Left are, in --output, for each part: every training episode; mean, percentiles, fairness and delay by size
of task of every scheduler (CSV); their mean +- sd over seeds (CSV and Markdown); and a picture.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from experiments.comparison import pictures, tables  # noqa: E402
from experiments.comparison.runs import Case, CaseRuns, add_run_arguments, case_setting  # noqa: E402
from lad_rllib.cli import flags  # noqa: E402
from lad_rllib.errors import ConfigurationError  # noqa: E402
from lad_rllib.runs.command import run_command  # noqa: E402
from lad_rllib.runs.evaluate import bound_row, comparison_table, evaluation_arrivals  # noqa: E402
from lad_rllib.scheduling import EpisodeRecord, lower_bound_s, make_heuristic, play  # noqa: E402
from lad_rllib.simulator import Setting  # noqa: E402

TITLE = "LAD-PMD"
BESIDE = ("greedy-oracle", "water-filling", "capacity-proportional")
EVALUATION_SEED, BOUND_SEED = 1_000_000, 2_000_000
FIRST_SLOTS = 60
LOW_LOAD = {
    "gamma": 0.9,
    "step_size": 0.7,
    "last_step_size": 0.3,
    "momentum": 0.8,
    "draws": "coordinated",
    "latent_start": "learned",
    "prior_queue_weight": 1.5,
}
"""Below saturation queues run empty: what a task delays is soon over, costs differ little, and what matters is that the
tasks of a slot do not meet. A start for each station and task index lets stations agree on who goes where."""
LOW_LOAD_DISPATCHER = {"gamma": 0.9, "prior_queue_weight": 8.0}
"""One dispatcher for all stations needs none of that: it knows who went where."""
VIEWS = {"own": "own decisions of the slot known", "all": "one dispatcher"}
TAILS = {"gamma": 0.97}
"""Discounting more costs a little of the mean and keeps queues more even."""
TAIL_MARGIN = 0.94
"""A fixed tail loss begins so far below the percentile that is to be met: a threshold by itself is passed by some."""
OFF = {
    "as it is": {},
    "gamma 1": {"gamma": 1.0},
    "gamma 0.9": {"gamma": 0.9},
    "steps that stay larger": {"last_step_size": 0.5},
    "momentum 0.7, a third of the steps": {"momentum": 0.7, "step_size": 1.0, "last_step_size": 0.03},
    "last actor instead of the mean": {"averaging_exponent": None},
    "latent memory": {"latent_start": "memory"},
    "learned starts": {"latent_start": "learned"},
    "an actor for each station": {"shared_actor": False},
    "an actor of 2 x 20 for each station": {"shared_actor": False, "hidden_sizes": (20, 20)},
    "softmax denoiser": {"denoiser_output": "softmax"},
    "prior that sees no queues": {"prior_queue_weight": 0.0},
    "stratified draws": {"draws": "stratified"},
    "coordinated draws": {"draws": "coordinated"},
}
"""What is changed, one at a time, to see what matters."""


@dataclass(frozen=True)
class Study:
    """A case of this experiment.

    Attributes:
        name: Its name.
        part: What it is part of.
        episodes: Episodes of training.
        training: Arguments of ``training()``.
        setting: Changes to the command line's setting.
        counted_slots: Only the delays of the first slots count, though the episode goes on; None: all do.
        percentile: Bounded by the greedy oracle's on other arrivals; None for no bound.
        tail_strength: Weight of a fixed tail loss from a little below that bound on, instead of one that is adapted to
            it.
    """

    name: str
    part: str
    episodes: int = 100
    training: Mapping[str, Any] = field(default_factory=dict)
    setting: Mapping[str, Any] = field(default_factory=dict)
    counted_slots: int | None = None
    percentile: float | None = None
    tail_strength: float | None = None


STUDIES = (
    *(Study(f"{episodes} episodes", "budgets", episodes) for episodes in (60, 100, 200)),
    *(Study(f"{slots} slots", "horizons", setting={"slots": slots}) for slots in (120, 240)),
    Study("no known end", "horizons", setting={"slots": 2 * FIRST_SLOTS}, counted_slots=FIRST_SLOTS),
    Study("p95 bounded", "tails", training=TAILS, percentile=95.0),
    Study("p99 bounded", "tails", training=TAILS, percentile=99.0),
    Study("fixed tail loss", "tails", training=TAILS, percentile=95.0, tail_strength=8.0),
    *(Study(name, "ablations", training=training) for name, training in OFF.items()),
    *(
        Study(f"at most {tasks} tasks", "loads", training=LOW_LOAD, setting={"arrivals": {"max_tasks": tasks}})
        for tasks in (20, 30, 40)
    ),
    *(
        Study(f"30 tasks, {name}", "loads", training={**LOW_LOAD, **changed}, setting={"arrivals": {"max_tasks": 30}})
        for name, changed in (
            ("starts from zero", {"latent_start": "zero"}),
            ("independent draws", {"draws": "independent"}),
        )
    ),
    *(
        Study(
            f"at most {tasks} tasks, {VIEWS[view]}",
            "views",
            60,
            training={"in_slot_view": view, **training},
            setting={"arrivals": {"max_tasks": tasks}},
        )
        for tasks, own, dispatcher in (
            (50, {}, {}),
            *((tasks, LOW_LOAD, LOW_LOAD_DISPATCHER) for tasks in (20, 30, 40)),
        )
        for view, training in (("own", own), ("all", dispatcher))
    ),
)
PARTS = tuple(dict.fromkeys(study.part for study in STUDIES))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_arguments(parser, output="results/beyond", seeds=5, episodes=0)
    parser.set_defaults(episodes=None)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--studies", nargs="+", metavar="NAME", help="only these of the parts, as the tables name them")
    parser.add_argument("--test-episodes", type=int, default=20, metavar="N", help="fresh episodes to judge on (20)")
    flags.add_smoke(
        parser, setting="small", seeds=1, episodes=2, checkpoint_every=1, test_episodes=2, parts=["budgets", "tails"]
    )
    parsed = parser.parse_args(arguments)
    parsed.command = "beyond"
    return parsed


def run(parsed: argparse.Namespace) -> int:
    """Train, judge and write; returns the exit status."""
    if parsed.arrivals and parsed.arrivals not in ("uniform", "poisson"):
        raise ConfigurationError("beyond.py draws its arrivals; experiments/trace.py learns from a request log")
    for part in parsed.parts:
        curves, judged = [], []
        of_part = studies_of(part, parsed.episodes, parsed.studies)
        for episodes in sorted({study.episodes for study in of_part}):
            studies = [study for study in of_part if study.episodes == episodes]
            runs = part_runs(parsed, part, episodes, studies)
            curves.append(runs.train())
            judged.append(judge(runs, studies))
        table = pd.concat(judged, ignore_index=True)
        summary = over_seeds(table)
        runs.stem = f"beyond_{part}"
        plot(summary, runs.file("png"))
        text = describe(summary, runs)
        runs.write(text, curves=pd.concat(curves, ignore_index=True), evaluation=table, summary=summary)
    return 0


def studies_of(part: str, episodes: int | None, chosen: list[str] | None) -> list[Study]:
    """The studies of a part, or those chosen; with a number of episodes, for as many instead of their own.

    Raises:
        ConfigurationError: if a chosen one does not exist, or none is of this part.
    """
    names = [study.name for study in STUDIES if study.part == part]
    if chosen is not None and not set(chosen) <= set(names):
        raise ConfigurationError(f"part {part} has no study {(set(chosen) - set(names)).pop()!r}; it has {names}")
    studies = [study for study in STUDIES if study.part == part and (chosen is None or study.name in chosen)]
    if episodes is None:
        return studies
    if part == "budgets":
        return [Study(f"{episodes} episodes", part, episodes)]
    return [replace(study, episodes=episodes) for study in studies]


def part_runs(parsed: argparse.Namespace, part: str, episodes: int, studies: list[Study]) -> CaseRuns:
    """The runs of the studies of a part that are trained for as many episodes."""
    parsed = argparse.Namespace(**vars(parsed) | {"episodes": episodes})
    cases = [
        Case(
            study.name,
            "lad-pmd",
            training=study.training,
            setting=study.setting,
            columns={"study": study.name},
        )
        for study in studies
    ]
    runs = CaseRuns(parsed, f"beyond_{part}_{episodes}", cases)
    for study in studies:
        if study.percentile is not None:
            case = runs.cases[study.name]
            oracle = play_on(make_heuristic("greedy-oracle"), case_setting(runs.configuration, case), BOUND_SEED, 20)
            bound_s = oracle.percentile_s(study.percentile)
            bound: dict[str, Any] = {"bounded_percentile": study.percentile, "percentile_bound_s": bound_s}
            if study.tail_strength is not None:
                threshold_s = TAIL_MARGIN * bound_s
                bound = {"penalty": {"name": "tail", "threshold_s": threshold_s, "strength": study.tail_strength}}
            runs.cases[study.name] = replace(case, training={**case.training, **bound})
    return runs


def play_on(
    scheduler: Any, setting: Setting, seed: int, episodes: int, counted_slots: int | None = None
) -> EpisodeRecord:
    """Fresh episodes, of which the first slots count."""
    arrivals = evaluation_arrivals(setting, episodes, seed)
    slots = setting.num_slots - 1 if counted_slots is None else counted_slots
    return play(scheduler, setting.network, arrivals, np.random.default_rng(seed), slots)


def judge(runs: CaseRuns, studies: list[Study]) -> pd.DataFrame:
    """Every trained policy beside heuristics and the lower bound, on fresh arrivals: a row for each and seed."""
    frames = []
    for study in studies:
        setting = case_setting(runs.configuration, runs.cases[study.name])
        episodes = runs.parsed.test_episodes

        def played(scheduler: Any, setting: Setting = setting, study: Study = study) -> EpisodeRecord:
            return play_on(scheduler, setting, EVALUATION_SEED, runs.parsed.test_episodes, study.counted_slots)

        heuristics = {name: played(make_heuristic(name)) for name in BESIDE}
        arrivals = evaluation_arrivals(setting, episodes, EVALUATION_SEED)
        slots = study.counted_slots or setting.num_slots - 1
        oracle_s = heuristics["greedy-oracle"].mean_delay_s
        bound = bound_row(lower_bound_s(setting.network, arrivals, slots), arrivals, slots, oracle_s)
        for seed in range(runs.parsed.seeds):
            records = {TITLE: played(runs.trained(study.name, seed)), **heuristics}
            rows = pd.concat([comparison_table(records), pd.DataFrame([bound])], ignore_index=True)
            oracle = rows.set_index("scheduler").loc["greedy-oracle"]
            for column in ("p95_s", "p99_s"):
                rows[column.replace("_s", "_over_oracle")] = rows[column] / oracle[column]
            frames.append(rows.assign(part=study.part, study=study.name, seed=seed))
    judged = pd.concat(frames, ignore_index=True)
    first = ["part", "study", "scheduler", "seed"]
    return judged[[*first, *[column for column in judged if column not in first]]]


def over_seeds(judged: pd.DataFrame) -> pd.DataFrame:
    """Mean and sd over seeds of each scheduler in each study."""
    numbers = judged.select_dtypes("number").columns.drop(["seed", "episodes", "tasks"])
    grouped = judged.groupby(["part", "study", "scheduler"], sort=False)
    table = grouped[list(numbers)].mean()
    for column in ("mean_s", "over_oracle", "p95_over_oracle", "p99_over_oracle"):
        table[f"{column}_sd"] = grouped[column].std()
    table["seeds"] = grouped["seed"].nunique()
    return table.reset_index()


def describe(table: pd.DataFrame, runs: CaseRuns) -> str:
    """The comparison in Markdown."""
    lines = [
        f"# Learning for everybody, on setting `{runs.configuration['setting']['name']}`: "
        f"{runs.stem.removeprefix('beyond_')}",
        "",
        "Mean over seeds ± sd, on fresh arrivals that all schedulers had. The lower bound is one of the mean delay of",
        "any schedule (docs/explanation/bounds.md). Fairness is Jain's index of the slowdowns; small, middle and large",
        "are the mean delays of thirds of the tasks by workload.",
    ]
    header = (
        "scheduler",
        "mean, s",
        "over greedy oracle",
        "p50, s",
        "p95 over oracle's",
        "p99 over oracle's",
        "max, s",
        "fairness",
        "small, s",
        "middle, s",
        "large, s",
    )
    for study, rows in table.groupby("study", sort=False):
        cells = [
            (
                f"**{row['scheduler']}**" if row["scheduler"] == TITLE else row["scheduler"],
                with_sd(row, "mean_s", 2),
                with_sd(row, "over_oracle", 3),
                number(row["p50_s"], 2),
                with_sd(row, "p95_over_oracle", 3),
                with_sd(row, "p99_over_oracle", 3),
                number(row["max_s"], 1),
                number(row["fairness"], 3),
                *(number(row[f"class{index}_s"], 2) for index in (1, 2, 3)),
            )
            for row in rows.to_dict("records")
        ]
        lines += ["", f"## {study}", "", *tables.markdown_table(header, cells)]
    return "\n".join([*lines, "", tables.provenance(), ""])


def number(value: float, digits: int) -> str:
    """A number, or a dash where there is none."""
    return "–" if pd.isna(value) else f"{value:.{digits}f}"


def with_sd(row: Mapping[str, Any], column: str, digits: int) -> str:
    """Mean and sd of a learned policy; of others, which do not depend on a seed, the number alone."""
    if row["scheduler"] == TITLE:
        return tables.mean_sd(row[column], row[f"{column}_sd"], digits)
    return number(row[column], digits)


def plot(table: pd.DataFrame, path: Path) -> None:
    """Mean and 95th percentile over the greedy oracle's, for every study."""
    plt = pictures.pyplot()
    own = table[table["scheduler"] == TITLE].set_index("study")
    bound = table[table["scheduler"] == "lower bound"].set_index("study")
    figure, axes = plt.subplots(figsize=(9, 0.5 * len(own) + 1.8))
    rows = np.arange(len(own))
    axes.barh(rows - 0.2, own["over_oracle"], 0.38, xerr=own["over_oracle_sd"].fillna(0), color="#0b6fa4", label="mean")
    axes.barh(
        rows + 0.2, own["p95_over_oracle"], 0.38, xerr=own["p95_over_oracle_sd"].fillna(0), color="#c9b458", label="p95"
    )
    axes.plot(bound["over_oracle"], rows - 0.2, "k|", markersize=14, label="lower bound of the mean")
    axes.axvline(1.0, color="#c1440e", linewidth=1, label="greedy oracle")
    axes.set_yticks(rows, own.index)
    axes.invert_yaxis()
    axes.set(xlabel="delay / greedy oracle's, fresh arrivals", xlim=(0, None))
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, frameon=False)
    pictures.save(figure, path)


if __name__ == "__main__":
    sys.exit(run_command(run, parse()))

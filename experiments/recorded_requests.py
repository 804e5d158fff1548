"""LAD-Dispatch on a recorded request log with its models and LoRAs, against every rule, window by window.

    python -m experiments.recorded_requests                       the small made-up log of the package
    python -m experiments.recorded_requests --log requests.csv    a recorded one (docs/reference/request-log.md)

One policy for all loads learns on windows of the first 70 % of the log. It and every rule play consecutive windows of
the rest, each with empty queues and empty memories at first. The log's time runs faster or slower for the load; its
pauses are kept, nights among them, or shortened to five minutes. All of it happens with service times predicted from
what requests say, and with service times known.
Written into --output: how each window was served (recorded_requests.csv, kept by --resume), a summary
(recorded_requests_summary.csv), a table (recorded_requests.md) and a picture (recorded_requests.png).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from lad_rllib.algorithms.lad_dispatch import DispatchPolicy, LADDispatchHyperparameters
from lad_rllib.algorithms.lad_dispatch.training import learn
from lad_rllib.cli.program import Program
from lad_rllib.names import EVALUATION_PART
from lad_rllib.runs.options import Count, ResumableOptions, option
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.over_windows import ratio_interval
from lad_rllib.runs.plots import pyplot, save
from lad_rllib.runs.progress import bars
from lad_rllib.runs.rows import ResultRows
from lad_rllib.runs.tables import interval, markdown_page, put_page, summary_sections
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.scheduling.offline_requests import offline_requests
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, player
from lad_rllib.simulator.requests import RequestSetting, ServedRequests, SettingsInTurn, build_request_setting

LEARNED, SEARCH = "lad-dispatch", "offline search"
PAUSES = {"shortened": 300.0, "kept": None}
"""Longest pause between two requests [s of the log]; None: any."""
WINDOWS = 2
"""Windows of each setting in an iteration of training."""
CELL = ["work", "pauses", "load"]


class RecordedOptions(ResumableOptions):
    """Which log, what is learned from it, and what that may cost."""

    command: ClassVar[str] = "recorded_requests"
    title = "run"

    log: str = option("sample", "request log with the columns of GenTD26", "FILE")
    loads: list[Annotated[float, Field(gt=0)]] = option([0.2, 0.6, 0.9, 1.2], "loads", "X")
    work: list[Literal["predicted", "known"]] = option(["predicted", "known"], "what schedulers are told of it")
    seeds: Count = option(5, "trainings of each")
    iterations: Count = option(
        100, "iterations of a training, each of two windows for each load and kind of pauses", "N"
    )
    requests: Count = option(400, "requests of a window")
    search: bool = option(False, "also search each window for the best decisions, all that is to come known (minutes)")
    output: str = option("results/recorded_requests", "output folder", "DIR")


def run(options: RecordedOptions) -> int:
    """Train, play and write; returns the exit status."""
    output = writable_folder(options.output)
    rows = ResultRows(output / "recorded_requests.csv", options.resume, iterations=options.iterations)
    settings = {(pauses, load): setting_of(options, pauses, load) for pauses, load in product(PAUSES, options.loads)}
    with bars() as progress:
        for seed, work in progress.track([*product(range(options.seeds), options.work)], description="trainings"):
            if not rows.has(seed=seed, work=work, scheduler=LEARNED):
                told = {key: replace(one, world=replace(one.world, work=work)) for key, one in settings.items()}
                rows.add(*({"seed": seed, "work": work} | row for row in compared(options, told, seed)))
        if options.search and not rows.has(scheduler=SEARCH):
            for key, setting in progress.track([*settings.items()], description="searches"):
                found = [*searched(key, setting)]
                rows.add(*({"seed": 0, "work": work} | row for work in options.work for row in found))
    summary = summarised(rows.frame)
    summary.to_csv(output / "recorded_requests_summary.csv", index=False)
    plot(summary, output / "recorded_requests.png")
    put_page(output / "recorded_requests.md", describe(summary, options))
    return 0


def setting_of(options: RecordedOptions, pauses: str, load: float) -> RequestSetting:
    """The log at a load, on the preset's servers; its service model knows the first 70 % alone."""
    traffic = {"path": options.log, "load": load, "max_gap_s": PAUSES[pauses]}
    return build_request_setting({"preset": "gentd26", "requests": options.requests, "traffic": traffic})


def compared(
    options: RecordedOptions, settings: dict[tuple[str, float], RequestSetting], seed: int
) -> Iterator[dict[str, Any]]:
    """Rows of a policy that was trained with a seed; beside the first one's those of all rules."""
    past = SettingsInTurn([setting.with_part((0.0, EVALUATION_PART[0])) for setting in settings.values()], WINDOWS)
    learning = LADDispatchHyperparameters(
        step_size_iterations=options.iterations,
        sampled_requests=options.requests,
        updates_per_iteration=20,
        train_batch_size_per_learner=32,
        prior_weight=3.0,
        averaging_exponent=3.0,
    )
    actor, _ = learn(past, learning, seed, episodes=WINDOWS * len(settings))
    schedulers: dict[str, Any] = {LEARNED: DispatchPolicy(actor.settings, actor.packed())}
    if seed == 0:
        schedulers |= {name: make_scheduler(name, one_by_one=True) for name in REQUEST_SCHEDULERS}
    for key, setting in settings.items():
        unseen = setting.with_part(EVALUATION_PART)
        for name, scheduler in schedulers.items():
            play = player(scheduler, unseen.world, unseen.history())
            for window, requests in enumerate(unseen.windows()):
                yield row_of(key, name, window, play(requests, np.random.default_rng([seed, window])))


def searched(key: tuple[str, float], setting: RequestSetting) -> Iterator[dict[str, Any]]:
    """Rows of what a search with full knowledge of each window finds."""
    unseen = setting.with_part(EVALUATION_PART)
    for window, requests in enumerate(unseen.windows()):
        found = offline_requests(unseen.world, requests, np.random.default_rng(window))
        yield row_of(key, SEARCH, window, found)


def row_of(key: tuple[str, float], scheduler: str, window: int, served: ServedRequests) -> dict[str, Any]:
    """How a scheduler served a window."""
    delay_s = served.delay_s
    names = dict(zip((*CELL[1:], "scheduler", "window"), (*key, scheduler, window), strict=True))
    tail = {f"p{percent}_s": float(np.percentile(delay_s, percent)) for percent in (95, 99)}
    return names | {"mean_s": float(delay_s.mean())} | tail | {"swaps": float((served.swap_s > 0).mean())}


def summarised(rows: pd.DataFrame) -> pd.DataFrame:
    """Each scheduler in each cell, over the rule that is best there: means over windows and seeds, sd over seeds."""
    summary = []
    for key, cell in rows.groupby(CELL, sort=False):
        windows = cell.groupby(["scheduler", "window"])["mean_s"].mean().unstack(0)
        best = windows.mean().drop([LEARNED, SEARCH], errors="ignore").idxmin()
        for name, own in cell.groupby("scheduler", sort=False):
            by_seed = own.groupby("seed")["mean_s"].mean() / windows[best].mean()
            low, high = ratio_interval(windows[name].to_numpy(), windows[best].to_numpy())
            means = own[["mean_s", "p95_s", "p99_s", "swaps"]].mean().to_dict()
            ratio = {"over_best": by_seed.mean(), "over_best_sd": by_seed.std(), "low": low, "high": high}
            counts = {"seeds": len(by_seed), "windows": len(windows)}
            summary.append(dict(zip(CELL, key, strict=True)) | {"scheduler": name} | counts | means | ratio)
    return pd.DataFrame(summary).sort_values([*CELL, "mean_s"], ascending=[False, False, True, True])


SHOWN = {
    **{"scheduler": "scheduler", "mean_s": "mean, s", "over_best": "over the best rule", "interval": "over windows"},
    **{"p95_s": "p95, s", "p99_s": "p99, s", "swaps": "swaps"},
}


def describe(summary: pd.DataFrame, options: RecordedOptions) -> str:
    """The table of each cell in Markdown."""
    shown = summary.assign(interval=[*map(interval, summary["low"], summary["high"])])
    return markdown_page(
        "LAD-Dispatch on a request log",
        f"{summary['windows'].max()} windows of {options.requests} requests that nobody learned from. {LEARNED}: one "
        f"policy for all loads, {options.iterations} iterations, mean over {summary['seeds'].max()} seeds ± sd. The "
        "interval (95 %, paired bootstrap) is over windows; p95 and p99 are means over windows; swaps: share of "
        f"requests that waited for a model or LoRAs. {SEARCH}: all that is to come is known; no scheduler can know it.",
        *summary_sections(shown, CELL, "Work {}, pauses {}, load {:g}".format, SHOWN),
    )


def plot(summary: pd.DataFrame, file: Path) -> None:
    """Mean over that of the best rule by load, the learned one's with its interval over windows; near rules alone."""
    panels: Sequence[tuple[Any, pd.DataFrame]] = list(summary.groupby(CELL[:2], sort=False))
    figure, axes = pyplot().subplots(1, len(panels), figsize=(3.4 * len(panels), 3.4), squeeze=False, sharey=True)
    least = summary.groupby("scheduler", sort=False)["over_best"].min()
    near = [LEARNED, *least[least <= LIMIT].index.drop(LEARNED, errors="ignore")]
    for ax, ((work, pauses), rows) in zip(axes[0], panels, strict=True):
        for index, name in enumerate(near):
            own, is_learned = rows[rows["scheduler"] == name], name == LEARNED
            style = {"color": f"C{index}", "lw": 2.5 if is_learned else 1.0, "ls": ":" if name == SEARCH else "-"}
            ax.plot(own["load"], own["over_best"], marker="o", ms=3, label=name, **style)
            if is_learned:
                ax.fill_between(own["load"], own["low"], own["high"], alpha=0.2, lw=0)
        ax.set(xlabel="load", ylim=(0.5, LIMIT))
        ax.set_title(f"work {work}, pauses {pauses}", fontsize=10)
    axes[0][0].set_ylabel("mean delay over the best rule's")
    axes[0][-1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.02, 1.0))
    save(figure, file)


LIMIT = 1.4
"""Greatest ratio in the picture."""
main = Program(run, RecordedOptions, __doc__, {"loads": [0.9], "seeds": 1, "iterations": 2, "requests": 80})

if __name__ == "__main__":
    sys.exit(main())

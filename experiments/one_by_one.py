"""LAD-Dispatch against rules for requests that come one by one, under the same order of service, over seeds.

    python -m experiments.one_by_one                          8 unequal servers, Poisson and bursty, three loads
    python -m experiments.one_by_one --workloads paper --orders shortest_first aged:service_weight=400

For each workload, load, order and seed it trains a policy and plays it and the rules on the same fresh episodes. The
policy's tail is bounded while it learns: by a share of what least work left has on training episodes.
Written into --output: every row (one_by_one.csv, kept by --resume), means over seeds (one_by_one_summary.csv), a table
(one_by_one.md) and a picture (one_by_one.png).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from lad_rllib.algorithms.lad_dispatch.knowledge import knowledge
from lad_rllib.algorithms.lad_dispatch.networks import ActorSettings
from lad_rllib.algorithms.lad_dispatch.training import ImprovementSettings, RequestSource, learn
from lad_rllib.cli.program import Program
from lad_rllib.runs.options import Count, Options, option
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.plots import pyplot, save
from lad_rllib.runs.progress import bars
from lad_rllib.runs.rows import ResultRows
from lad_rllib.runs.tables import markdown_page, summary_table
from lad_rllib.scheduling import make_heuristic, play
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, RequestScheduler, play_requests
from lad_rllib.simulator import build_setting, make_order, stack_arrivals
from lad_rllib.simulator.requests.play import play_rule
from lad_rllib.simulator.requests.setting import RequestSetting, build_request_setting, is_request_spec
from lad_rllib.simulator.requests.slotted import SlottedRequests

LEARNED, YARDSTICK, ORACLE = "lad-dispatch", "least-work-left", "greedy-oracle, fifo"
RULES = (YARDSTICK, "shortest-expected-delay", "first-policy-iteration")
TEST_SEED, BOUND_SEED = 1_000_000, 2_000_000
MEASURES = ("mean_s", "p95_s", "p99_s")


class OneByOneOptions(Options):
    """What is compared, and what that may cost."""

    command: ClassVar[str] = "one_by_one"
    title = "run"

    workloads: list[str] = option(["unequal-8", "unequal-8-bursty"], "settings of requests, or of slots", "NAME")
    loads: list[Annotated[float, Field(gt=0)]] = option([0.5, 0.7, 0.9], "loads of requests", "X")
    orders: list[str] = option(["fifo", "shortest_first"], "orders of service", "ORDER")
    seeds: Count = option(5, "trainings of each")
    iterations: Count = option(30, "episodes of a training")
    requests: Count = option(10_000, "requests of an episode")
    episodes: Count = option(4, "test episodes")
    percentile: Annotated[float, Field(gt=0, lt=100)] = option(99.0, "percentile that is bounded in training")
    tail: Annotated[float, Field(gt=0)] = option(0.95, "its bound, over least work left's")
    output: str = option("results/one_by_one", "output folder", "DIR")
    resume: bool = option(False, "keep the rows that are in the output folder")


def run(options: OneByOneOptions) -> int:
    """Train, play and write; returns the exit status."""
    output = writable_folder(options.output)
    rows = ResultRows(output / "one_by_one.csv", options.resume, iterations=options.iterations)
    cells = [
        {"workload": workload, "load": load, "order": order, "seed": seed}
        for seed in range(options.seeds)
        for workload in options.workloads
        for load in (options.loads if is_of_requests(workload) else [build_setting({"preset": workload}).load])
        for order in options.orders
    ]
    with bars() as progress:
        for cell in progress.track(cells, description="trainings"):
            if not rows.has(**cell, scheduler=LEARNED):
                for row in compared(options, **cell):
                    rows.add(cell | row)
    print(write(rows.frame, output, options))
    return 0


def write(rows: pd.DataFrame, output: Path, options: OneByOneOptions) -> str:
    """Means over seeds, the table and the picture; returns the table."""
    table = over_first(rows)
    summary = table.groupby(["workload", "load", "order", "scheduler"], sort=False).agg(
        {f"over_{name}": ["mean", "std"] for name in MEASURES} | {"seed": "count"}
    )
    summary.columns = [f"{name}_sd" if kind == "std" else name for name, kind in summary.columns]
    summary = summary.reset_index().rename(columns={"seed": "seeds"})
    summary.to_csv(output / "one_by_one_summary.csv", index=False)
    text = describe(summary, options)
    (output / "one_by_one.md").write_text(text, encoding="utf-8")
    plot(table, output / "one_by_one.png")
    return text


def is_of_requests(workload: str) -> bool:
    """Whether a workload's requests come at times of their own."""
    return is_request_spec({"preset": workload})


def source_of(workload: str, load: float, order: str, requests: int) -> RequestSetting | SlottedRequests:
    """Where a workload's episodes come from."""
    if not is_of_requests(workload):
        return SlottedRequests(build_setting({"preset": workload}), make_order(order))
    spec = {"preset": workload, "order": order, "requests": requests, "traffic": {"load": load}}
    return build_request_setting(spec)


def compared(options: OneByOneOptions, workload: str, load: float, order: str, seed: int) -> list[dict[str, Any]]:
    """A row for each rule and for a trained policy; the first is the one that all are compared with."""
    source = source_of(workload, load, order, options.requests)
    rules = {name: REQUEST_SCHEDULERS[name]() for name in RULES}
    past_s = delays_s(source, rules[YARDSTICK], BOUND_SEED, 2)
    actor = ActorSettings()
    settings = ImprovementSettings(
        iterations=options.iterations,
        sampled=2500,
        minibatches=80,
        bounded_percentile=options.percentile,
        percentile_bound_s=float(options.tail * np.percentile(past_s, options.percentile)),
    )
    mean_actor, _ = learn(source, actor, settings, seed)
    rule = actor.rule(knowledge(source.world, source.history()), mean_actor.packed(), 0.0)
    learned_s = np.concatenate(
        [play_rule(rule, source.world, source.draw(rng), rng).delay_s for rng in rngs(TEST_SEED, options.episodes)]
    )
    rows = [{"scheduler": LEARNED} | measures(learned_s)]
    played = {} if isinstance(source, RequestSetting) else {ORACLE: oracle_delays_s(source, options.episodes)}
    played |= {name: delays_s(source, one, TEST_SEED, options.episodes) for name, one in rules.items()}
    return [{"scheduler": name} | measures(values) for name, values in played.items()] + rows


def rngs(seed: int, episodes: int) -> list[np.random.Generator]:
    """Randomness of each of some episodes."""
    return [np.random.default_rng([seed, episode]) for episode in range(episodes)]


def delays_s(source: RequestSource, scheduler: RequestScheduler, seed: int, episodes: int) -> np.ndarray:
    """Delays that a scheduler has on some episodes [s]."""
    world, history = source.world, source.history()
    played = [play_requests(scheduler, world, source.draw(rng), history, rng) for rng in rngs(seed, episodes)]
    return np.concatenate([served.delay_s for served in played])


def oracle_delays_s(source: SlottedRequests, episodes: int) -> np.ndarray:
    """Delays of the paper's greedy oracle, first in first out, on the same tasks [s]."""
    setting, delays = source.setting, []
    for rng in rngs(TEST_SEED, episodes):
        arrivals = stack_arrivals([setting.arrivals.draw(rng, setting.num_slots)])
        played = play(make_heuristic("greedy-oracle"), setting.network, arrivals, rng, setting.num_slots - 1)
        delays.append(played.delay_s[played.mask])
    return np.concatenate(delays)


def measures(delay_s: np.ndarray) -> dict[str, float]:
    """Mean and tail of delays [s]."""
    return dict(zip(MEASURES, (delay_s.mean(), *np.percentile(delay_s, (95, 99))), strict=True))


def over_first(rows: pd.DataFrame) -> pd.DataFrame:
    """Every row with its measures over those of least work left in the same cell."""
    key = ["workload", "load", "order", "seed"]
    base = rows[rows["scheduler"] == YARDSTICK].set_index(key)
    index = pd.MultiIndex.from_frame(rows[key])
    return rows.assign(
        **{f"over_{name}": rows[name].to_numpy() / base[name].loc[index].to_numpy() for name in MEASURES}
    )


def describe(summary: pd.DataFrame, options: OneByOneOptions) -> str:
    """The table in Markdown."""
    shown = {"workload": "workload", "load": "load", "order": "order", "scheduler": "scheduler", "seeds": "seeds"}
    shown |= {f"over_{name}": f"{name.removesuffix('_s')}, ratio" for name in MEASURES}
    about = (
        f"Ratios to the first scheduler of each cell, on the same {options.episodes} fresh episodes; {LEARNED}: "
        f"{options.iterations} episodes of training, mean over seeds ± sd. In settings of slots the first is the "
        "greedy oracle, first in first out; else least work left, under the same order."
    )
    return markdown_page("Requests one by one", about, summary_table(summary, shown))


def plot(table: pd.DataFrame, file: Path) -> None:
    """Mean and 99th percentile over those of least work left, by load."""
    cells: Sequence[tuple[Any, pd.DataFrame]] = list(table.groupby(["workload", "order"], sort=False))
    figure, axes = pyplot().subplots(1, len(cells), figsize=(3.6 * len(cells), 3.4), squeeze=False, sharey=True)
    for ax, (names, cell) in zip(axes[0], cells, strict=True):
        for name, rows in cell.groupby("scheduler", sort=False):
            means = rows.groupby("load")[["over_mean_s", "over_p99_s"]].mean()
            [line] = ax.plot(means.index, means["over_mean_s"], marker="o", label=f"{name}, mean")
            ax.plot(means.index, means["over_p99_s"], marker="x", ls=":", color=line.get_color(), label="p99")
        ax.set(title=", ".join(names), xlabel="load", yscale="log")
    axes[0][0].set_ylabel("delay over the first scheduler's")
    axes[0][-1].legend(fontsize=6)
    save(figure, file)


SMOKE = {"workloads": ["unequal-8"], "loads": [0.7], "orders": ["fifo"], "seeds": 1, "iterations": 1}
main = Program(run, OneByOneOptions, __doc__, SMOKE | {"requests": 200, "episodes": 1})

if __name__ == "__main__":
    sys.exit(main())

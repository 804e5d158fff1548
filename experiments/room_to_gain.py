"""How much there is to be had when requests come one by one: rules, a search that knows all to come, and the bound.

    python -m experiments.room_to_gain                      8 unequal servers, Poisson and bursty, three loads
    python -m experiments.room_to_gain --seconds 600        and no search begins after ten minutes; --resume goes on

On the same episodes, over least work left under the same order of service: the rules of `evaluate` that are good
somewhere, an offline search that knows every arrival and every actual service time (an upper bound of the optimum that
no scheduler which sees only the past can have), and the lower bound that holds under every order.
Written into --output: a row for each episode and scheduler (room_to_gain.csv, kept by --resume), means
(room_to_gain_summary.csv) and a table (room_to_gain.md).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import product
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from lad_rllib.cli.program import Program
from lad_rllib.runs.fresh_episodes import mean_and_p99_s
from lad_rllib.runs.options import Count, ResumableOptions, option
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.over_seeds import MEAN_SD, aggregated
from lad_rllib.runs.progress import bars, time_is_over
from lad_rllib.runs.rows import ResultRows
from lad_rllib.runs.tables import markdown_page, over_first, put_page, summary_table
from lad_rllib.scheduling.bounds import requests_lower_bound_s
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.scheduling.offline_requests import offline_requests
from lad_rllib.scheduling.request_scheduler import player
from lad_rllib.simulator.requests import build_request_setting

RULES = ("least-work-left", "shortest-expected-delay", "first-policy-iteration", "self-priced")
SEARCH, BOUND = "offline search", "lower bound"
CELL = ("workload", "load", "order")
MEASURES = ("mean_s", "p99_s")
TEST_SEED = 1_000_000


class RoomOptions(ResumableOptions):
    """What is searched, and how long."""

    command: ClassVar[str] = "room_to_gain"
    title = "run"

    workloads: list[str] = option(["unequal-8", "unequal-8-bursty"], "settings of requests", "NAME")
    loads: list[Annotated[float, Field(gt=0)]] = option([0.5, 0.7, 0.9], "loads", "X")
    orders: list[str] = option(["fifo", "shortest_first"], "orders of service", "ORDER")
    requests: Count = option(3000, "requests of an episode")
    episodes: Count = option(3, "episodes of each")
    iterations: Count = option(60, "times that an episode is played while decisions settle")
    rounds: Count = option(20, "times that requests are moved after that")
    seconds: Annotated[float, Field(gt=0)] | None = option(
        None, "begin no search after this time; --resume goes on", "S"
    )
    output: str = option("results/room_to_gain", "output folder", "DIR")


def run(options: RoomOptions) -> int:
    """Play, search and write; returns the exit status."""
    output = writable_folder(options.output)
    same = {name: getattr(options, name) for name in ("requests", "iterations", "rounds")}
    rows = ResultRows(output / "room_to_gain.csv", options.resume, **same)
    cells = [*product(range(options.episodes), options.workloads, options.loads, options.orders)]
    is_over = time_is_over(options.seconds)
    with bars() as progress:
        for episode, workload, load, order in progress.track(cells, description="searches"):
            key = {"workload": workload, "load": load, "order": order, "episode": episode}
            if not is_over() and not rows.has(**key, scheduler=SEARCH):
                rows.add(*(key | row for row in searched(options, workload, load, order, episode)))
    summary = summarised(rows.frame)
    summary.to_csv(output / "room_to_gain_summary.csv", index=False)
    put_page(output / "room_to_gain.md", describe(summary, options))
    return 0


def searched(options: RoomOptions, workload: str, load: float, order: str, episode: int) -> Iterator[dict[str, Any]]:
    """Rows of an episode."""
    spec = {"preset": workload, "order": order, "requests": options.requests, "traffic": {"load": load}}
    setting = build_request_setting(spec)
    requests = setting.draw(np.random.default_rng([TEST_SEED, episode]))
    for name in RULES:
        rule: Any = make_scheduler(name, one_by_one=True)
        play = player(rule, setting.world, setting.history())
        yield {"scheduler": name} | mean_and_p99_s(play(requests, np.random.default_rng(episode)).delay_s)
    rng = np.random.default_rng(episode)
    found = offline_requests(setting.world, requests, rng, options.iterations, options.rounds)
    yield {"scheduler": SEARCH} | mean_and_p99_s(found.delay_s)
    yield {"scheduler": BOUND, "mean_s": requests_lower_bound_s(setting.world.timing(requests))}


def summarised(rows: pd.DataFrame) -> pd.DataFrame:
    """Ratios to least work left, means over episodes ± sd."""
    ratios = over_first(rows, [*CELL, "episode"], MEASURES)
    wanted = {f"over_{name}": MEAN_SD for name in MEASURES} | {"mean_s": ["mean"], "episode": ["count"]}
    return aggregated(ratios, [*CELL, "scheduler"], wanted).rename(columns={"episode": "episodes"})


def describe(summary: pd.DataFrame, options: RoomOptions) -> str:
    """The table in Markdown."""
    about = (
        f"Over {RULES[0]} under the same order, on the same episodes of {options.requests} requests, mean ± sd over "
        f"episodes; {SEARCH}: {options.iterations} iterations and {options.rounds} rounds of moves with all that is to "
        "come known."
    )
    shown = {name: name for name in (*CELL, "scheduler", "episodes", "mean_s")}
    shown |= {f"over_{name}": f"{name.removesuffix('_s')}, ratio" for name in MEASURES}
    return markdown_page("Room to gain", about, summary_table(summary, shown))


SMOKE = {"workloads": ["unequal-8"], "loads": [0.7], "orders": ["fifo"], "requests": 100, "episodes": 1}
main = Program(run, RoomOptions, __doc__, SMOKE | {"iterations": 2, "rounds": 1})

if __name__ == "__main__":
    sys.exit(main())

"""A policy while servers leave, come back and slow down, against least work left that knows all of it at once.

    python -m experiments.churn                                    the policy of the package
    python -m experiments.churn --checkpoint results/run/checkpoint

In the middle third of an episode every third server takes no requests (leave), or takes three times as long for what
comes then (slow). Both schedulers see which servers are up and the predictions of then, and neither is told
before. A server that leaves still serves those that it has, so no request is lost.
Written into --output: a row for each fleet and scheduler (churn.csv) and a table (churn.md).
"""

from __future__ import annotations

import sys
from itertools import product
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from lad_rllib.algorithms.lad_dispatch import load_request_scheduler
from lad_rllib.cli.program import Program
from lad_rllib.runs.fresh_episodes import mean_and_p99_s
from lad_rllib.runs.options import Count, ResumableOptions, option
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.rows import ResultRows
from lad_rllib.runs.tables import markdown_page, markdown_table, over_first, put_page
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.scheduling.request_scheduler import RequestScheduler
from lad_rllib.simulator.requests import RequestSetting, build_request_setting
from lad_rllib.simulator.requests.play import RequestSimulation

YARDSTICK = "least-work-left"
CHANGES = ("none", "leave", "slow", "leave and slow")
SLOWER = 3.0
EVERY = 3
"""Every third server changes; the next one is slowed where others leave."""
TEST_SEED = 3_000_000


class ChurnOptions(ResumableOptions):
    """What is played."""

    command: ClassVar[str] = "churn"
    title = "run"

    checkpoint: str = option("any-fleet", "the policy", "DIR")
    servers: list[Count] = option([6, 12, 24], "numbers of servers", "A")
    loads: list[Annotated[float, Field(gt=0)]] = option([0.4, 0.6], "loads while all servers are up", "X")
    orders: list[str] = option(["fifo", "shortest_first"], "orders of service", "ORDER")
    requests: Count = option(6000, "requests of an episode")
    episodes: Count = option(3, "episodes of each")
    output: str = option("results/churn", "output folder", "DIR")


def run(options: ChurnOptions) -> int:
    """Play and write; returns the exit status."""
    output = writable_folder(options.output)
    rows = ResultRows(output / "churn.csv", options.resume, requests=options.requests, episodes=options.episodes)
    schedulers = {
        YARDSTICK: make_scheduler(YARDSTICK, one_by_one=True),
        options.checkpoint: load_request_scheduler(options.checkpoint),
    }
    for cell in product(options.servers, options.loads, options.orders, CHANGES):
        key = dict(zip(("servers", "load", "order", "change"), cell, strict=True))
        setting = setting_of(*cell[:3], options.requests)
        for name, scheduler in schedulers.items():
            if not rows.has(**key, scheduler=name):
                seeds = range(TEST_SEED, TEST_SEED + options.episodes)
                delay_s = np.concatenate([played(scheduler, setting, cell[3], seed) for seed in seeds])
                rows.add(key | {"scheduler": name} | mean_and_p99_s(delay_s))
    put_page(output / "churn.md", describe(rows.frame, options))
    return 0


def setting_of(servers: int, load: float, order: str, requests: int) -> RequestSetting:
    """Unequal servers."""
    speeds = [2.0 ** -(index % 4) for index in range(servers)]
    spec = {"servers": speeds, "order": order, "requests": requests, "traffic": {"kind": "poisson", "load": load}}
    return build_request_setting(spec)


def played(scheduler: Any, setting: RequestSetting, change: str, seed: int) -> NDArray[np.float64]:
    """Delays of an episode in whose middle servers change [s].

    Args:
        scheduler: Decides on what is seen of the servers at each request.
        setting: The fleet.
        change: One of :data:`CHANGES`.
        seed: Seed of the requests.
    """
    rng = np.random.default_rng(seed)
    requests = setting.draw(rng)
    third, index = len(requests) // 3, np.arange(setting.world.num_servers)
    leaves = (index % EVERY == 0) & ("leave" in change)
    slow = (index % EVERY == 1) & ("slow" in change)
    timing = setting.world.timing(requests)
    for seconds in (timing.predicted_s, timing.actual_s):
        seconds[third : 2 * third, slow] *= SLOWER
    simulation = RequestSimulation(setting.world, requests, timing)
    decides: RequestScheduler = scheduler
    decides.begin(setting.world, setting.history())
    for view in simulation:
        is_middle = third <= simulation.next < 2 * third
        simulation.send(decides.choose(view._replace(up=view.up & ~(leaves & is_middle)), rng))
    return simulation.finish().delay_s


def describe(rows: pd.DataFrame, options: ChurnOptions) -> str:
    """The table of ratios to least work left."""
    key = ["servers", "load", "order", "change"]
    ratios = over_first(rows, key, ("mean_s", "p99_s"))
    lines = [
        [*(row[name] for name in key), *(f"{row[name]:.3f}" for name in ("over_mean_s", "over_p99_s"))]
        for row in ratios[ratios["scheduler"] != YARDSTICK].to_dict("records")
    ]
    about = (
        f"{options.checkpoint} over {YARDSTICK}, which sees the changes as it does, under the same order, on the same "
        f"{options.episodes} episodes of {options.requests} requests."
    )
    return markdown_page("Servers that leave and slow down", about, markdown_table([*key, "mean", "p99"], lines))


SMOKE = {"servers": [6], "loads": [0.5], "orders": ["fifo"], "requests": 300, "episodes": 1}
main = Program(run, ChurnOptions, __doc__, SMOKE)

if __name__ == "__main__":
    sys.exit(main())

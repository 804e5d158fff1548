"""The policy for any fleet, without training, against policies that were trained for one fleet each.

    python -m experiments.specialists --resume

Each specialist learns for the mean on its own fleet, load and order of service. All play the same fresh episodes.
Written into --output: delays of every scheduler and seed (specialists.csv, kept by --resume), a table (specialists.md).
"""

from __future__ import annotations

import sys
from itertools import product
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from experiments.any_fleet import UNCAPPED
from experiments.pages.fleets import specialists
from lad_rllib.algorithms.lad_dispatch import DispatchPolicy, LADDispatchHyperparameters
from lad_rllib.algorithms.lad_dispatch.training import learn
from lad_rllib.cli.program import Program
from lad_rllib.runs.fresh_episodes import YARDSTICK, FreshEpisodes, mean_and_p99_s
from lad_rllib.runs.options import Count, Options, Seed, TrainingsOptions, option
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.progress import time_is_over
from lad_rllib.runs.rows import ResultRows
from lad_rllib.runs.tables import markdown_page, markdown_table, put_page
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.simulator.requests import RequestSetting, build_request_setting

SPECIALIST, NO_SEED, TEST_SEED = "specialist", -1, 1_000_000
FLEETS: dict[str, dict[str, Any]] = {
    "unequal-8": {"preset": "unequal-8"},
    "20 servers": {
        "servers": np.linspace(0.2, 1.0, 20).round(2).tolist(),
        "service": {"kind": "linear", "per_step_s": 0.1, "spread": 0.1},
    },
}
"""Fleets by name; the sizes of both are those of vLLM-Omni's benchmark, predicted within 10 %."""


class SpecialistsOptions(TrainingsOptions):
    """What is compared, and what that may cost."""

    command: ClassVar[str] = "specialists"
    title = "run"
    may_change = Options.may_change | {"fleets", "loads", "orders", "seeds", "seconds"}

    fleets: list[Literal[(*FLEETS,)]] = option(list(FLEETS), "fleets")  # type: ignore[valid-type]
    loads: list[Annotated[float, Field(gt=0)]] = option([0.7, 0.9], "loads", "X")
    orders: list[str] = option(["fifo", "shortest_first"], "orders of service", "ORDER")
    seeds: list[Seed] = option([0, 1, 2], "seeds of training", "SEED")
    checkpoint: str = option("any-fleet", "the policy for any fleet", "DIR")
    iterations: Count = option(30, "episodes of a specialist's training")
    requests: Count = option(10_000, "requests of an episode")
    episodes: Count = option(10, "test episodes")
    output: str = option("results/specialists", "output folder", "DIR")


def run(options: SpecialistsOptions) -> int:
    """Train, play and write; returns the exit status."""
    output, is_over = writable_folder(options.output), time_is_over(options.seconds)
    rows = ResultRows(output / "specialists.csv", options.resume, **options.arguments())
    policy = DispatchPolicy.from_checkpoint(options.checkpoint)
    untrained = {
        YARDSTICK: make_scheduler(YARDSTICK, one_by_one=True),
        options.checkpoint: policy,
        f"{options.checkpoint}{UNCAPPED}": policy.with_wait_cap(None),
    }
    for seed, fleet, load, order in product(options.seeds, options.fleets, options.loads, options.orders):
        key = {"fleet": fleet, "load": load, "order": order}
        setting = setting_of(fleet, load, order, options.requests)
        tests = FreshEpisodes(setting, options.episodes, TEST_SEED)
        for name, scheduler in untrained.items():
            if not rows.has(**key, scheduler=name):
                rows.add(key | {"scheduler": name, "seed": NO_SEED} | mean_and_p99_s(tests.delays_s(scheduler)))
        if not is_over() and not rows.has(**key, scheduler=SPECIALIST, seed=seed):
            trained = specialist(setting, options.iterations, seed)
            rows.add(key | {"scheduler": SPECIALIST, "seed": seed} | mean_and_p99_s(tests.delays_s(trained)))
            print(f"seed {seed}: {fleet}, {load:g}, {order}", flush=True)
    done = rows.frame.groupby(["fleet", "load", "order"], sort=False).filter(
        lambda cell: SPECIALIST in set(cell["scheduler"])
    )
    page = markdown_page("One policy for any fleet against specialists", markdown_table(*specialists(done)))
    put_page(output / "specialists.md", page)
    return 0


def setting_of(fleet: str, load: float, order: str, requests: int) -> RequestSetting:
    """A fleet under Poisson traffic."""
    traffic = {"kind": "poisson", "load": load}
    return build_request_setting(FLEETS[fleet] | {"order": order, "requests": requests, "traffic": traffic})


def specialist(setting: RequestSetting, iterations: int, seed: int) -> DispatchPolicy:
    """A policy that is trained on one fleet alone."""
    settings = LADDispatchHyperparameters(
        step_size_iterations=iterations, sampled_requests=2500, updates_per_iteration=80
    )
    actor, _ = learn(setting, settings, seed)
    return DispatchPolicy(settings, actor.packed())


SMOKE = {"fleets": ["unequal-8"], "loads": [0.7], "orders": ["fifo"], "seeds": [0], "iterations": 1}
main = Program(run, SpecialistsOptions, __doc__, SMOKE | {"requests": 200, "episodes": 1})

if __name__ == "__main__":
    sys.exit(main())

"""One side of :mod:`benchmarks.before_after`: runs cases with the ``lad_rllib`` that ``PYTHONPATH`` finds first.

Reads the names of cases, one a line, and answers each with the CPU time that it took [s], short ones as a mean of
several.
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

PAPER = {"preset": "paper"}
MIN_S = 0.4
"""Cases are repeated for so long [s]."""


def cases() -> dict[str, Callable[[], Any]]:
    """What can be run, by name, each warm; all of it is in this process."""
    import numpy as np

    from lad_rllib.envs import FleetVectorEnv
    from lad_rllib.scheduling import make_heuristic, play
    from lad_rllib.simulator import build_setting, marginal_costs_s, stack_arrivals

    setting = build_setting(PAPER)
    arrivals = stack_arrivals([setting.arrivals.draw(np.random.default_rng(0), setting.num_slots)])
    oracle = make_heuristic("greedy-oracle")
    record = play(oracle, setting.network, arrivals, np.random.default_rng(0))
    env, rng = FleetVectorEnv({"setting": PAPER}), np.random.default_rng(1)
    env.reset(seed=1)
    shape = (setting.num_slots, 1, setting.network.num_stations, setting.arrivals.max_tasks)
    actions = rng.integers(setting.network.num_servers, size=shape)

    def step() -> None:
        env.reset(seed=1)
        for action in actions[:-1]:
            env.step(action)

    found: dict[str, Callable[[], Any]] = {
        "simulator: an episode of the environment, given decisions": step,
        "simulator: an episode of the greedy oracle": lambda: play(
            oracle, setting.network, arrivals, np.random.default_rng(0)
        ),
        "marginal costs of an episode": lambda: marginal_costs_s(record),
        **{f"{name}: an iteration": trained(name) for name in ("lad-ts", "lad-pmd")},
    }
    for run in found.values():
        run()
    return found


def trained(name: str) -> Callable[[], Any]:
    """An iteration of an algorithm with its defaults on the paper's setting."""
    from lad_rllib.algorithms import CONFIGS
    from lad_rllib.envs import FleetVectorEnv

    config = CONFIGS[name]().environment(FleetVectorEnv, env_config={"setting": PAPER}).debugging(seed=1)
    train: Callable[[], Any] = config.build_algo().train
    return train


def main() -> None:
    """Answer until there is nothing more to read."""
    warnings.filterwarnings("ignore")
    logging.getLogger("ray").setLevel(logging.ERROR)
    import torch

    from lad_rllib.runs.cluster import connect

    torch.set_num_threads(1)
    connect("local")
    known = cases()
    print(*known, sep="\t", file=sys.__stdout__, flush=True)
    for line in sys.stdin:
        print(cpu_s(known[line.rstrip("\n")]), file=sys.__stdout__, flush=True)


def cpu_s(case: Callable[[], Any]) -> float:
    """CPU time of a case [s]."""
    began, done, taken = time.process_time(), 0, 0.0
    while taken < MIN_S:
        case()
        done, taken = done + 1, time.process_time() - began
    return taken / done


if __name__ == "__main__":
    main()

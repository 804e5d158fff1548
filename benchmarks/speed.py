"""Speed and memory of training, as ratios within one run on one core.

Compares an episode of the paper's setting (about 30,000 decisions and 1,180 updates of single stations) on five paths:
(a) the literal loop over tasks and stations, (b) the batched loop without RLlib, (c) ``LADTS.train()``, (d)
``LADPMD.train()`` and (e) RLlib's own discrete SAC with one policy per base station. (a) to (d) take turns, so that a
busy machine slows them all; (a) and (e) run for a few slots and are extrapolated. Then: how the cost of (b) grows with
the network and the tasks, beside slots of the paper's size in the same process, and how much memory (c) takes. Ratios
are of CPU time, which other programs disturb less than wall time. ``--profile`` prints where an episode of (c) and (d)
spends its time instead.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import logging
import platform
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS, ROOT, provenance, show, write_figures, write_page

SERVERS = (10, 20, 50, 100, 200)
TASKS = (10, 20, 50, 100)
PAPER = {"preset": "paper"}
QUICK = {"preset": "paper", "slots": 25, "network": {"stations": 3}}
OURS = {"(c) LADTS.train()": "lad-ts", "(d) LADPMD.train()": "lad-pmd"}
GOAL_OVER_LITERAL, GOAL_OVER_BARE = 40.0, 1.3
PROFILED = 20
"""Functions that a profile shows."""


def timed(function: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU time of a call [s]."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def times(repeats: list[tuple[float, float]], note: str) -> dict[str, Any]:
    """Medians and minima of (wall, CPU) times of an episode [s]."""
    wall, cpu = zip(*repeats, strict=True)
    return {
        "wall_s": statistics.median(wall),
        "wall_s_min": min(wall),
        "cpu_s": statistics.median(cpu),
        "cpu_s_min": min(cpu),
        "note": note,
    }


# -- The five paths ---------------------------------------------------------------------------------------------------


class LiteralSlots:
    """(a): single slots once all buffers are warm; seconds per decision and per update, times those of an episode."""

    def __init__(self, spec: dict[str, Any]) -> None:
        from lad_rllib.simulator import build_setting
        from tests.algorithms.literal_training import Choices, LiteralTraining, OwnRandomness

        setting, choices = build_setting(spec), Choices()
        self.training = LiteralTraining(setting.network, setting.num_slots, choices, OwnRandomness(setting, choices, 1))
        self.training.start_episode()
        self.slot = 0
        while min(len(agent.replay) for agent in self.training.agents) <= choices.learning_starts:
            self.training.play_slot(self.slot)
            self.slot += 1
        self._per_decision: list[tuple[float, float]] = []
        self._per_update: list[tuple[float, float]] = []

    def train(self) -> None:
        """Play and learn for one slot."""
        decisions, updates = int(self.training.tasks.task_counts[self.slot].sum()), len(self.training.agents)
        play = timed(lambda: self.training.play_slot(self.slot))
        learn = timed(lambda: self.training.learn(self.slot))
        self._per_decision.append((play[0] / decisions, play[1] / decisions))
        self._per_update.append((learn[0] / updates, learn[1] / updates))
        self.slot += 1

    def episodes(self, decisions: float, updates: float) -> list[tuple[float, float]]:
        """Wall and CPU time of an episode [s], from each slot."""
        return [
            (play[0] * decisions + learn[0] * updates, play[1] * decisions + learn[1] * updates)
            for play, learn in zip(self._per_decision, self._per_update, strict=True)
        ]


def rllib_sac(slots: int, rounds: int, slots_of_episode: int, rows: float) -> dict[str, Any]:
    """(e): episodes of a few slots, each with as many updates of every policy, after one to warm up."""
    from ray.rllib.callbacks.callbacks import RLlibCallback
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    from experiments.any_rllib_algorithm import build_config
    from lad_rllib.registry import register

    register()
    spec = PAPER | {"slots": slots + 1}
    config = build_config("sac", spec, decisions=1, shared_policy=False, seed=1)
    config.callbacks(RLlibCallback)  # without the comparison with the greedy oracle
    config.rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[20, 20], fcnet_activation="relu"))
    algorithm = config.build_algo()
    algorithm.train()
    lifetime = ("learners", "__all_modules__", "num_module_steps_trained_lifetime")
    trained = algorithm.metrics.peek(lifetime, default=0)
    repeats = [timed(algorithm.train) for _ in range(rounds)]
    per_episode = (algorithm.metrics.peek(lifetime, default=0) - trained) / rounds
    algorithm.stop()
    scale = slots_of_episode / slots
    return times(
        [(wall * scale, cpu * scale) for wall, cpu in repeats],
        f"extrapolated from episodes of {slots} slots; {per_episode * scale:,.0f} rows trained per episode, "
        f"(b) to (d): {rows:,.0f}",
    )


def taking_turns(spec: dict[str, Any], rounds: int, episodes: int) -> tuple[dict[str, dict[str, Any]], Any]:
    """(a) to (d) in alternating rounds, with full buffers; and the bare loop, whose work is counted."""
    from benchmarks.bare_loop import BareLoop

    literal, bare = LiteralSlots(spec), BareLoop(spec)
    algorithms = {path: warm_algorithm(name, spec) for path, name in OURS.items()}
    bare.train()
    bare.decisions = bare.updates = 0
    paths = {"(b) batched loop, no RLlib": bare, **algorithms}
    taken: dict[str, list[tuple[float, float]]] = {path: [] for path in paths}
    played = rounds * episodes
    for _ in range(played):
        literal.train()
        for path, trained in paths.items():
            taken[path].append(timed(trained.train))
    for algorithm in algorithms.values():
        algorithm.stop()
    literal_times = literal.episodes(bare.decisions / played, bare.updates / played)
    results = {"(a) literal loop": times(literal_times, f"extrapolated from {played} slots with warm buffers")}
    return results | {path: times(own, f"{played} episodes") for path, own in taken.items()}, bare


def warm_algorithm(name: str, spec: dict[str, Any], seed: int = 1) -> Any:
    """An algorithm on a setting, which has trained for one episode."""
    from lad_rllib.algorithms import CONFIGS
    from lad_rllib.envs import FleetVectorEnv

    algorithm = (
        CONFIGS[name]().environment(FleetVectorEnv, env_config={"setting": spec}).debugging(seed=seed).build_algo()
    )
    algorithm.train()
    return algorithm


def profile(name: str, spec: dict[str, Any], episodes: int) -> list[dict[str, Any]]:
    """The functions in which episodes of an algorithm spend most of their time, without what these call.

    Compiled kernels are single functions here. Profiling makes Python's share greater than it is.
    """
    algorithm, profiler = warm_algorithm(name, spec), cProfile.Profile(time.process_time)
    for _ in range(episodes):
        profiler.runcall(algorithm.train)
    algorithm.stop()
    entries = sorted(profiler.getstats(), key=lambda entry: -entry.inlinetime)
    total_s = sum(entry.inlinetime for entry in entries)
    return [
        {
            "function": entry.code if isinstance(entry.code, str) else _place(entry.code),
            "calls/episode": f"{entry.callcount / episodes:,.0f}",
            "ms/episode": entry.inlinetime / episodes * 1e3,
            "share": f"{entry.inlinetime / total_s:.1%}",
        }
        for entry in entries[:PROFILED]
    ]


def _place(code: Any) -> str:
    """Package or module, and name, of a function."""
    parts = Path(code.co_filename).with_suffix("").parts
    start = next((index for index, part in enumerate(parts) if part in ("lad_rllib", "site-packages")), -2)
    return ".".join([*parts[start:], code.co_name]).removeprefix("site-packages.")


# -- Growth -----------------------------------------------------------------------------------------------------------


def case(stations: int, tasks: int, slots: int) -> dict[str, float]:
    """Runs in a process of its own: slots of (b) with an update of all stations, in turns with the paper's size."""
    loops = [warm_loop(20, 50, slots), warm_loop(stations, tasks, slots)]
    repeats: list[list[tuple[float, float]]] = [[], []]
    for _ in range(slots):
        for loop, own in zip(loops, repeats, strict=True):
            own.append(timed(loop))
    (_, paper_cpu), (wall, cpu) = ([statistics.median(values) for values in zip(*own, strict=True)] for own in repeats)
    return {"wall ms/slot": wall * 1e3, "CPU ms/slot": cpu * 1e3, "cost over 20 x 50": cpu / paper_cpu}


def warm_loop(stations: int, tasks: int, slots: int) -> Callable[[], None]:
    """(b) on a network of a size, with buffers that are warm: plays one slot at each call."""
    from benchmarks.bare_loop import LEARNING_STARTS, BareLoop

    network, arrivals = {"stations": stations}, {"max_tasks": tasks}
    num_slots = 4 + 4 * LEARNING_STARTS // tasks + slots
    loop = BareLoop({"preset": "paper", "slots": num_slots, "network": network, "arrivals": arrivals})
    observation, _ = loop.env.reset(seed=1)
    slot = 0
    while min(loop.buffer.size) <= LEARNING_STARTS:
        observation = loop.play(slot, observation)
        slot += 1
    loop.learn()

    def play_and_learn() -> None:
        nonlocal observation, slot
        observation = loop.play(slot, observation)
        loop.learn()
        slot += 1

    return play_and_learn


def memory_case(stations: int, tasks: int) -> dict[str, float]:
    """Runs in a process of its own: peak memory of (c) in this process, without Ray's own processes [MiB]."""
    import lad_rllib.algorithms
    import lad_rllib.envs  # noqa: F401

    imported = peak_mib()
    spec = {"preset": "paper", "slots": 30, "network": {"stations": stations}, "arrivals": {"max_tasks": tasks}}
    warm_algorithm("lad-ts", spec).stop()
    return {"peak MiB": peak_mib(), "of it imports": imported}


def peak_mib() -> float:
    """Greatest resident memory of this process so far [MiB]."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux: there, getrusage() of a new process starts at its parent's size
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def in_own_process(*arguments: Any) -> dict[str, float]:
    """Run a case in a process of its own, so that its memory is its own."""
    command = [sys.executable, "-m", "benchmarks.speed", "--case", *map(str, arguments)]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    output = subprocess.run(command, check=True, cwd=ROOT, **quiet).stdout
    return json.loads(output.splitlines()[-1])


def growth(quick: bool) -> list[dict[str, Any]]:
    """Cost per slot and peak memory for growing networks, and for growing numbers of tasks."""
    sizes = [(servers, 50) for servers in SERVERS] + [(20, tasks) for tasks in TASKS if tasks != 50]
    rows = []
    for stations, tasks in [(3, 50)] if quick else sizes:
        row = {"stations = servers": stations, "most tasks": tasks}
        row |= in_own_process("time", stations, tasks, 2 if quick else 8)
        if not quick:
            row |= in_own_process("memory", stations, tasks)
        rows.append(row)
        print(show([row]) if len(rows) == 1 else show([row]).splitlines()[-1], flush=True)
    return rows


# -- Report -----------------------------------------------------------------------------------------------------------


def paths_table(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each path, with ratios of CPU time."""
    spec = QUICK if options.quick else PAPER
    from benchmarks.bare_loop import BATCH

    rounds, episodes = (1, 1) if options.quick else (options.rounds, options.episodes)
    results, bare = taking_turns(spec, rounds, episodes)
    played = rounds * episodes
    decisions, updates = bare.decisions / played, bare.updates / played
    slots = bare.env.setting.num_slots - 1
    if not options.quick:
        results["(e) RLlib's SAC, 20 policies"] = rllib_sac(4, 3, slots, updates * BATCH)
    print(f"One episode: {decisions:,.0f} decisions, {updates:,.0f} updates of a station, {slots} slots.\n")
    literal, bare_row = list(results.values())[:2]
    rows = []
    for path, result in results.items():
        rows.append(
            {
                "path": path,
                "wall s/episode": result["wall_s"],
                "CPU s/episode": result["cpu_s"],
                "least CPU s/episode": result["cpu_s_min"],
                "decisions/CPU s": decisions / result["cpu_s"],
                "faster than (a)": literal["cpu_s"] / result["cpu_s"],
                "cost over (b)": result["cpu_s"] / bare_row["cpu_s"],
                "measured": result["note"],
            }
        )
    return rows


def verdict(rows: list[dict[str, Any]]) -> str:
    """How (c) stands to its two goals."""
    own = next(row for row in rows if row["path"].startswith("(c)"))
    faster, over = own["faster than (a)"], own["cost over (b)"]
    return "\n".join(
        f"{'reached' if good else 'MISSED'}: LADTS.train() {text}"
        for good, text in (
            (faster >= GOAL_OVER_LITERAL, f"is {faster:.0f} times as fast as (a), goal {GOAL_OVER_LITERAL:.0f}"),
            (over <= GOAL_OVER_BARE, f"costs {over:.2f} times (b), goal at most {GOAL_OVER_BARE}"),
        )
    )


def write(folder: Path, paths: list[dict[str, Any]], growing: list[dict[str, Any]]) -> None:
    """Write ``speed.csv`` (one line per figure) and ``speed.md``."""
    about = provenance("one thread")
    labelled = [("paths", row["path"], row) for row in paths]
    labelled += [("growth", f"{row['stations = servers']} x {row['most tasks']}", row) for row in growing]
    figures = [(table, label, key, value) for table, label, row in labelled for key, value in row.items()]
    write_figures(folder / "speed.csv", ("table", "row", "figure", "value"), figures, about)
    write_page(
        folder / "speed.md",
        "Speed of training",
        about,
        "An episode of the paper's setting on one core; medians; ratios are of CPU time within this run.",
        show(paths),
        verdict(paths),
        "Cost of a slot with an update of all stations, (b), by base stations (= edge servers) and the most tasks of "
        "a station in a slot, and its ratio to slots of 20 x 50 in the same process; peak memory of (c) in its "
        "process, and what its imports alone take.",
        show(growing),
    )


def main(argv: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of (a) to (d) (default: 5)")
    parser.add_argument(
        "--episodes", type=int, default=3, help="episodes of (b) to (d), slots of (a), in a round (default: 3)"
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the results")
    parser.add_argument("--quick", action="store_true", help="does it run? ignore its figures; (e) is left out")
    parser.add_argument("--profile", action="store_true", help="print where episodes of (c) and (d) spend their time")
    parser.add_argument("--case", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    warnings.filterwarnings("ignore")
    logging.getLogger("ray").setLevel(logging.ERROR)
    import torch

    torch.set_num_threads(1)
    if options.case:
        kind, *sizes = options.case
        print(json.dumps({"time": case, "memory": memory_case}[kind](*map(int, sizes))))
        return 0
    from lad_rllib.runs.cluster import connect

    connect("local")
    if options.profile:
        for path, name in OURS.items():
            rows = profile(name, QUICK if options.quick else PAPER, options.episodes)
            print(f"{path}, own CPU time of functions:", show(rows), sep="\n\n", end="\n\n")
        return 0
    paths = paths_table(options)
    print(show(paths), verdict(paths), sep="\n\n", end="\n\n", flush=True)
    write(options.output, paths, growth(options.quick))
    print(f"\nwritten: {options.output / 'speed.csv'}, speed.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())

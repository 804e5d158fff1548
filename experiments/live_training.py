"""LAD-TS trained on measured delays: env runners on the nodes of a cluster, each with a fleet of edge servers.

python experiments/live_training.py                       two nodes on this machine, three seeds: some 45 minutes
python experiments/live_training.py --address auto --fleet fleet.yaml --time-scale 1     your own cluster and fleet

For each seed: trains in the simulator calibrated to the fleet, trains from scratch on the fleet itself, and then lets
both policies and the heuristics serve the same arrivals on the fleet. Writes live_training.csv (learning curves),
live_evaluation.csv (one row for each seed, episode and scheduler, written as they come), a summary as live_training.md,
and live_training.png into --output.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import ray
from rich.console import Console
from rich.progress import Progress

from lad_rllib import names
from lad_rllib.algorithms.common.policy import FleetPolicy
from lad_rllib.algorithms.lad_ts import LADTS, LADTSConfig
from lad_rllib.cli import flags
from lad_rllib.envs import FleetVectorEnv, LiveFleetVectorEnv, YardstickCallback
from lad_rllib.fleet import Fleet, FleetModel, FleetSpec, calibrate, load_fleet
from lad_rllib.runs import cluster as ray_cluster
from lad_rllib.runs.command import run_command
from lad_rllib.runs.local_ray import on_loopback
from lad_rllib.runs.options import RayOptions, StorageOptions, check_at_least
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.provenance import command_line
from lad_rllib.runs.rows import ResultRows
from lad_rllib.runs.storage import SharedCopy
from lad_rllib.scheduling import Scheduler, make_heuristic
from lad_rllib.service import Dispatcher, read_prompts, serve, tasks_of_episode
from lad_rllib.simulator import Setting, build_setting

LIVE, SIMULATED, EXACT = "LAD-TS, trained live", "LAD-TS, trained in the simulator", "least-loaded-exact"
HEURISTICS = (EXACT, "water-filling", "random", "round-robin", "local-only")
RUNNER = "env_runner"
"""Custom resource of the nodes that this script starts, so that each gets one env runner."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fleet", default="emulated", metavar="NAME|FILE", help="of each env runner (emulated)")
    parser.add_argument("--time-scale", type=float, default=0.0125, metavar="X", help="wall s per s of it (0.0125)")
    parser.add_argument("--num-env-runners", type=int, default=2, metavar="N", help="each with its own fleet (2)")
    parser.add_argument("--seeds", type=int, default=3, help="runs, with seeds 0, 1, ... (3)")
    parser.add_argument("--episodes", type=int, default=30, help="live episodes to train, all runners together (30)")
    parser.add_argument("--simulated-episodes", type=int, default=100, metavar="N", help="(100)")
    parser.add_argument("--evaluation-episodes", type=int, default=1, metavar="N", help="for each seed (1)")
    parser.add_argument("--updates-per-slot", type=float, default=3.0, metavar="X", help="live samples are dear (3)")
    parser.add_argument("--slots", type=int, default=60, help="slots of an episode (60)")
    parser.add_argument("--max-tasks", type=int, default=14, help="most tasks of a station in a slot (14)")
    parser.add_argument("--load", type=float, default=1.2, help="work that arrives over what the servers can do (1.2)")
    flags.add_options(parser, RayOptions)
    parser.add_argument("--output", default="results/live_training", metavar="DIR", help="(results/live_training)")
    parser.add_argument("--resume", action="store_true", help="keep the seeds that are complete in the output folder")
    flags.add_options(parser, StorageOptions)
    small = {"seeds": 1, "episodes": 2, "simulated_episodes": 2, "slots": 4, "max_tasks": 3}
    flags.add_smoke(parser, **small)
    parsed = parser.parse_args(arguments)
    parsed.command = "live_training"
    return parsed


def run(parsed: argparse.Namespace) -> int:
    """Train, evaluate and write; returns the exit status."""
    check_at_least(1, parsed, "seeds", "episodes", "simulated_episodes", "evaluation_episodes", "num_env_runners")
    output = writable_folder(parsed.output)
    spec = fleet_of(parsed)
    copy = SharedCopy(output, parsed.storage_path)
    if parsed.resume:
        copy.fetch()
    curves = ResultRows(output / "live_training.csv", parsed.resume)
    served = ResultRows(output / "live_evaluation.csv", parsed.resume)
    print(f"writing to {copy.place}")
    with cluster(parsed, spec), Progress(console=Console(stderr=True)) as progress:
        per_seed = parsed.episodes // parsed.num_env_runners + parsed.evaluation_episodes * (2 + len(HEURISTICS))
        bar = progress.add_task("calibrating", total=parsed.seeds * per_seed)
        with Fleet.start(spec) as fleet:
            model = calibrate(fleet).model
        setting = build_setting(model.spec(spec.name, slots=parsed.slots, max_tasks=parsed.max_tasks, load=parsed.load))
        for seed in range(parsed.seeds):
            if served.has(seed=seed, episode=parsed.evaluation_episodes - 1, scheduler=HEURISTICS[-1]):  # the last one
                progress.advance(bar, per_seed)
                continue
            curves.drop(seed=seed)
            served.drop(seed=seed)
            progress.update(bar, description=f"seed {seed}: training in the simulator")
            policies: dict[str, Scheduler] = {SIMULATED: train_simulated(setting, seed, parsed)}
            progress.update(bar, description=f"seed {seed}: training live")
            live = live_algorithm(setting, spec, seed, parsed)
            try:
                for row in learn(live, parsed):
                    curves.add({"seed": seed, **row})
                    progress.advance(bar)
                policies[LIVE] = policy_of(live)
            finally:
                live.stop()
            progress.update(bar, description=f"seed {seed}: serving")
            with Fleet.start(spec) as fleet:
                for row in evaluate(fleet, setting, model, policies, seed, parsed.evaluation_episodes):
                    served.add({"seed": seed, **row})
                    progress.advance(bar)
            copy.push()
    curve, table = curves.frame, served.frame
    text = describe(table, setting, parsed)
    (output / "live_training.md").write_text(text, encoding="utf-8")
    plot(curve, table, output / "live_training.png")
    copy.push()
    print(text)
    return 0


def fleet_of(parsed: argparse.Namespace) -> FleetSpec:
    """The fleet at the wanted pace; emulated servers draw no pictures, which would cost more than all the rest."""
    fleet = load_fleet(parsed.fleet).to_dict()
    servers = [server | ({"make_png": False} if server["kind"] == "emulated" else {}) for server in fleet["servers"]]
    return load_fleet(fleet | {"time_scale": parsed.time_scale, "servers": servers})


@contextmanager
def cluster(parsed: argparse.Namespace, spec: FleetSpec) -> Iterator[None]:
    """The user's cluster, or one of a head that runs nothing and a node for each env runner and its fleet."""
    if parsed.address:
        ray_cluster.start_ray(parsed, num_cpus=0)
        yield
        return
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 150_000_000}
    own = Cluster()
    cpus = 2 + int(sum(server.num_cpus for server in spec.servers))
    try:
        with on_loopback():
            own.add_node(num_cpus=0, include_dashboard=False, **small)  # the head
            for _ in range(parsed.num_env_runners):
                own.add_node(num_cpus=cpus, resources={RUNNER: 1}, **small)
            ray.init(address=own.address, log_to_driver=False, logging_level="ERROR")
        yield
    finally:
        ray.shutdown()
        own.shutdown()


def algorithm_config(setting: Setting, seed: int) -> LADTSConfig:
    """What both trainings share."""
    config = LADTSConfig().environment(FleetVectorEnv, env_config={"setting": setting.spec})
    return config.callbacks(YardstickCallback).debugging(seed=seed, log_level="ERROR")


def train_simulated(setting: Setting, seed: int, parsed: argparse.Namespace) -> FleetPolicy:
    """A policy from the calibrated simulator; it has seen no server."""
    algorithm = algorithm_config(setting, seed).build_algo()
    try:
        for _ in range(parsed.simulated_episodes):
            algorithm.train()
        return policy_of(algorithm)
    finally:
        algorithm.stop()


def live_algorithm(setting: Setting, spec: FleetSpec, seed: int, parsed: argparse.Namespace) -> LADTS:
    """LAD-TS on real fleets, one for each env runner."""
    config = algorithm_config(setting, seed)
    config.environment(LiveFleetVectorEnv, env_config={"setting": setting.spec, "fleet": spec.to_dict()})
    config.training(updates_per_slot=parsed.updates_per_slot)
    # Slot by slot, so that the runners act with the newest weights.
    config.env_runners(num_env_runners=parsed.num_env_runners, rollout_fragment_length=1)
    if not parsed.address:
        config.env_runners(custom_resources_per_env_runner={RUNNER: 1})
    return config.build_algo()


def learn(algorithm: LADTS, parsed: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Train, one row for each iteration (an episode of each env runner)."""
    for iteration in range(1, parsed.episodes // parsed.num_env_runners + 1):
        runners = algorithm.train()["env_runners"]
        nodes = algorithm.env_runner_group.foreach_env_runner(_node, local_env_runner=False)
        yield {
            "episodes": iteration * parsed.num_env_runners,
            "nodes": len(set(nodes)),
            names.MEAN_DELAY: runners[names.MEAN_DELAY],
            names.ORACLE_DELAY: runners[names.ORACLE_DELAY],  # simulated, same arrivals
        }


def _node(runner: Any) -> str:
    return ray.get_runtime_context().get_node_id()


def policy_of(algorithm: LADTS) -> FleetPolicy:
    """The policy as it would be used from a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        return FleetPolicy.from_checkpoint(algorithm.save_to_path(folder))


def evaluate(
    fleet: Fleet, setting: Setting, model: FleetModel, policies: dict[str, Scheduler], seed: int, episodes: int
) -> Iterator[dict[str, Any]]:
    """Let every scheduler serve the same fresh arrivals on the fleet, one after the other."""
    prompts = read_prompts()
    schedulers = policies | {name: make_heuristic(name) for name in HEURISTICS}
    played = setting.num_slots - 1
    for episode in range(episodes):
        arrivals = setting.arrivals.draw(np.random.default_rng([seed, episode, 1]), setting.num_slots)
        for name, scheduler in schedulers.items():
            slots = tasks_of_episode(arrivals, prompts, played, name)
            with Dispatcher(
                fleet.servers,
                model.network,
                model.work,
                scheduler,
                seed=seed,
                time_scale=fleet.spec.time_scale,
                slots_per_episode=played,
            ) as dispatcher:
                result = serve(dispatcher, slots, setting.network.slot_s)
            yield {"episode": episode, "scheduler": name, **result.summary()}


def describe(table: pd.DataFrame, setting: Setting, parsed: argparse.Namespace) -> str:
    """Mean over seeds ± sd of each scheduler's mean delay, and of its ratio to the exact least-loaded one."""
    by_seed = table.groupby(["scheduler", "seed"])["mean_s"].mean().unstack("seed")
    p95 = table.groupby(["scheduler", "seed"])["p95_s"].mean().unstack("seed")
    ratio = by_seed / by_seed.loc[EXACT]
    lines = [
        f"# LAD-TS trained on measured delays: fleet `{setting.name}`, {parsed.num_env_runners} env runners",
        "",
        f"Every delay is measured on the edge servers (time scale {parsed.time_scale:g}, {parsed.slots} slots of "
        f"{setting.network.slot_s:.3g} s, load {setting.load:.2f}).",
        f"Trained live: {parsed.episodes} episodes from scratch. Trained in the simulator: "
        f"{parsed.simulated_episodes} episodes, no server seen.",
        f"Mean over {by_seed.shape[1]} seeds ± sd; within a seed all schedulers served the same arrivals.",
        "",
        "| scheduler | mean delay, s | p95, s | mean over least-loaded-exact's | failed tasks |",
        "|---|---|---|---|---|",
    ]
    failed = table.groupby("scheduler")["failed"].sum()
    for name in by_seed.mean(axis=1).sort_values().index:
        lines.append(
            f"| {name} | {by_seed.loc[name].mean():.1f} ± {by_seed.loc[name].std():.1f} | {p95.loc[name].mean():.1f} "
            f"| {ratio.loc[name].mean():.3f} ± {ratio.loc[name].std():.3f} | {int(failed[name])} |"
        )
    return "\n".join([*lines, "", f"Command: `{command_line()}`", ""])


def plot(curves: pd.DataFrame, table: pd.DataFrame, path: Path) -> None:
    """Learning curves of all seeds over the simulated oracle, and each scheduler's mean delay."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (learning, bars) = pyplot.subplots(1, 2, figsize=(12, 4.5))
    for seed, rows in curves.groupby("seed"):
        learning.plot(rows["episodes"], rows[names.MEAN_DELAY] / rows[names.ORACLE_DELAY], label=f"seed {seed}")
    learning.axhline(1.0, color="#c1440e", label="greedy oracle, simulated, same arrivals")
    learning.set(xlabel="live episodes", ylabel="mean delay / oracle's", title="learning on measured delays")
    learning.legend()
    learning.grid(alpha=0.3)
    by_seed = table.groupby(["scheduler", "seed"])["mean_s"].mean().unstack("seed")
    order = by_seed.mean(axis=1).sort_values().index
    bars.barh(order, by_seed.loc[order].mean(axis=1), xerr=by_seed.loc[order].std(axis=1), capsize=3)
    bars.invert_yaxis()
    bars.set(xlabel="mean service delay, mean over seeds ± sd [s]", title="live, same arrivals")
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(run_command(run, parse()))

"""LAD-TS trained on measured delays: env runners on the nodes of a cluster, each with a fleet of edge servers.

python -m experiments.live_training                       two nodes on this machine, three seeds: some 45 minutes
python -m experiments.live_training --address auto --fleet fleet.yaml --time-scale 1     your own cluster and fleet

For each seed: trains in the simulator calibrated to the fleet, trains from scratch on the fleet itself, and then lets
both policies and the heuristics serve the same arrivals on the fleet. Writes live_training.csv (learning curves),
live_evaluation.csv (one row for each seed, episode and scheduler, written as they come), a summary as live_training.md,
and live_training.png into --output.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import ray
from pydantic import Field

from lad_rllib import names
from lad_rllib.algorithms.common.policy import FleetPolicy
from lad_rllib.algorithms.lad_ts import LADTS, LADTSConfig
from lad_rllib.cli.program import Program
from lad_rllib.envs import FleetVectorEnv, LiveFleetVectorEnv, YardstickCallback
from lad_rllib.fleet import Fleet, FleetModel, FleetSpec, calibrate, load_fleet
from lad_rllib.runs import cluster as ray_cluster
from lad_rllib.runs.local_nodes import local_nodes
from lad_rllib.runs.options import Count, RayOptions, StorageOptions, option
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.over_seeds import over_seeds
from lad_rllib.runs.plots import pyplot, save
from lad_rllib.runs.plots_of_cases import ORACLE_COLOUR
from lad_rllib.runs.progress import bars
from lad_rllib.runs.rows import ResultRows
from lad_rllib.runs.storage import SharedCopy
from lad_rllib.runs.tables import markdown_page, put_page, summary_table
from lad_rllib.scheduling import Scheduler, make_heuristic
from lad_rllib.service import Dispatcher, read_prompts, serve, tasks_of_episode
from lad_rllib.simulator import Setting, build_setting

LIVE, SIMULATED, EXACT = "LAD-TS, trained live", "LAD-TS, trained in the simulator", "least-loaded-exact"
HEURISTICS = (EXACT, "water-filling", "random", "round-robin", "local-only")
RUNNER = "env_runner"
"""Custom resource of the nodes that this script starts, so that each gets one env runner."""


class LiveTrainingOptions(StorageOptions, RayOptions):
    """On which fleet, and how long, LAD-TS is trained and evaluated."""

    command: ClassVar[str] = "live_training"
    title = "run"

    fleet: str = option("emulated", "fleet of each env runner", "NAME|FILE")
    time_scale: Annotated[float, Field(gt=0)] = option(0.0125, "wall s per s of it", "X")
    num_env_runners: Count = option(2, "env runners, each with its own fleet", "N")
    seeds: Count = option(3, "runs, with seeds 0, 1, ...")
    episodes: Count = option(30, "live episodes to train, all runners together")
    simulated_episodes: Count = option(100, "episodes to train in the simulator", "N")
    evaluation_episodes: Count = option(1, "episodes to evaluate on, for each seed", "N")
    updates_per_slot: float = option(3.0, "updates for each live slot; live samples are dear", "X")
    slots: int = option(60, "slots of an episode")
    max_tasks: int = option(14, "most tasks of a station in a slot")
    load: float = option(1.2, "work that arrives over what the servers can do")
    output: str = option("results/live_training", "output folder", "DIR")
    resume: bool = option(False, "keep the seeds that are complete in the output folder")


def run(options: LiveTrainingOptions) -> int:
    """Train, evaluate and write; returns the exit status."""
    output = writable_folder(options.output)
    spec = fleet_of(options)
    copy = SharedCopy(output, options.storage_path)
    if options.resume:
        copy.fetch()
    curves = ResultRows(output / "live_training.csv", options.resume)
    served = ResultRows(output / "live_evaluation.csv", options.resume)
    print(f"writing to {copy.place}")
    with cluster(options, spec), bars() as progress:
        per_seed = options.episodes // options.num_env_runners + options.evaluation_episodes * (2 + len(HEURISTICS))
        bar = progress.add_task("calibrating", total=options.seeds * per_seed)
        with Fleet.start(spec) as fleet:
            model = calibrate(fleet).model
        setting = build_setting(
            model.spec(spec.name, slots=options.slots, max_tasks=options.max_tasks, load=options.load)
        )
        for seed in range(options.seeds):
            if served.has(seed=seed, episode=options.evaluation_episodes - 1, scheduler=HEURISTICS[-1]):  # the last one
                progress.advance(bar, per_seed)
                continue
            curves.drop(seed=seed)
            served.drop(seed=seed)
            progress.update(bar, description=f"seed {seed}: training in the simulator")
            policies: dict[str, Scheduler] = {SIMULATED: train_simulated(setting, seed, options)}
            progress.update(bar, description=f"seed {seed}: training live")
            live = live_algorithm(setting, spec, seed, options)
            try:
                for row in learn(live, options):
                    curves.add({"seed": seed, **row})
                    progress.advance(bar)
                policies[LIVE] = policy_of(live)
            finally:
                live.stop()
            progress.update(bar, description=f"seed {seed}: serving")
            with Fleet.start(spec) as fleet:
                for row in evaluate(fleet, setting, model, policies, seed, options.evaluation_episodes):
                    served.add({"seed": seed, **row})
                    progress.advance(bar)
            copy.push()
    curve, table = curves.frame, served.frame
    plot(curve, table, output / "live_training.png")
    put_page(output / "live_training.md", describe(table, setting, options))
    copy.push()
    return 0


def fleet_of(options: LiveTrainingOptions) -> FleetSpec:
    """The fleet at the wanted pace; emulated servers draw no pictures, which would cost more than all the rest."""
    fleet = load_fleet(options.fleet).to_dict()
    servers = [server | ({"make_png": False} if server["kind"] == "emulated" else {}) for server in fleet["servers"]]
    return load_fleet(fleet | {"time_scale": options.time_scale, "servers": servers})


@contextmanager
def cluster(options: LiveTrainingOptions, spec: FleetSpec) -> Iterator[None]:
    """The user's cluster, or one of a head that runs nothing and a node for each env runner and its fleet."""
    if options.address:
        ray_cluster.start_ray(options, num_cpus=0)
        yield
        return
    cpus = 2 + int(sum(server.num_cpus for server in spec.servers))
    with local_nodes(options.num_env_runners, cpus, RUNNER):
        yield


def algorithm_config(setting: Setting, seed: int) -> LADTSConfig:
    """What both trainings share."""
    config = LADTSConfig().environment(FleetVectorEnv, env_config={"setting": setting.spec})
    return config.callbacks(YardstickCallback).debugging(seed=seed, log_level="ERROR")


def train_simulated(setting: Setting, seed: int, options: LiveTrainingOptions) -> FleetPolicy:
    """A policy from the calibrated simulator; it has seen no server."""
    algorithm = algorithm_config(setting, seed).build_algo()
    try:
        for _ in range(options.simulated_episodes):
            algorithm.train()
        return policy_of(algorithm)
    finally:
        algorithm.stop()


def live_algorithm(setting: Setting, spec: FleetSpec, seed: int, options: LiveTrainingOptions) -> LADTS:
    """LAD-TS on real fleets, one for each env runner."""
    config = algorithm_config(setting, seed)
    config.environment(LiveFleetVectorEnv, env_config={"setting": setting.spec, "fleet": spec.to_dict()})
    config.training(updates_per_slot=options.updates_per_slot)
    # Slot by slot, so that the runners act with the newest weights.
    config.env_runners(num_env_runners=options.num_env_runners, rollout_fragment_length=1)
    if not options.address:
        config.env_runners(custom_resources_per_env_runner={RUNNER: 1})
    return config.build_algo()


def learn(algorithm: LADTS, options: LiveTrainingOptions) -> Iterator[dict[str, Any]]:
    """Train, one row for each iteration (an episode of each env runner)."""
    for iteration in range(1, options.episodes // options.num_env_runners + 1):
        runners = algorithm.train()["env_runners"]
        nodes = algorithm.env_runner_group.foreach_env_runner(_node, local_env_runner=False)
        yield {
            "episodes": iteration * options.num_env_runners,
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


SHOWN = {"scheduler": "scheduler", "mean_s": "mean delay, s", "p95_s": "p95, s", "over_exact": f"mean over {EXACT}'s"}
SHOWN |= {"failed": "failed tasks"}


def describe(table: pd.DataFrame, setting: Setting, options: LiveTrainingOptions) -> str:
    """Mean over seeds ± sd of each scheduler's mean delay, and of its ratio to the exact least-loaded one."""
    by_seed = table.groupby(["scheduler", "seed"])[["mean_s", "p95_s"]].mean()
    by_seed["over_exact"] = by_seed["mean_s"] / by_seed["mean_s"].loc[EXACT].reindex(by_seed.index, level="seed")
    seeds = table["seed"].nunique()
    summary = over_seeds(by_seed.reset_index(), ["scheduler"], list(SHOWN)[1:4], list(SHOWN)[1:4])
    summary["failed"] = summary["scheduler"].map(table.groupby("scheduler")["failed"].sum())
    return markdown_page(
        f"LAD-TS trained on measured delays: fleet `{setting.name}`, {options.num_env_runners} env runners",
        f"Every delay is measured on the edge servers (time scale {options.time_scale:g}, {options.slots} slots of "
        f"{setting.network.slot_s:.3g} s, load {setting.load:.2f}). Trained live: {options.episodes} episodes from "
        f"scratch. Trained in the simulator: {options.simulated_episodes} episodes, no server seen. Mean over "
        f"{seeds} seeds ± sd; within a seed all schedulers served the same arrivals.",
        summary_table(summary.sort_values("mean_s"), SHOWN),
    )


def plot(curves: pd.DataFrame, table: pd.DataFrame, path: Path) -> None:
    """Learning curves of all seeds over the simulated oracle, and each scheduler's mean delay."""
    figure, (learning, bars) = pyplot().subplots(1, 2, figsize=(12, 4.5))
    for seed, rows in curves.groupby("seed"):
        learning.plot(rows["episodes"], rows[names.MEAN_DELAY] / rows[names.ORACLE_DELAY], label=f"seed {seed}")
    learning.axhline(1.0, color=ORACLE_COLOUR, label="greedy oracle, simulated, same arrivals")
    learning.set(xlabel="live episodes", ylabel="mean delay / oracle's", title="learning on measured delays")
    learning.legend()
    learning.grid(alpha=0.3)
    by_seed = table.groupby(["scheduler", "seed"])["mean_s"].mean().unstack("seed")
    order = by_seed.mean(axis=1).sort_values().index
    bars.barh(order, by_seed.loc[order].mean(axis=1), xerr=by_seed.loc[order].std(axis=1), capsize=3)
    bars.invert_yaxis()
    bars.set(xlabel="mean service delay, mean over seeds ± sd [s]", title="live, same arrivals")
    save(figure, path)


SMOKE = {"seeds": 1, "episodes": 2, "simulated_episodes": 2, "slots": 4, "max_tasks": 3}
main = Program(run, LiveTrainingOptions, __doc__, SMOKE)

if __name__ == "__main__":
    sys.exit(main())

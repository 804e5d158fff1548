"""Train one of RLlib's own algorithms on the problem of LAD-TS, with one agent per base station.

A step of the environment is one task, so this takes minutes where LAD-TS takes seconds: start with --setting small.
To try another algorithm, add its configuration to ALGORITHMS.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS

from lad_rllib import names
from lad_rllib.cli import flags
from lad_rllib.envs import StationCallback, StationMultiAgentEnv
from lad_rllib.registry import STATION_ENV, register
from lad_rllib.runs import cluster
from lad_rllib.runs.command import run_command
from lad_rllib.runs.configuration import setting_spec
from lad_rllib.runs.options import RayOptions, SettingOptions, StorageOptions, check_at_least
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.run_folder import RunFolder
from lad_rllib.runs.storage import SharedCopy
from lad_rllib.simulator import build_setting

GAMMA = 0.95  # discount of arXiv 2412.18212
SHARED_POLICY = "shared"


def ppo(decisions: int, slots: int) -> AlgorithmConfig:
    """Proximal policy optimisation; an iteration learns from all its decisions, and forgets them."""
    return PPOConfig().training(
        train_batch_size_per_learner=decisions,
        minibatch_size=128,
        num_epochs=5,
        lr=3e-4,
        entropy_coeff=0.01,
        vf_clip_param=math.inf,  # RLlib's 10 is less than the returns here: it would stop the critic from learning
    )


def sac(decisions: int, slots: int) -> AlgorithmConfig:
    """Discrete soft actor-critic with the rates of LAD-TS and its pace: one update per slot of an episode."""
    batch = 64
    return SACConfig().training(
        train_batch_size_per_learner=batch,
        # RLlib's updates per sampled episode: training_intensity * (runners + 1) / batch size, with fragments of 1.
        training_intensity=batch * (slots - 1),
        replay_buffer_config={"type": "MultiAgentEpisodeReplayBuffer", "capacity": 200_000},
        num_steps_sampled_before_learning_starts=300,
        initial_alpha=0.05,
        actor_lr=1e-4,
        critic_lr=1e-3,
        alpha_lr=3e-4,
        tau=0.005,
    )


COLUMNS = (names.MEAN_DELAY, *names.YARDSTICKS.values(), names.DELAY_OVER_ORACLE)
ALGORITHMS: dict[str, Callable[[int, int], AlgorithmConfig]] = {"ppo": ppo, "sac": sac}


def build_config(
    algorithm: str, spec: dict[str, Any], decisions: int, shared_policy: bool, seed: int
) -> AlgorithmConfig:
    """RLlib's configuration of one of :data:`ALGORITHMS` on a setting."""
    env_config = {"setting": spec, "queue_unit": "seconds"}
    agents = StationMultiAgentEnv(env_config).possible_agents
    return (
        ALGORITHMS[algorithm](decisions, build_setting(spec).num_slots)
        .environment(STATION_ENV, env_config=env_config)
        .training(gamma=GAMMA)
        # Whole episodes: cut ones would have to be carried back to each station's last decision.
        .env_runners(
            num_env_runners=0,
            batch_mode="complete_episodes",
            # Without it an untrained network prefers one server strongly, whose queue then grows without bound.
            env_to_module_connector=lambda env, spaces, device: MeanStdFilter(multi_agent=True),
        )
        .multi_agent(
            policies={SHARED_POLICY} if shared_policy else set(agents),
            policy_mapping_fn=(lambda agent, *_, **__: SHARED_POLICY)
            if shared_policy
            else (lambda agent, *_, **__: agent),
        )
        .rl_module(
            model_config=DefaultModelConfig(fcnet_hiddens=[64, 64], fcnet_activation="relu", vf_share_layers=False)
        )
        .callbacks(StationCallback)
        .reporting(min_sample_timesteps_per_iteration=decisions, min_time_s_per_iteration=0)
        .debugging(seed=seed, log_level="ERROR")
    )


def train(config: AlgorithmConfig, iterations: int, folder: RunFolder, resume: bool) -> Iterator[dict[str, float]]:
    """Train; the mean delays of each iteration's episodes [s], and its wall time [s]. Saves after each.

    Raises:
        RuntimeError: if an iteration gives a delay that is not finite.
    """
    algorithm = config.build_algo()
    try:
        if resume:
            folder.restore(algorithm)
        episodes = folder.episodes_done
        while algorithm.iteration < iterations:
            start = time.perf_counter()
            metrics = algorithm.train()[ENV_RUNNER_RESULTS]
            row = {key: float(metrics[key]) for key in COLUMNS}
            if not all(map(math.isfinite, row.values())):
                raise RuntimeError(f"iteration {algorithm.iteration} gave delays that are not finite: {row}")
            episodes += int(metrics["num_episodes"])
            row = {"iteration": algorithm.iteration, "episodes": episodes, **row, "wall_s": time.perf_counter() - start}
            folder.append_progress(row)
            folder.save(algorithm)
            yield row
    finally:
        algorithm.stop()


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithm", choices=ALGORITHMS, default="ppo", help="RLlib's algorithm (default: ppo)")
    policy = parser.add_mutually_exclusive_group()
    policy.add_argument("--policy-per-station", action="store_true", help="own networks for each station (default)")
    policy.add_argument("--shared-policy", action="store_true", help="all stations use and train the same networks")
    parser.add_argument("--iterations", type=int, default=20, help="training iterations (default: 20)")
    parser.add_argument(
        "--decisions",
        type=int,
        default=2000,
        help="least number of tasks decided per iteration; whole episodes are played (default: 2000)",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of arrivals, networks and decisions (default: 1)")
    parser.add_argument("--num-env-runners", type=int, default=0, metavar="N", help="remote environment runners (0)")
    parser.add_argument("--num-learners", type=int, default=0, metavar="N", help="remote learners (0)")
    parser.add_argument("--num-gpus-per-learner", type=float, default=0, metavar="X", help="(0)")
    parser.add_argument("--output", metavar="DIR", help="output folder (default: results/ALGORITHM)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier run in the output folder")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the output folder or storage")
    flags.add_options(parser, SettingOptions)
    flags.add_options(parser, RayOptions)
    flags.add_options(parser, StorageOptions)
    flags.add_smoke(parser, setting="small", iterations=2, decisions=300)
    parsed = parser.parse_args(argv)
    parsed.command = "any_rllib_algorithm"
    return parsed


def run(parsed: argparse.Namespace) -> int:
    """Train and print; returns the exit status."""
    check_at_least(1, parsed, "iterations", "decisions")
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    folder = RunFolder(writable_folder(parsed.output or f"results/{parsed.algorithm}"))
    folder.settle()
    copy = SharedCopy(folder.path, parsed.storage_path)
    if parsed.resume:
        copy.fetch()
        before = folder.read_configuration()
        changed = {"setting": before["setting"], "shared_policy": before["shared_policy"], "seed": before["seed"]}
        parsed.algorithm = before["algorithm"]
    else:
        changed = {"setting": setting_spec(parsed), "shared_policy": parsed.shared_policy, "seed": parsed.seed}
    setting = build_setting(changed["setting"])
    print(setting.summary())
    register()
    config = build_config(
        parsed.algorithm, changed["setting"], parsed.decisions, changed["shared_policy"], changed["seed"]
    )
    config.env_runners(num_env_runners=parsed.num_env_runners)
    config.learners(num_learners=parsed.num_learners, num_gpus_per_learner=parsed.num_gpus_per_learner)
    if not parsed.resume:
        folder.check_free(overwrite=parsed.overwrite)
    cluster.start_ray(parsed, num_cpus=1 + parsed.num_env_runners + parsed.num_learners)
    if not parsed.resume:
        folder.begin()
    folder.write_configuration({"algorithm": parsed.algorithm, **changed})
    print(f"writing to {copy.place}")
    print("iteration  episodes  " + "  ".join(COLUMNS) + "  wall_s")
    try:
        for row in train(config, parsed.iterations, folder, parsed.resume):
            print(
                f"{row['iteration']:9d}  {row['episodes']:8.0f}  "
                + "  ".join(f"{row[key]:{len(key)}.3f}" for key in COLUMNS)
                + f"  {row['wall_s']:6.1f}",
                flush=True,
            )
            copy.push()
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        folder.settle()
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run from the command line."""
    return run_command(run, parse(argv))


if __name__ == "__main__":
    sys.exit(main())

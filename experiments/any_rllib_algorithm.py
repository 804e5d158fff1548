"""Train one of RLlib's own algorithms on the problem of LAD-TS, with one agent per base station.

A step of the environment is one task, so this takes minutes where LAD-TS takes seconds: start with --setting small.
To try another algorithm, add its configuration to ALGORITHMS.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS

from lad_rllib import names
from lad_rllib.cli.program import Program
from lad_rllib.envs import StationCallback, StationMultiAgentEnv
from lad_rllib.errors import ConfigurationError, TrainingDiverged
from lad_rllib.registry import STATION_ENV, register
from lad_rllib.runs import cluster
from lad_rllib.runs.configuration import setting_spec
from lad_rllib.runs.options import Count, RayOptions, Seed, SettingOptions, StorageOptions, option
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
        TrainingDiverged: if an iteration gives a delay that is not finite.
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
                raise TrainingDiverged(f"iteration {algorithm.iteration} gave delays that are not finite: {row}")
            episodes += int(metrics["num_episodes"])
            row = {"iteration": algorithm.iteration, "episodes": episodes, **row, "wall_s": time.perf_counter() - start}
            folder.append_progress(row)
            folder.save(algorithm)
            yield row
    finally:
        algorithm.stop()


class RLlibOptions(StorageOptions, RayOptions, SettingOptions):
    """Which of RLlib's algorithms is trained, and how long."""

    command: ClassVar[str] = "any_rllib_algorithm"
    title = "run"

    algorithm: Literal[tuple(ALGORITHMS)] = option("ppo", "RLlib's algorithm")  # type: ignore[valid-type]
    policy_per_station: bool = option(False, "own networks for each station (default)")
    shared_policy: bool = option(False, "all stations use and train the same networks")
    iterations: Count = option(20, "training iterations")
    decisions: Count = option(2000, "least number of tasks decided per iteration; whole episodes are played")
    seed: Seed = option(1, "seed of arrivals, networks and decisions")
    num_env_runners: Annotated[int, Field(ge=0)] = option(0, "remote environment runners", "N")
    num_learners: Annotated[int, Field(ge=0)] = option(0, "remote learners", "N")
    num_gpus_per_learner: Annotated[float, Field(ge=0)] = option(0.0, "GPUs of each learner", "X")
    output: str | None = option(None, "output folder (default: results/ALGORITHM)", "DIR")
    overwrite: bool = option(False, "replace an earlier run in the output folder")
    resume: bool = option(False, "go on with the run in the output folder or storage")


def run(options: RLlibOptions) -> int:
    """Train and print; returns the exit status."""
    if options.policy_per_station and options.shared_policy:
        raise ConfigurationError("--policy-per-station and --shared-policy contradict each other; give one of them")
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    folder = RunFolder(writable_folder(options.output or f"results/{options.algorithm}"))
    folder.settle()
    copy = SharedCopy(folder.path, options.storage_path)
    if options.resume:
        copy.fetch()
        plan = {key: folder.read_configuration()[key] for key in ("algorithm", "setting", "shared_policy", "seed")}
    else:
        plan = {key: getattr(options, key) for key in ("algorithm", "shared_policy", "seed")}
        plan["setting"] = setting_spec(options)
    print(build_setting(plan["setting"]).summary())
    register()
    config = build_config(
        plan["algorithm"], plan["setting"], options.decisions, shared_policy=plan["shared_policy"], seed=plan["seed"]
    )
    config.env_runners(num_env_runners=options.num_env_runners)
    config.learners(num_learners=options.num_learners, num_gpus_per_learner=options.num_gpus_per_learner)
    if not options.resume:
        folder.check_free(overwrite=options.overwrite)
    cluster.start_ray(options, num_cpus=1 + options.num_env_runners + options.num_learners)
    if not options.resume:
        folder.begin()
    folder.write_configuration(plan)
    print(f"writing to {copy.place}")
    print("iteration  episodes  " + "  ".join(COLUMNS) + "  wall_s")
    try:
        for row in train(config, options.iterations, folder, options.resume):
            numbers = "  ".join(f"{row[key]:{len(key)}.3f}" for key in COLUMNS)
            print(f"{row['iteration']:9d}  {row['episodes']:8.0f}  {numbers}  {row['wall_s']:6.1f}", flush=True)
            copy.push()
    finally:
        folder.settle()
    return 0


main = Program(run, RLlibOptions, __doc__, {"setting": "small", "iterations": 2, "decisions": 300})

if __name__ == "__main__":
    sys.exit(main())

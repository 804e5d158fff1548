"""What a training run depends on: from the command's arguments to plain values, and from those to an algorithm."""

from __future__ import annotations

import argparse
import inspect
import logging
import math
import os
from pathlib import Path
from typing import Any

from lad_rllib import names
from lad_rllib.cli import options as shared
from lad_rllib.declared import check_keys, shown
from lad_rllib.envs.episodes import read_setting
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs import cluster
from lad_rllib.runs.provenance import command_line
from lad_rllib.simulator import Setting, TraceArrivals, sizes
from lad_rllib.text_files import read_structured

TRAIN_PART = (0.0, 0.7)
WHOLE_LOG = (0.0, 1.0)
DEFAULT_KERNELS = "auto"
TRAINING_KEYS = (
    "preset",
    "in_slot_view",
    "policy_denoising_steps",
    "initial_alpha",
    "actor_lr",
    "critic_lr",
    "alpha_lr",
    "gamma",
    "updates_per_slot",
)


def resolve(parsed: argparse.Namespace) -> dict[str, Any]:
    """Everything that the run depends on, as plain values."""
    shared.check_at_least(
        1, parsed, "episodes", "checkpoint_every", "num_envs_per_env_runner", "rollout_fragment_length"
    )
    shared.check_at_least(0, parsed, "num_env_runners", "num_learners")
    shared.check_seed(parsed.seed)
    setting = read_setting(shared.setting_spec(parsed))
    own_part = getattr(setting.arrivals, "part", WHOLE_LOG)
    setting = shared.part_of_log(parsed, setting, TRAIN_PART if own_part == WHOLE_LOG else own_part)
    _check_scale(parsed, setting)
    training = read_training_file(parsed.config) if parsed.config else {}
    training |= {key: getattr(parsed, key) for key in TRAINING_KEYS if getattr(parsed, key) is not None}
    algorithm = getattr(parsed, "algorithm", names.DEFAULT_ALGORITHM)
    return {
        "algorithm": algorithm,
        "setting": setting.spec,
        "training": training,
        "kernels": training.get("kernels", DEFAULT_KERNELS),
        "queue_unit": queue_unit(parsed.queue_unit, setting, algorithm),
        "live": _live(parsed),
        "init_from": str(Path(os.path.expanduser(parsed.init_from)).resolve()) if parsed.init_from else None,
        "episodes": parsed.episodes,
        "seed": parsed.seed,
        "num_env_runners": parsed.num_env_runners,
        "num_envs_per_env_runner": parsed.num_envs_per_env_runner,
        "rollout_fragment_length": parsed.rollout_fragment_length or "auto",
        "num_learners": parsed.num_learners,
        "num_gpus_per_learner": _gpus_per_learner(parsed),
        "checkpoint_every": parsed.checkpoint_every,
        "command": command_line(),
    }


def _check_scale(parsed: argparse.Namespace, setting: Setting) -> None:
    """Refuse more episodes or processes than this machine's memory holds."""
    episodes, stations = parsed.num_envs_per_env_runner, setting.network.num_stations
    sizes.check_fits(
        f"{episodes:,} episodes in lockstep",
        sizes.arrivals_bytes(episodes, setting.num_slots, stations, setting.arrivals.max_tasks),
        "--num-envs-per-env-runner",
    )
    processes = parsed.num_env_runners + parsed.num_learners
    if cluster.address_of(parsed) == "local":
        sizes.check_fits(
            f"{processes:,} runners and learners",
            processes * sizes.PROCESS_BYTES,
            "--num-env-runners or --num-learners",
        )


def check_memory(config: Any, setting: Setting) -> None:
    """Refuse training whose networks and memories do not fit into this machine's.

    Args:
        config: What :func:`algorithm_config` returns.
        setting: The setting that it trains on.

    Raises:
        ConfigurationError: says what it would take.
    """
    stations, servers = setting.network.num_stations, setting.network.num_servers
    parts = sizes.training_bytes(
        config.memory_use(stations, servers),
        episodes=config.num_envs_per_env_runner,
        slots=setting.num_slots,
        stations=stations,
        servers=servers,
        tasks=setting.arrivals.max_tasks,
    )
    remedy = "the numbers of stations, servers, tasks and slots, hidden_sizes or replay_capacity"
    sizes.check_fits("training", parts, remedy)


def _live(parsed: argparse.Namespace) -> dict[str, Any] | None:
    """What the live environment needs besides the setting; None: the simulator."""
    if parsed.fleet is None:
        for name in ("shared_fleet", "in_process", "prompts"):
            if getattr(parsed, name):
                raise ConfigurationError(f"--{name.replace('_', '-')} has no effect without --fleet; name a fleet")
        return None
    from lad_rllib.fleet import load_fleet
    from lad_rllib.service import read_prompts

    return {
        "fleet": load_fleet(parsed.fleet).to_dict(),
        "sharing": "shared" if parsed.shared_fleet else "own",
        "in_process": parsed.in_process,
        "prompts": read_prompts(parsed.prompts),
    }


def fleet_cpus(configuration: dict[str, Any]) -> int:
    """CPUs that the runners' own fleets reserve."""
    live = configuration["live"]
    if live is None or live["in_process"] or live["sharing"] == "shared":
        return 0
    from lad_rllib.fleet import load_fleet

    one_fleet = sum(server.num_cpus for server in load_fleet(live["fleet"]).servers)
    return math.ceil(one_fleet * max(configuration["num_env_runners"], 1))


def _gpus_per_learner(parsed: argparse.Namespace) -> float:
    gpus = parsed.num_gpus_per_learner
    if gpus is None:
        return 1 if parsed.device == "cuda" else 0
    if not math.isfinite(gpus):
        raise ConfigurationError(f"--num-gpus-per-learner must be a number of GPUs, got {gpus:g}")
    if gpus < 0 or (gpus > 0 and parsed.device == "cpu") or (gpus == 0 and parsed.device == "cuda"):
        raise ConfigurationError(
            f"--num-gpus-per-learner {gpus:g} contradicts --device {parsed.device}; give one of them"
        )
    return float(gpus)


def learner_gpus(configuration: dict[str, Any]) -> int:
    """GPUs of the machine that learners take together."""
    return math.ceil(max(configuration["num_learners"], 1) * configuration["num_gpus_per_learner"])


def check_device(configuration: dict[str, Any], parsed: argparse.Namespace) -> None:
    """Refuse GPUs that this machine does not have, unless a cluster may have them.

    Raises:
        ConfigurationError: if torch finds fewer than the learners take.
    """
    import torch

    wanted = learner_gpus(configuration)
    if wanted and cluster.address_of(parsed) == "local":
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if there < wanted:
            raise ConfigurationError(
                f"torch finds {there or 'no'} GPU here and the learners take {wanted}; use --device cpu, fewer "
                f"learners or GPUs for each, or --address of a cluster that has them"
            )


def queue_unit(wish: str, setting: Setting, algorithm: str) -> str:
    """What ``--queue-unit`` means for a setting and an algorithm."""
    from lad_rllib.algorithms import CONFIGS

    if wish != "auto":
        return wish
    if (needed := CONFIGS[algorithm].queue_unit) is not None:
        return needed
    return "seconds" if isinstance(setting.arrivals, TraceArrivals) else "gcycles"


def read_training_file(path: str) -> dict[str, Any]:
    """Hyperparameters of a ``--config`` file."""
    values = read_structured(path, "--config")
    values = values.get("training", values) if isinstance(values, dict) else values
    if not isinstance(values, dict):
        raise ConfigurationError(f"--config {path} must hold hyperparameters and their values, got {shown(values)}")
    return values


def algorithm_config(configuration: dict[str, Any]) -> Any:
    """The checked configuration of an algorithm, of a resolved configuration of the run.

    Raises:
        ConfigurationError: for hyperparameters that do not exist or cannot be.
    """
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

    from lad_rllib.algorithms import CONFIGS
    from lad_rllib.envs import FleetVectorEnv, LiveFleetVectorEnv, YardstickCallback

    env_config = {"setting": configuration["setting"], "queue_unit": configuration["queue_unit"]}
    env: type = FleetVectorEnv
    if configuration["live"] is not None:
        env = LiveFleetVectorEnv
        env_config |= configuration["live"]
        env(env_config | {"num_envs": configuration["num_envs_per_env_runner"]}).close()  # refuses what cannot work
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)  # its import has set a chattier one
    config = CONFIGS[configuration["algorithm"]]().environment(env, env_config=env_config)
    training = configuration["training"]
    of_rllib = inspect.signature(AlgorithmConfig.training).parameters  # refused with what does their job
    check_keys("--config: ", [key for key in training if key not in of_rllib], config.hyperparameters.model_fields)
    config.training(**{"kernels": configuration["kernels"], **training})
    config.debugging(seed=configuration["seed"], log_level="ERROR")
    config.callbacks(YardstickCallback)
    config.env_runners(
        num_env_runners=configuration["num_env_runners"],
        num_envs_per_env_runner=configuration["num_envs_per_env_runner"],
        rollout_fragment_length=configuration["rollout_fragment_length"],
    )
    config.learners(
        num_learners=configuration["num_learners"],
        num_gpus_per_learner=configuration["num_gpus_per_learner"],
    )
    config.validate()
    return config

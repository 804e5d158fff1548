"""What a training run depends on: from its options to plain values, and from those to an algorithm."""

from __future__ import annotations

import inspect
import logging
import math
import os
from pathlib import Path
from typing import Any, TypeVar

from lad_rllib.algorithms.common.hyperparameters import of_policy
from lad_rllib.algorithms.declarations import FLAGS
from lad_rllib.declared import check_keys, shown
from lad_rllib.envs import episodes
from lad_rllib.errors import ConfigurationError
from lad_rllib.names import SHIPPED_POLICIES
from lad_rllib.runs import cluster
from lad_rllib.runs.options import (
    LearnOptions,
    LiveOptions,
    Options,
    ScaleOptions,
    SettingOptions,
    flag,
)
from lad_rllib.runs.provenance import command_line
from lad_rllib.runs.run_folder import newest_policy
from lad_rllib.runs.worlds import AnySetting, world_of
from lad_rllib.simulator import (
    ARRIVALS,
    Setting,
    override_spec,
    resolve_paths,
    sizes,
)
from lad_rllib.simulator.requests import (
    TRAFFIC,
    RandomFleets,
    RequestSetting,
    is_random_fleets,
    is_request_spec,
    override_request_spec,
)
from lad_rllib.text_files import read_structured

TRAIN_PART = (0.0, 0.7)
WHOLE_LOG = (0.0, 1.0)
DEFAULT_KERNELS = "auto"


def setting_spec(options: SettingOptions, default: str = "paper") -> dict[str, Any]:
    """The settings dictionary that the options describe; without a setting, of the default one."""
    spec = episodes.setting_spec(options.setting or default)
    if is_request_spec(spec) or is_random_fleets(spec):
        changed = override_request_spec(spec, request_setting_changes(options))
    else:
        changed = override_spec(spec, setting_changes(options))
    return resolve_paths(changed, Path.cwd())


def request_setting_changes(options: SettingOptions) -> dict[str, Any]:
    """What the options change of a setting of requests that come one by one.

    Raises:
        ConfigurationError: for an option that means slots.
    """
    for name in SettingOptions.model_fields:
        if name not in ("setting", "load", "arrivals") and getattr(options, name) is not None:
            raise ConfigurationError(
                f"{flag(name)} has no effect on setting {options.setting}, whose requests come one by one; leave it "
                "out, or change the field in a settings file"
            )
    traffic = _given(load=options.load)
    if options.arrivals in TRAFFIC:
        traffic["kind"] = options.arrivals
    elif options.arrivals:
        traffic |= {"kind": "recorded", "path": options.arrivals}
        if Path(os.path.expanduser(options.arrivals)).is_dir():
            traffic["format"] = "decisions"
    return _given(traffic=traffic or None)


def setting_changes(options: SettingOptions) -> dict[str, Any]:
    """What the options change of a setting."""
    capacity = options.capacity
    network = _given(
        stations=options.stations,
        servers=options.servers,
        capacity_gcycles_per_s=capacity[0] if capacity is not None and len(capacity) == 1 else capacity,
    )
    arrivals = _given(
        max_tasks=options.max_tasks,
        mean_tasks=options.mean_tasks,
        load=options.load,
        time_compression=options.time_compression,
        work_shown=options.work_shown,
    )
    if options.arrivals in ARRIVALS:
        arrivals["source"] = options.arrivals
    elif options.arrivals:
        arrivals |= {"source": "trace", "path": options.arrivals}
    return _given(slots=options.slots, slot_s=options.slot_seconds, network=network or None, arrivals=arrivals or None)


def _given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


Logged = TypeVar("Logged", Setting, RequestSetting, AnySetting)


def part_of_log(part: list[float] | None, setting: Logged, default: tuple[float, float]) -> Logged:
    """The setting on a part of its request log, if it has one: the given part, or the default.

    Raises:
        ConfigurationError: if a part is given and there is no log.
    """
    if not isinstance(setting, RandomFleets) and "part" in _source(setting):
        return setting.with_part((part[0], part[1]) if part else default)
    if part:
        raise ConfigurationError(
            f"--part has no effect on setting {setting.name}, which has no request log; leave it out"
        )
    return setting


def _source(setting: AnySetting) -> dict[str, Any]:
    """Fields of where its tasks or requests come from; random fleets have no one source."""
    if isinstance(setting, RandomFleets):
        return {}
    source: dict[str, Any] = setting.spec["traffic" if isinstance(setting, RequestSetting) else "arrivals"]
    return source


def resolve(options: LearnOptions) -> dict[str, Any]:
    """Everything that the run depends on, as plain values."""
    from lad_rllib.algorithms import CONFIGS

    world = world_of(options.algorithm)
    setting = world.read(setting_spec(options), options)
    own_part = tuple(_source(setting).get("part", WHOLE_LOG))
    setting = part_of_log(options.part, setting, TRAIN_PART if own_part == WHOLE_LOG else own_part)
    _check_scale(options, setting)
    training = read_training_file(options.config) if options.config else {}
    for name, one in FLAGS.items():
        if (value := getattr(options, name)) is not None:
            training[name] = one.flag.read(value) if one.flag.read else value
    live = options if isinstance(options, LiveOptions) else LiveOptions()
    if live.init_from:
        training |= _kept_of_policy(_policy(live.init_from), CONFIGS[options.algorithm], training)
    return {
        "algorithm": options.algorithm,
        "setting": setting.spec,
        "training": training,
        "kernels": training.get("kernels", DEFAULT_KERNELS),
        "queue_unit": world.queue_unit(options.queue_unit, setting, CONFIGS[options.algorithm].queue_unit),
        "live": _live(live),
        "init_from": _policy(live.init_from) if live.init_from else None,
        "episodes": options.episodes,
        "seed": options.seed,
        "num_env_runners": options.num_env_runners,
        "num_envs_per_env_runner": options.num_envs_per_env_runner,
        "rollout_fragment_length": options.rollout_fragment_length or "auto",
        "num_learners": options.num_learners,
        "num_gpus_per_learner": _gpus_per_learner(options),
        "checkpoint_every": options.checkpoint_every,
        "command": command_line(),
        "arguments": options.arguments(),
    }


def _kept_of_policy(start: str, config: Any, training: dict[str, Any]) -> dict[str, Any]:
    """Hyperparameters of the policy that a run starts from, unless the run says others, itself or by a preset."""
    saved, said = newest_policy(start), {**config.presets.get(training.get("preset", ""), {}), **training}
    if saved.title != config.title:
        return {}  # which is refused where the run starts from it
    own = of_policy(config.hyperparameters, saved.hyperparameters)
    return {name: value for name, value in own.items() if name not in said}


def _policy(path: str) -> str:
    """A checkpoint that a resumed run finds from another folder, too."""
    return path if path in SHIPPED_POLICIES else str(Path(os.path.expanduser(path)).resolve())


def check_resumed(options: Options, begun_with: dict[str, Any], place: Path, *may_change: str) -> None:
    """Refuse options that a resumed run would not follow; it may be given again what it was begun with.

    Args:
        options: Those of the run that resumes.
        begun_with: :meth:`Options.arguments` of the one that began.
        place: Where it is.
        may_change: Options that it follows.

    Raises:
        ConfigurationError: names the option, its value, and the run's.
    """
    now = options.arguments()
    for name in sorted((options.model_fields_set & now.keys()).difference(may_change)):
        if now[name] != begun_with.get(name):
            had = begun_with.get(name)
            given = flag(name) if now[name] is True else f"{flag(name)} {shown(now[name])}"
            before = "nothing" if had is None or had is False else shown(had)
            raise ConfigurationError(
                f"{given} contradicts what {place} was begun with, {before}; leave it out, or start anew with another "
                "--output"
            )


def _check_scale(options: LearnOptions, setting: AnySetting) -> None:
    """Refuse more episodes or processes than this machine's memory holds, unless a cluster takes them."""
    if cluster.address_of(options) != "local":
        return
    _check_lockstep(options.algorithm, options.num_envs_per_env_runner, setting)
    processes = options.num_env_runners + options.num_learners
    sizes.check_fits(
        f"{processes:,} runners and learners", processes * sizes.PROCESS_BYTES, "--num-env-runners or --num-learners"
    )


def check_nodes(configuration: dict[str, Any], setting: AnySetting) -> None:
    """Refuse more episodes in lockstep than the largest node of the connected cluster holds.

    Args:
        configuration: What :func:`resolve` returns.
        setting: The setting that it names.

    Raises:
        ConfigurationError: says what they would take.
    """
    node_bytes = cluster.largest_node_bytes()
    if node_bytes is not None:
        _check_lockstep(configuration["algorithm"], configuration["num_envs_per_env_runner"], setting, node_bytes)


def _check_lockstep(algorithm: str, episodes: int, setting: AnySetting, node_bytes: int | None = None) -> None:
    needed = world_of(algorithm).lockstep_bytes(episodes, setting)
    what, remedy = f"{episodes:,} episodes in lockstep", "--num-envs-per-env-runner"
    sizes.check_fits(what, needed, remedy, node_bytes=node_bytes)


def check_memory(config: Any, setting: AnySetting, *, plays_here: bool = True) -> None:
    """Refuse training whose networks and memories do not fit into this machine's.

    Args:
        config: What :func:`algorithm_config` returns.
        setting: The setting that it trains on.
        plays_here: Whether this machine plays the episodes, too; else nodes of a cluster do.

    Raises:
        ConfigurationError: says what it would take.
    """
    world = world_of(config.name)
    parts = world.training_bytes(config, setting, plays_here=plays_here)
    sizes.check_fits("training", parts, world.memory_remedy)


def _live(options: LiveOptions) -> dict[str, Any] | None:
    """What the live environment needs besides the setting; None: the simulator."""
    if options.fleet is None:
        for name in ("shared_fleet", "in_process", "prompts"):
            if getattr(options, name):
                raise ConfigurationError(f"{flag(name)} has no effect without --fleet; name a fleet")
        return None
    from lad_rllib.fleet import load_fleet
    from lad_rllib.service import read_prompts

    return {
        "fleet": load_fleet(options.fleet).to_dict(),
        "sharing": "shared" if options.shared_fleet else "own",
        "in_process": options.in_process,
        "prompts": read_prompts(options.prompts),
    }


def num_cpus(configuration: dict[str, Any]) -> int:
    """CPUs that a run takes: the driver, runners, learners, and the runners' own fleets."""
    own = 1 + configuration["num_env_runners"] + configuration["num_learners"]
    live = configuration["live"]
    if live is None or live["in_process"] or live["sharing"] == "shared":
        return int(own)
    from lad_rllib.fleet import load_fleet

    one_fleet = sum(server.num_cpus for server in load_fleet(live["fleet"]).servers)
    return int(own + math.ceil(one_fleet * max(configuration["num_env_runners"], 1)))


def _gpus_per_learner(options: ScaleOptions) -> float:
    gpus = options.num_gpus_per_learner
    if gpus is None:
        return 1 if options.device == "cuda" else 0
    if gpus < 0 or (gpus > 0 and options.device == "cpu") or (gpus == 0 and options.device == "cuda"):
        raise ConfigurationError(
            f"--num-gpus-per-learner {gpus:g} contradicts --device {options.device}; give one of them"
        )
    return float(gpus)


def num_gpus(configuration: dict[str, Any]) -> int:
    """GPUs of the machine that learners take together."""
    return math.ceil(max(configuration["num_learners"], 1) * configuration["num_gpus_per_learner"])


def check_device(configuration: dict[str, Any]) -> None:
    """Refuse GPUs that this machine does not have.

    Raises:
        ConfigurationError: if torch finds fewer than the learners take.
    """
    import torch

    wanted = num_gpus(configuration)
    there = torch.cuda.device_count() if wanted and torch.cuda.is_available() else 0
    if there < wanted:
        raise ConfigurationError(
            f"torch finds {there or 'no'} GPU here and the learners take {wanted}; use --device cpu, fewer "
            f"learners or GPUs for each, or --address of a cluster that has them"
        )


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

    world = world_of(configuration["algorithm"])
    env, env_config = world.environment(configuration)
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)  # its import has set a chattier one
    config = CONFIGS[configuration["algorithm"]]().environment(env, env_config=env_config)
    training = configuration["training"]
    of_rllib = inspect.signature(AlgorithmConfig.training).parameters  # refused with what does their job
    known = config.hyperparameters.model_fields
    for key in training:
        if key not in known and configuration["arguments"].get(key) is not None:
            raise ConfigurationError(f"{flag(key)} has no effect on {config.title}; leave it out")
    check_keys("--config: ", [key for key in training if key not in of_rllib], known)
    config.training(**{"kernels": configuration["kernels"], **training})
    config.debugging(seed=configuration["seed"], log_level="ERROR")
    config.callbacks(world.callback())
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

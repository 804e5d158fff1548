"""One training run: begun, resumed, saved on the way, and stopped by a signal at an episode's end.

A run does not go through Ray Tune, which searches do. There the algorithm lives in a process of its own, and loading
PyTorch and RLlib once more takes 3.7 s of CPU time (Ray 2.60) that a newcomer would wait for before the first episode.
Both drivers share configurations, storage, tracking callbacks and the start of Ray.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lad_rllib import names
from lad_rllib.runs import configuration as configured
from lad_rllib.runs import signals
from lad_rllib.runs.cluster import address_of, start_ray
from lad_rllib.runs.failed_tasks import FailedTasks
from lad_rllib.runs.options import TrainOptions
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.plots_of_cases import plot_learning
from lad_rllib.runs.progress import TrainingDisplay
from lad_rllib.runs.run_folder import RunFolder
from lad_rllib.runs.storage import SharedCopy
from lad_rllib.runs.tracking import Tracker, track_callbacks
from lad_rllib.runs.worlds import world_of
from lad_rllib.simulator import build_setting


@dataclass(frozen=True)
class TrainedRun:
    """What became of a run.

    Attributes:
        folder: Its folder.
        signal: The signal that stopped it, or None.
    """

    folder: RunFolder
    signal: int | None

    @property
    def failed_tasks(self) -> FailedTasks:
        """How many tasks failed on edge servers."""
        return FailedTasks.of(self.folder.progress())


def train(options: TrainOptions, say: Callable[[str], None] = lambda line: None) -> TrainedRun:
    """Train to the wanted number of episodes, or until a signal; save on the way and at the end.

    Args:
        options: What is trained, where, and whether a run that is there goes on.
        say: Takes lines about the setting and the places of results.

    Raises:
        ConfigurationError: for options that contradict one another or the run that is there, and for what this machine
            cannot hold.
        TrainingDiverged: if a weight becomes NaN or infinite; earlier checkpoints are kept.
    """
    from lad_rllib import kernels  # loads torch, for which a mistake in words need not wait

    folder = RunFolder(writable_folder(options.output))
    folder.settle()
    copy = SharedCopy(folder.path, options.storage_path)
    configuration = _resumed(options, folder, copy) if options.resume else configured.resolve(options)
    world = world_of(configuration["algorithm"])
    setting = world.build(configuration["setting"])
    say(setting.summary())
    config = configured.algorithm_config(configuration)
    is_local = address_of(options) == "local"
    plays_here = is_local or not configuration["num_env_runners"]
    configured.check_memory(config, setting, plays_here=plays_here)
    if is_local:
        configured.check_device(configuration)
    track_callbacks(options.track, "")  # refuses a service whose package is not installed
    if not options.resume:
        folder.check_free(overwrite=options.overwrite)
    kernels.begin_compiling(configuration["kernels"], *world.kernels)  # while Ray starts and the algorithm is built
    start_ray(options, configured.num_cpus(configuration), configured.num_gpus(configuration))
    if not plays_here:
        configured.check_nodes(configuration, setting)
    algorithm = config.build_algo()
    try:
        if options.resume:
            folder.restore(algorithm)
        else:
            if configuration["init_from"]:
                algorithm.start_from(configuration["init_from"])
            folder.begin()
        folder.write_configuration(configuration)
        say(f"writing to {copy.place}")
        _say_nodes(algorithm, say)
        tracker = Tracker(folder.tensorboard, folder.path.resolve().name, _parameters(configuration), options.track)
        display = TrainingDisplay(configuration["episodes"], folder.episodes_done, quiet=options.quiet)
        with tracker:
            signal = _train(algorithm, folder, configuration, copy, display, tracker, say)
        return TrainedRun(folder, signal)
    finally:
        algorithm.stop()
        folder.settle()


def _resumed(options: TrainOptions, folder: RunFolder, copy: SharedCopy) -> dict[str, Any]:
    """The configuration of the run that goes on, to as many episodes as are asked for now."""
    copy.fetch()
    configuration = folder.read_configuration()
    configured.check_resumed(options, configuration["arguments"], folder.path, "episodes")
    if "episodes" in options.model_fields_set:
        configuration["episodes"] = options.episodes
    return configuration


def _say_nodes(algorithm: Any, say: Callable[[str], None]) -> None:
    """Where the remote env runners are."""
    if algorithm.config.num_env_runners:
        places = algorithm.env_runner_group.foreach_env_runner(_node_address, local_env_runner=False)
        say(f"env runners on nodes: {', '.join(places)}")


def _node_address(_: Any) -> str:
    import ray

    return str(ray.util.get_node_ip_address())


def _parameters(configuration: dict[str, Any]) -> dict[str, Any]:
    """What a tracking service is told that the run depends on."""
    told = ("algorithm", "seed", "queue_unit", "num_env_runners", "num_envs_per_env_runner", "num_learners")
    return {
        "setting": configuration["setting"]["name"],
        **{key: configuration[key] for key in told},
        **configuration["training"],
    }


def _train(
    algorithm: Any,
    folder: RunFolder,
    configuration: dict[str, Any],
    copy: SharedCopy,
    display: TrainingDisplay,
    tracker: Tracker,
    say: Callable[[str], None],
) -> int | None:
    """Train until there are enough episodes or a signal comes, which is returned."""
    stop = signals.StopRequest("stopping after this episode")
    episodes = folder.episodes_done
    _show_slots(algorithm, configuration, display)
    saved_at = algorithm.iteration
    with stop, display:
        while episodes < configuration["episodes"] and stop.signal is None:
            started = time.perf_counter()
            result = algorithm.train()
            episodes += int(result["env_runners"].get("num_episodes", 0))
            row = _progress_row(result, episodes, time.perf_counter() - started)
            folder.append_progress(row)
            display.update(row)
            tracker.report(row)
            if algorithm.iteration - saved_at >= configuration["checkpoint_every"]:
                folder.save(algorithm)
                saved_at = algorithm.iteration
                copy.push()
        found = algorithm.settle()
        if algorithm.iteration != saved_at or found is not None:
            folder.save(algorithm)
    if found is not None:
        say(found)
    title = folder.title(configuration)
    curves = folder.progress().assign(case="", seed=configuration["seed"])
    plot_learning(curves, {"": algorithm.config.title}, folder.learning_curve, title)
    copy.push()
    return stop.signal


def _show_slots(algorithm: Any, configuration: dict[str, Any], display: TrainingDisplay) -> None:
    """Show every slot of a live episode, which takes wall time."""
    fragment = algorithm.config.get_rollout_fragment_length()
    if configuration["live"] is not None and fragment is not None:
        slots = build_setting(configuration["setting"]).num_slots - 1
        algorithm.after_round = lambda number: display.show_slot(min(number * fragment, slots), slots)


def _progress_row(result: dict[str, Any], episodes: int, seconds: float) -> dict[str, float]:
    """The columns of ``progress.csv``."""
    runners = result["env_runners"]
    learner = result.get("learners", {}).get("default_policy", {})
    numbers = {
        names.MEAN_DELAY: runners[names.MEAN_DELAY],
        **{column: runners[column] for column in names.ALL_YARDSTICKS if column in runners},
        names.DELAY_OVER_ORACLE: runners[names.DELAY_OVER_ORACLE],
        "seconds": seconds,
        **{key: learner.get(key, float("nan")) for key in ("critic_loss", "actor_loss", "entropy_mean", "alpha_value")},
        **{key: runners.get(key, float("nan")) for key in (*names.DELAY_PERCENTILES.values(), names.LOSS_STRENGTH)},
        names.STALENESS: result.get(names.STALENESS, float("nan")),
    }
    row: dict[str, float] = {"iteration": int(result["training_iteration"]), "episodes": episodes}
    row |= {key: float(value) for key, value in numbers.items()}
    of_servers = (names.ENDED_TASKS, names.FAILED_TASKS)
    return row | {key: int(runners[key]) for key in of_servers if key in runners}

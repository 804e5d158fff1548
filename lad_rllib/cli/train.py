"""``lad-rllib train``: train LAD-TS or a baseline; leaves progress, checkpoint, configuration and a learning curve."""

from __future__ import annotations

import argparse
import time
from typing import Any

from lad_rllib import names
from lad_rllib.cli import options as shared
from lad_rllib.cli import run_configuration
from lad_rllib.runs import cluster, plots, signals
from lad_rllib.runs.failed_tasks import FailedTasks
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.progress import TrainingDisplay
from lad_rllib.runs.run_folder import RunFolder
from lad_rllib.runs.storage import SharedCopy
from lad_rllib.simulator import build_setting


def run(parsed: argparse.Namespace) -> int:
    """Train; returns the exit status."""
    folder = RunFolder(writable_folder(parsed.output))
    folder.settle()
    copy = SharedCopy(folder.path, parsed.storage_path)
    if parsed.resume:
        copy.fetch()
        configuration = folder.read_configuration()
        shared.check_resumed(parsed, configuration["arguments"], "episodes")
        if "episodes" in parsed.given:
            configuration["episodes"] = parsed.episodes
    else:
        configuration = run_configuration.resolve(parsed) | {"arguments": shared.arguments(parsed)}
    setting = build_setting(configuration["setting"])
    if not parsed.quiet:
        print(setting.summary())
    config = run_configuration.algorithm_config(configuration)
    run_configuration.check_memory(config, setting)
    run_configuration.check_device(configuration, parsed)
    if not parsed.resume:
        folder.check_free(overwrite=parsed.overwrite)
    cluster.start_ray(
        parsed,
        num_cpus=1
        + configuration["num_env_runners"]
        + configuration["num_learners"]
        + run_configuration.fleet_cpus(configuration),
        num_gpus=run_configuration.learner_gpus(configuration),
    )
    algorithm = config.build_algo()
    try:
        if parsed.resume:
            folder.restore(algorithm)
        else:
            if configuration["init_from"]:
                algorithm.start_from(configuration["init_from"])
            folder.begin()
        folder.write_configuration(configuration)
        if not parsed.quiet:
            print(f"writing to {copy.place}")
            _print_nodes(algorithm)
        return _train(algorithm, folder, configuration, parsed, copy)
    finally:
        algorithm.stop()
        folder.settle()


def _print_nodes(algorithm: Any) -> None:
    """Where the remote env runners are."""
    if algorithm.config.num_env_runners:
        places = algorithm.env_runner_group.foreach_env_runner(_node_address, local_env_runner=False)
        print(f"env runners on nodes: {', '.join(places)}")


def _node_address(_: Any) -> str:
    import ray

    return str(ray.util.get_node_ip_address())


def _train(
    algorithm: Any, folder: RunFolder, configuration: dict[str, Any], parsed: argparse.Namespace, copy: SharedCopy
) -> int:
    """Train to the wanted number of episodes, or to a signal; save on the way and at the end."""
    stop = signals.StopRequest("stopping after this episode")
    episodes_done = folder.episodes_done
    display = TrainingDisplay(configuration["episodes"], episodes_done, quiet=parsed.quiet)
    fragment = algorithm.config.get_rollout_fragment_length()
    if configuration["live"] is not None and fragment is not None:  # its slots take wall time
        slots = build_setting(configuration["setting"]).num_slots - 1
        algorithm.after_round = lambda number: display.show_slot(min(number * fragment, slots), slots)
    saved_at = algorithm.iteration
    with stop, display:
        while episodes_done < configuration["episodes"] and stop.signal is None:
            started = time.perf_counter()
            result = algorithm.train()
            episodes_done += int(result["env_runners"].get("num_episodes", 0))
            row = _progress_row(result, episodes_done, time.perf_counter() - started)
            folder.append_progress(row)
            display.update(row)
            if algorithm.iteration - saved_at >= configuration["checkpoint_every"]:
                folder.save(algorithm)
                saved_at = algorithm.iteration
                copy.push()
        if algorithm.iteration != saved_at:
            folder.save(algorithm)
    title = folder.title(configuration)
    plots.plot_learning_curve(folder.progress(), folder.learning_curve, title, algorithm.config.title)
    copy.push()
    if not parsed.quiet:
        print(folder.closing_words(interrupted=stop.signal is not None))
    failures = FailedTasks.of(folder.progress())
    failures.report(quiet=parsed.quiet)
    if stop.signal is not None:
        return 128 + stop.signal
    return 1 if failures.are_most else 0


def _progress_row(result: dict[str, Any], episodes_done: int, seconds: float) -> dict[str, float]:
    """The columns of ``progress.csv``."""
    runners = result["env_runners"]
    learner = result.get("learners", {}).get("default_policy", {})
    row = {
        "iteration": result["training_iteration"],
        "episodes": episodes_done,
        names.MEAN_DELAY: runners[names.MEAN_DELAY],
        **{column: runners[column] for column in names.YARDSTICKS.values()},
        names.DELAY_OVER_ORACLE: runners[names.DELAY_OVER_ORACLE],
        "seconds": seconds,
    }
    counts = {
        key: runners[key] for key in (names.ENDED_TASKS, names.FAILED_TASKS) if key in runners
    }  # of live training
    row |= {key: learner.get(key, float("nan")) for key in ("critic_loss", "actor_loss", "entropy_mean", "alpha_value")}
    row = {key: float(value) if key not in ("iteration", "episodes") else int(value) for key, value in row.items()}
    return row | {key: int(value) for key, value in counts.items()}

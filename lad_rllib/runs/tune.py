"""A search for hyperparameters from its options to its report: begun, resumed, confirmed with fresh seeds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from lad_rllib import durable
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.cluster import address_of, start_ray
from lad_rllib.runs.configuration import algorithm_config, check_nodes, check_resumed, resolve
from lad_rllib.runs.options import SearchOptions
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.search import SearchPlan, exists, experiment_path, run_search, stop_search
from lad_rllib.runs.search_report import SearchProgress, SearchReport, quiet_tune
from lad_rllib.runs.search_results import trial_table
from lad_rllib.runs.search_space import SearchSpace, read_space
from lad_rllib.runs.signals import StopRequest
from lad_rllib.runs.storage import SharedCopy
from lad_rllib.runs.tracking import track_callbacks
from lad_rllib.runs.worlds import world_of

PLAN_FILE = "tune.yaml"
CONFIRMATION_SEED = 1000


@dataclass(frozen=True)
class Searched:
    """A search that has ended.

    Attributes:
        report: Its tables.
        failed: Trials that failed for good, those of the confirmation among them.
        signal: The signal that ended it, or None.
    """

    report: SearchReport
    failed: int
    signal: int | None


def search(options: SearchOptions, say: Callable[[str], None] = lambda line: None) -> Searched:
    """Search, and write tables, pictures and the best configuration; a search that is there goes on with ``resume``.

    Args:
        options: What is searched and how.
        say: Takes lines about the places of results.

    Raises:
        ConfigurationError: for options that contradict one another or the search that is there.
    """
    quiet_tune()
    output = writable_folder(options.output)
    name = options.name or output.resolve().name
    copy = SharedCopy(output, options.storage_path, f"{name}-results")
    described = _resumed(options, output, copy) if options.resume else _begun(options, output)
    plan = _plan(described, name)
    progress = () if options.quiet else (SearchProgress(plan.episodes),)
    plan = replace(plan, callbacks=(*progress, *track_callbacks(options.track, name)))
    plan.check()
    storage = options.storage_path or str(output.resolve() / "experiment")
    configuration = described["configuration"]
    of_a_seed = configuration["num_env_runners"] + configuration["num_learners"]
    start_ray(options, num_cpus=2 + of_a_seed * len(plan.seeds_of_a_trial))
    if address_of(options) != "local":
        check_nodes(configuration, world_of(configuration["algorithm"]).build(configuration["setting"]))
    if not options.resume:
        if exists(storage, name):
            raise ConfigurationError(f"{experiment_path(storage, name)} holds a search already; give another --name")
        durable.write_checked(output / PLAN_FILE, yaml.safe_dump(described, sort_keys=False))
    copy.push()
    say(f"writing to {copy.place}; trials and checkpoints: {storage}")
    return _run(plan, described, output, copy, storage, resume=options.resume)


def _run(
    plan: SearchPlan, described: dict[str, Any], output: Path, copy: SharedCopy, storage: str, *, resume: bool
) -> Searched:
    """Run all trials, and those that confirm the best configuration."""
    began = time.monotonic()
    with StopRequest("ending the search", pass_on=stop_search) as stop:
        outcomes = run_search(plan, storage, resume=resume)
        interrupted = stop.signal is not None
        report = SearchReport(plan, outcomes, time.monotonic() - began, described, interrupted)
        report.write(output)
        copy.push()
        failed = report.failed
        confirm_seeds = described["configuration"]["arguments"]["confirm_seeds"]
        if confirm_seeds and report.best is not None and not interrupted:
            confirmed = _confirm(plan, report.best, confirm_seeds, storage)
            failed += int((confirmed["status"] == "failed").sum())
            if stop.signal is None:
                report.confirm(confirmed, output)
            copy.push()
    return Searched(report, failed, stop.signal)


def _resumed(options: SearchOptions, output: Path, copy: SharedCopy) -> dict[str, Any]:
    copy.fetch()
    described = _read_plan(output / PLAN_FILE)
    check_resumed(options, described["configuration"]["arguments"], output)
    return described


def _begun(options: SearchOptions, output: Path) -> dict[str, Any]:
    """Everything that the search depends on, as plain values."""
    from lad_rllib.algorithms import CONFIGS

    if (output / PLAN_FILE).exists():
        raise ConfigurationError(f"{output} holds a search already; give --resume or another --output")
    configuration = resolve(options)
    space = read_space(options.space, configuration["algorithm"]).only(options.parameters)
    given = [key for key in configuration["training"] if key in space.ranges]
    if given:
        print(f"not searched, since a value is given: {', '.join(given)}", file=sys.stderr)
    settings = CONFIGS[configuration["algorithm"]]
    unknown = [key for key in space.ranges if key not in settings.hyperparameters.model_fields]
    if unknown:
        print(f"not searched, since {settings.title} has none: {', '.join(unknown)}", file=sys.stderr)
    space = space.without([*given, *unknown])
    space.check(settings.hyperparameters)
    ranges = {name: [kind, list(values)] for name, (kind, values) in space.ranges.items()}
    return {"configuration": configuration, "space": ranges, "fixed": space.fixed}


def _read_plan(file: Path) -> dict[str, Any]:
    if not file.exists():
        raise ConfigurationError(f"{file.parent} holds no search to resume; leave --resume out to start one")
    try:
        described: dict[str, Any] = yaml.safe_load(durable.read_checked(file))
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}; start the search anew with another --output") from None
    return described


def _plan(described: dict[str, Any], name: str) -> SearchPlan:
    configuration = described["configuration"]
    arguments = configuration["arguments"]
    ranges = {name: (kind, tuple(values)) for name, (kind, values) in described["space"].items()}
    same = ("trials", "search", "grid_points", "scheduler", "seeds_as_grid", "max_concurrent")
    return SearchPlan(
        name=name,
        algorithm=algorithm_config(configuration),
        space=SearchSpace(ranges, described["fixed"]),
        episodes=configuration["episodes"],
        seeds=tuple(arguments["seeds"]),
        checkpoint_every=configuration["checkpoint_every"],
        search_seed=configuration["seed"],
        time_budget_s=arguments["time_budget"],
        **{key: arguments[key] for key in same},
    )


def _confirm(plan: SearchPlan, best: dict[str, Any], number: int, storage: str) -> pd.DataFrame:
    """Best configuration and defaults with fresh seeds, each to the end."""
    again = replace(
        plan,
        name=f"{plan.name}-confirmation",
        given=({**plan.space.fixed, **best}, {}),
        seeds=tuple(range(CONFIRMATION_SEED, CONFIRMATION_SEED + number)),
        seeds_as_grid=True,
        scheduler="none",
        search="random",
        time_budget_s=None,
    )
    outcomes = run_search(again, storage, resume=exists(storage, again.name))
    table = trial_table(outcomes, list(plan.space.ranges), plan.episodes)
    is_best = table[list(best)].notna().all(axis=1)
    table.insert(0, "configuration", is_best.map({True: "tuned", False: "defaults"}))
    return table.sort_values(["configuration", "seeds"], ascending=[False, True], ignore_index=True)

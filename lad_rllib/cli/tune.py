"""``lad-rllib tune``: search hyperparameters with Ray Tune, and leave the best for ``train --config``."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from lad_rllib import durable
from lad_rllib.cli import options as shared
from lad_rllib.cli import run_configuration
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs import cluster, signals
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.search_space import SearchSpace, read_space
from lad_rllib.runs.storage import SharedCopy

PLAN_FILE = "tune.yaml"
CONFIRMATION_SEED = 1000
MAX_CONFIRM_SEEDS = 1000


def run(parsed: argparse.Namespace) -> int:
    """Search; returns the exit status: 1 if a trial failed for good, 128 and a signal's number if one ended it."""
    from lad_rllib.runs import search_report
    from lad_rllib.runs.search import exists, experiment_path, run_search, stop_search

    search_report.quiet_tune()
    output = writable_folder(parsed.output)
    name = parsed.name or output.resolve().name
    copy = SharedCopy(output, parsed.storage_path, f"{name}-results")
    if parsed.resume:
        copy.fetch()
        described = _read_plan(output / PLAN_FILE)
        shared.check_resumed(parsed, described["arguments"])
    else:
        if (output / PLAN_FILE).exists():
            raise ConfigurationError(f"{output} holds a search already; give --resume or another --output")
        described = _describe(parsed)
    plan = _plan(described, name)
    plan = replace(plan, callbacks=() if parsed.quiet else (search_report.SearchProgress(plan.episodes),))
    plan.check()
    storage = parsed.storage_path or str(output.resolve() / "experiment")
    configuration = described["configuration"]
    of_a_seed = configuration["num_env_runners"] + configuration["num_learners"]
    cluster.start_ray(parsed, num_cpus=2 + of_a_seed * len(plan.seeds_of_a_trial))
    if not parsed.resume:
        if exists(storage, name):
            raise ConfigurationError(f"{experiment_path(storage, name)} holds a search already; give another --name")
        durable.write_checked(output / PLAN_FILE, yaml.safe_dump(described, sort_keys=False))
    copy.push()
    if not parsed.quiet:
        print(f"writing to {copy.place}; trials and checkpoints: {storage}")
    began = time.monotonic()
    with signals.StopRequest("ending the search", pass_on=stop_search) as stop:
        outcomes = run_search(plan, storage, resume=parsed.resume)
        interrupted = stop.signal is not None
        report = search_report.SearchReport(plan, outcomes, time.monotonic() - began, described, interrupted)
        report.write(output)
        copy.push()
        failed = report.failed
        if described["confirm_seeds"] and report.best is not None and not interrupted:
            confirmed = _confirm(plan, report.best, described["confirm_seeds"], storage)
            failed += int((confirmed["status"] == "failed").sum())
            if stop.signal is None:
                report.confirm(confirmed, output)
            copy.push()
    print(report.text)
    if stop.signal is not None:
        print(f"lad-rllib tune: interrupted; lad-rllib tune --resume --output {output} goes on", file=sys.stderr)
        return 128 + stop.signal
    return 1 if failed or report.best is None else 0


def _describe(parsed: argparse.Namespace) -> dict[str, Any]:
    """Everything that the search depends on, as plain values."""
    from lad_rllib.algorithms import CONFIGS

    shared.check_at_least(1, parsed, "trials", "grid_points", "episodes", "checkpoint_every")
    for seed in (parsed.seed, *parsed.seeds):
        shared.check_seed(seed)
    if not 0 <= parsed.confirm_seeds <= MAX_CONFIRM_SEEDS:
        raise ConfigurationError(f"--confirm-seeds must be 0 to {MAX_CONFIRM_SEEDS}, got {parsed.confirm_seeds}")
    configuration = run_configuration.resolve(parsed)
    space = read_space(parsed.space, configuration["algorithm"]).only(parsed.parameters)
    given = [key for key in configuration["training"] if key in space.ranges]
    if given:
        print(f"not searched, since a value is given: {', '.join(given)}", file=sys.stderr)
    settings = CONFIGS[configuration["algorithm"]]
    unknown = [key for key in space.ranges if key not in settings.hyperparameters.model_fields]
    if unknown:
        print(f"not searched, since {settings.title} has none: {', '.join(unknown)}", file=sys.stderr)
    space = space.without([*given, *unknown])
    space.check(settings.hyperparameters)
    return {
        "arguments": shared.arguments(parsed),
        "configuration": configuration,
        "space": {name: [kind, list(values)] for name, (kind, values) in space.ranges.items()},
        "fixed": space.fixed,
        "trials": parsed.trials,
        "search": parsed.search,
        "grid_points": parsed.grid_points,
        "scheduler": parsed.scheduler,
        "seeds": list(parsed.seeds),
        "seeds_as_grid": parsed.seeds_as_grid,
        "max_concurrent": parsed.max_concurrent,
        "time_budget_s": parsed.time_budget,
        "confirm_seeds": parsed.confirm_seeds,
    }


def _read_plan(file: Path) -> dict[str, Any]:
    if not file.exists():
        raise ConfigurationError(f"{file.parent} holds no search to resume; leave --resume out to start one")
    try:
        described: dict[str, Any] = yaml.safe_load(durable.read_checked(file))
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}; start the search anew with another --output") from None
    return described


def _plan(described: dict[str, Any], name: str) -> Any:
    from lad_rllib.runs.search import SearchPlan

    configuration = described["configuration"]
    ranges = {name: (kind, tuple(values)) for name, (kind, values) in described["space"].items()}
    same = ("trials", "search", "grid_points", "scheduler", "seeds_as_grid", "max_concurrent", "time_budget_s")
    return SearchPlan(
        name=name,
        algorithm=run_configuration.algorithm_config(configuration),
        space=SearchSpace(ranges, described["fixed"]),
        episodes=configuration["episodes"],
        seeds=tuple(described["seeds"]),
        checkpoint_every=configuration["checkpoint_every"],
        search_seed=configuration["seed"],
        **{key: described[key] for key in same},
    )


def _confirm(plan: Any, best: dict[str, Any], number: int, storage: str) -> pd.DataFrame:
    """Best configuration and defaults with fresh seeds, each to the end."""
    from lad_rllib.runs.search import exists, run_search
    from lad_rllib.runs.search_results import trial_table

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

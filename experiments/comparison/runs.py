"""Cases with several seeds each, trained as trials of one resumable experiment of Ray Tune."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from lad_rllib import names
from lad_rllib.cli import flags
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs import cluster
from lad_rllib.runs.configuration import algorithm_config, resolve
from lad_rllib.runs.options import LearningOptions, LearnOptions, ScaleOptions, SettingOptions, check_at_least
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.storage import SharedCopy
from lad_rllib.simulator import Setting, build_setting, override_spec

CHECKPOINTS = 10
"""Iterations between two checkpoints of a run."""
METHODS = tuple(name for name in names.ALGORITHMS if name != "lad-pmd")
"""The paper's algorithms, which learn from each task's own delay."""
EPISODE_S = {"lad-ts": 0.80, "lad-pmd": 0.80, "d2sac-ts": 0.86, "sac-ts": 0.45, "dqn-ts": 0.25}
"""CPU time of an episode of the paper's setting on one core of a machine of the year 2025 or so [s]."""


@dataclass(frozen=True)
class Case:
    """What is trained with every seed.

    Attributes:
        name: Its name in the results, which no other case of the experiment has.
        method: Name of its algorithm, see :data:`lad_rllib.names.ALGORITHMS`.
        training: Arguments of ``training()`` on top of the command line's.
        setting: Changes to the command line's setting.
        columns: What is noted beside its results.
    """

    name: str
    method: str
    training: Mapping[str, Any] = field(default_factory=dict)
    setting: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)


def add_run_arguments(parser: argparse.ArgumentParser, *, output: str, seeds: int, episodes: int) -> None:
    """Arguments of every experiment of cases and seeds, but ``--methods`` and ``--smoke``."""
    flags.add_options(parser, SettingOptions)
    parser.add_argument("--seeds", type=int, default=seeds, help=f"runs of each, with seeds 0, 1, ... ({seeds})")
    parser.add_argument("--episodes", type=int, default=episodes, help=f"episodes of each run ({episodes})")
    parser.add_argument("--max-concurrent", type=int, metavar="N", help="runs at a time (as many as there is room)")
    parser.add_argument(
        "--checkpoint-every", type=int, default=CHECKPOINTS, metavar="N", help=f"iterations ({CHECKPOINTS})"
    )
    parser.add_argument("--output", default=output, metavar="DIR", help=f"({output})")
    parser.add_argument("--resume", action="store_true", help="go on with the runs in the output folder or storage")
    flags.add_options(parser, LearningOptions)
    flags.add_options(parser, ScaleOptions)
    parser.set_defaults(seed=0, part=None)


def add_methods_argument(
    parser: argparse.ArgumentParser, default: list[str], choices: tuple[str, ...] = METHODS
) -> None:
    """``--methods``."""
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=choices,
        default=default,
        metavar="NAME",
        help=f"what learns: {', '.join(choices)} ({' '.join(default)})",
    )


def shared_configuration(parsed: argparse.Namespace, cases: list[Case]) -> dict[str, Any]:
    """What all cases take from the command line.

    Raises:
        ConfigurationError: for a unit of the queues that a case cannot have.
    """
    from lad_rllib.algorithms import CONFIGS

    configuration = resolve(flags.read(LearnOptions, parsed))
    for case in cases:
        if (needed := CONFIGS[case.method].queue_unit) and parsed.queue_unit not in ("auto", needed):
            raise ConfigurationError(
                f"--queue-unit {parsed.queue_unit} does not go with {case.name!r}, which needs {needed}; leave one out"
            )
    return configuration


def case_setting(configuration: Mapping[str, Any], case: Case) -> Setting:
    """The setting that a case is trained on."""
    return build_setting(override_spec(configuration["setting"], case.setting))


def case_config(configuration: Mapping[str, Any], case: Case) -> Any:
    """The checked configuration of a case's algorithm.

    Hyperparameters of the command line that the method does not have are left out; those of the case are its own.
    """
    from lad_rllib.algorithms import CONFIGS

    config = CONFIGS[case.method]
    known = config.hyperparameters.model_fields
    training = {key: value for key, value in configuration["training"].items() if key in known}
    training |= case.training
    setting = case_setting(configuration, case).spec
    changes = {"algorithm": case.method, "training": training, "setting": setting}
    if config.queue_unit is not None:
        changes["queue_unit"] = config.queue_unit
    return algorithm_config(configuration | changes)


class CaseRuns:
    """The runs of an experiment.

    Args:
        parsed: The command line.
        stem: Name of the experiment on storage, and of its results.
        cases: What is trained.

    Attributes:
        output: Folder of the results.
        configuration: What all runs share.
    """

    def __init__(self, parsed: argparse.Namespace, stem: str, cases: list[Case]) -> None:
        check_at_least(1, parsed, "seeds", "episodes", "checkpoint_every")
        self.parsed, self.stem, self.cases = parsed, stem, {case.name: case for case in cases}
        if len(self.cases) < len(cases):
            raise ConfigurationError("two cases have one name; name each method or point once")
        self.output = writable_folder(parsed.output)
        self.configuration = shared_configuration(parsed, cases)
        self.copy = SharedCopy(self.output, parsed.storage_path, f"{stem}-results")
        self.outcomes: list[Any] = []

    @property
    def estimated_s(self) -> float:
        """CPU time of all runs, as far as it can be told from their sizes [s]."""
        base = build_setting({"preset": "paper"})
        total = 0.0
        for case in self.cases.values():
            setting = case_setting(self.configuration, case)
            stations = setting.network.num_stations / base.network.num_stations * setting.num_slots / base.num_slots
            tasks = setting.arrivals.max_tasks / base.arrivals.max_tasks
            steps = {**self.configuration["training"], **case.training}.get("policy_denoising_steps", 5)
            chain = 0.4 + 0.6 * steps / 5 if case.method in ("lad-ts", "lad-pmd", "d2sac-ts") else 1.0
            total += EPISODE_S[case.method] * stations * (0.5 + 0.5 * tasks) * chain
        return total * self.parsed.seeds * self.parsed.episodes

    def train(self) -> pd.DataFrame:
        """Train all cases with all seeds.

        Returns:
            One row for each case, seed and episode: ``case``, the case's columns, ``seed``, ``episodes``, delays [s] of
            the method and of the yardsticks on the same arrivals, and ``delay_over_oracle``.

        Raises:
            ConfigurationError: if runs failed.
        """
        from lad_rllib.runs.search import SearchPlan, experiment_path, run_search
        from lad_rllib.runs.search_report import SearchProgress, quiet_tune
        from lad_rllib.runs.search_results import episode_table
        from lad_rllib.runs.search_space import SearchSpace

        quiet_tune()
        parsed = self.parsed
        storage = parsed.storage_path or str(self.output.resolve() / "experiment")
        plan = SearchPlan(
            name=self.stem,
            algorithm=None,
            cases={name: case_config(self.configuration, case) for name, case in self.cases.items()},
            space=SearchSpace({}, {}),
            given=({},),
            scheduler="none",
            episodes=parsed.episodes,
            seeds=tuple(range(parsed.seeds)),
            seeds_as_grid=True,
            max_concurrent=parsed.max_concurrent,
            checkpoint_every=parsed.checkpoint_every,
            callbacks=(SearchProgress(parsed.episodes),),
        )
        runs = len(self.cases) * parsed.seeds
        print(f"{runs} runs of {parsed.episodes} episodes, about {self.estimated_s / 60:.0f} CPU minutes")
        cluster.start_ray(parsed, num_cpus=2 + parsed.num_env_runners + parsed.num_learners)
        print(f"writing to {self.copy.place}; runs and checkpoints: {experiment_path(storage, plan.name)}", flush=True)
        self.outcomes = run_search(plan, storage, resume=parsed.resume)
        if failed := [outcome for outcome in self.outcomes if outcome.error]:
            print(failed[0].error, file=sys.stderr)
            raise ConfigurationError(f"{len(failed)} of {runs} runs failed; go on with them with --resume")
        return self._curves(episode_table(self.outcomes))

    def trained(self, case: str, seed: int) -> Any:
        """The policy of a run's last checkpoint."""
        from lad_rllib.algorithms.common.policy import FleetPolicy

        outcome = next(o for o in self.outcomes if (o.config["case"]["name"], o.config["seeds"]) == (case, seed))
        with outcome.checkpoint.as_directory() as folder:
            return FleetPolicy.from_checkpoint(Path(folder) / "seed_0")

    def _curves(self, episodes: pd.DataFrame) -> pd.DataFrame:
        of_trial = {outcome.trial: outcome.config for outcome in self.outcomes}
        case = episodes["trial"].map({trial: config["case"]["name"] for trial, config in of_trial.items()})
        seed = episodes["trial"].map({trial: config["seeds"] for trial, config in of_trial.items()})
        own = episodes["iteration_delay_s"]  # of the episode alone, not the mean of the last ones
        curves = pd.DataFrame({"case": case, "seed": seed, "episodes": episodes["episodes"], names.MEAN_DELAY: own})
        for column in names.YARDSTICKS.values():
            curves[column] = episodes[column]
        curves[names.DELAY_OVER_ORACLE] = own / curves[names.ORACLE_DELAY]
        for key in dict.fromkeys(key for each in self.cases.values() for key in each.columns):
            noted = {name: each.columns.get(key) for name, each in self.cases.items()}
            curves.insert(1, key, curves["case"].map(noted))
        order = curves["case"].map({name: index for index, name in enumerate(self.cases)})
        curves = curves.assign(order=order).sort_values(["order", "seed", "episodes"], ignore_index=True)
        return curves.drop(columns="order")

    def write(self, text: str, **tables: pd.DataFrame) -> None:
        """Write tables as ``STEM_NAME.csv`` (``STEM.csv`` for ``curves``) and the text as ``STEM.md``; print it."""
        for name, table in tables.items():
            file = self.file("csv", "" if name == "curves" else f"_{name}")
            table.to_csv(file, index=False, float_format="%.6g")
        self.file("md").write_text(text, encoding="utf-8")
        self.copy.push()
        print(text)

    def file(self, ending: str, suffix: str = "") -> Path:
        """A file of results."""
        return self.output / f"{self.stem}{suffix}.{ending}"

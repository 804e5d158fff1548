"""Cases that are trained with several seeds each, as trials of one experiment of Ray Tune that can be resumed."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from lad_rllib import names
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs import cluster
from lad_rllib.runs.configuration import algorithm_config, resolve
from lad_rllib.runs.options import Count, LearningOptions, LearnOptions, ScaleOptions, SettingOptions, option
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.storage import SharedCopy
from lad_rllib.simulator import Setting, build_setting, override_spec

OWN_DELAY = tuple(name for name in names.ALGORITHMS if name not in ("lad-pmd", "lad-dispatch"))
"""The paper's algorithms, which learn from each task's own delay."""
EPISODE_S = {"lad-ts": 0.80, "lad-pmd": 0.80, "d2sac-ts": 0.86, "sac-ts": 0.45, "dqn-ts": 0.25}
"""CPU time of an episode of the paper's setting on one core of a machine of the year 2025 or so [s]."""


class CaseOptions(ScaleOptions, LearningOptions, SettingOptions):
    """How cases are trained."""

    title = "run"

    seeds: Count = option(3, "runs of each case, with seeds 0, 1, ...")
    episodes: Count = option(100, "episodes of each run")
    max_concurrent: Count | None = option(None, "runs at a time (as many as there is room)", "N")
    checkpoint_every: Count = option(10, "iterations between checkpoints", "N")
    output: str = option("results/cases", "output folder", "DIR")
    resume: bool = option(False, "go on with the runs in the output folder or storage")
    estimate: bool = option(False, "print how long the runs take, and end")


@dataclass(frozen=True)
class Case:
    """What is trained with every seed.

    Attributes:
        name: Its name in the results, which no other case of the experiment has.
        method: Name of its algorithm, see :data:`lad_rllib.names.ALGORITHMS`.
        training: Arguments of ``training()`` on top of the options'.
        setting: Changes to the options' setting.
        columns: What stands beside its results.
        episodes: Episodes of each run; None: the options'.
    """

    name: str
    method: str
    training: Mapping[str, Any] = field(default_factory=dict)
    setting: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)
    episodes: int | None = None


def shared_configuration(options: CaseOptions, cases: Sequence[Case]) -> dict[str, Any]:
    """What all cases take from the options.

    Raises:
        ConfigurationError: for a unit of the queues that a case cannot have.
    """
    from lad_rllib.algorithms import CONFIGS

    shared = {name: value for name, value in options if name in LearnOptions.model_fields and value is not None}
    configuration = resolve(LearnOptions(**shared))
    for case in cases:
        if (needed := CONFIGS[case.method].queue_unit) and options.queue_unit not in ("auto", needed):
            raise ConfigurationError(
                f"--queue-unit {options.queue_unit} does not go with {case.name!r}, which needs {needed}; leave one out"
            )
    return configuration


def case_setting(configuration: Mapping[str, Any], case: Case) -> Setting:
    """The setting that a case is trained on."""
    return build_setting(override_spec(configuration["setting"], case.setting))


def case_config(configuration: Mapping[str, Any], case: Case) -> Any:
    """The checked configuration of a case's algorithm.

    Hyperparameters of the options that the method does not have are left out; those of the case are its own.
    """
    from lad_rllib.algorithms import CONFIGS

    config = CONFIGS[case.method]
    known = config.hyperparameters.model_fields
    training = {key: value for key, value in configuration["training"].items() if key in known} | dict(case.training)
    changes = {"algorithm": case.method, "training": training, "setting": case_setting(configuration, case).spec}
    if config.queue_unit is not None:
        changes["queue_unit"] = config.queue_unit
    return algorithm_config(dict(configuration) | changes)


class CaseRuns:
    """The runs of an experiment.

    Args:
        options: How the cases are trained.
        stem: Name of the experiment on storage, and of its results.
        cases: What is trained.

    Attributes:
        output: Folder of the results.
        configuration: What all runs share.

    Raises:
        ConfigurationError: for two cases of one name, and options that contradict each other or a case.
    """

    def __init__(self, options: CaseOptions, stem: str, cases: Sequence[Case]) -> None:
        self.options, self.stem, self.cases = options, stem, {case.name: case for case in cases}
        if len(self.cases) < len(cases):
            raise ConfigurationError("two cases have one name; name each method or point once")
        self.output = writable_folder(options.output)
        self.configuration = shared_configuration(options, cases)
        self._copy = SharedCopy(self.output, options.storage_path, f"{stem}-results")
        self._outcomes: list[Any] = []

    def print_estimate(self) -> int:
        """Print how long all runs take; returns the exit status."""
        minutes = self._estimated_s(self.cases.values()) / 60
        print(f"{len(self.cases) * self.options.seeds} runs, about {minutes:.0f} CPU minutes")
        return 0

    def _episodes(self, case: Case) -> int:
        return self.options.episodes if case.episodes is None else case.episodes

    def _estimated_s(self, cases: Any) -> float:
        """CPU time of runs, estimated from their sizes [s]."""
        base = build_setting({"preset": "paper"})
        total = 0.0
        for case in cases:
            setting = case_setting(self.configuration, case)
            stations = setting.network.num_stations / base.network.num_stations * setting.num_slots / base.num_slots
            tasks = setting.arrivals.max_tasks / base.arrivals.max_tasks
            steps = {**self.configuration["training"], **case.training}.get("policy_denoising_steps", 5)
            chain = 0.4 + 0.6 * steps / 5 if case.method in ("lad-ts", "lad-pmd", "d2sac-ts") else 1.0
            total += EPISODE_S[case.method] * stations * (0.5 + 0.5 * tasks) * chain * self._episodes(case)
        return total * self.options.seeds

    def train(self) -> pd.DataFrame:
        """Train all cases with all seeds.

        Returns:
            One row for each case, seed and episode: ``case``, the case's columns, ``seed``, ``episodes``, delays [s] of
            the method and of the yardsticks on the same arrivals, and ``delay_over_oracle``.

        Raises:
            ConfigurationError: if runs failed.
        """
        from lad_rllib.runs.search_report import quiet_tune

        quiet_tune()
        numbers = sorted({self._episodes(case) for case in self.cases.values()})
        curves = [self._curves(self._train(episodes, alone=len(numbers) == 1)) for episodes in numbers]
        return pd.concat(curves, ignore_index=True)

    def _train(self, episodes: int, *, alone: bool) -> list[Any]:
        """Outcomes of the cases that are trained for so many episodes, all of them in one experiment."""
        from lad_rllib.runs.search import SearchPlan, experiment_path, run_search
        from lad_rllib.runs.search_report import SearchProgress
        from lad_rllib.runs.search_space import SearchSpace

        options = self.options
        cases = [case for case in self.cases.values() if self._episodes(case) == episodes]
        storage = options.storage_path or str(self.output.resolve() / "experiment")
        plan = SearchPlan(
            name=self.stem if alone else f"{self.stem}_{episodes}",
            algorithm=None,
            cases={case.name: case_config(self.configuration, case) for case in cases},
            space=SearchSpace({}, {}),
            given=({},),
            scheduler="none",
            episodes=episodes,
            seeds=tuple(range(options.seeds)),
            seeds_as_grid=True,
            max_concurrent=options.max_concurrent,
            checkpoint_every=options.checkpoint_every,
            callbacks=(SearchProgress(episodes),),
        )
        runs = len(cases) * options.seeds
        print(f"{runs} runs of {episodes} episodes, about {self._estimated_s(cases) / 60:.0f} CPU minutes")
        cluster.start_ray(options, num_cpus=2 + options.num_env_runners + options.num_learners)
        print(f"writing to {self._copy.place}; runs and checkpoints: {experiment_path(storage, plan.name)}", flush=True)
        outcomes = run_search(plan, storage, resume=options.resume)
        if failed := [outcome for outcome in outcomes if outcome.error]:
            print(failed[0].error, file=sys.stderr)
            raise ConfigurationError(f"{len(failed)} of {runs} runs failed; go on with them with --resume")
        self._outcomes += outcomes
        return outcomes

    def trained(self, case: str, seed: int) -> Any:
        """The policy of a run's last checkpoint."""
        from lad_rllib.algorithms.common.policy import FleetPolicy

        outcome = next(o for o in self._outcomes if (o.config["case"]["name"], o.config["seeds"]) == (case, seed))
        with outcome.checkpoint.as_directory() as folder:
            return FleetPolicy.from_checkpoint(Path(folder) / "seed_0")

    def _curves(self, outcomes: Sequence[Any]) -> pd.DataFrame:
        from lad_rllib.runs.search_results import episode_table

        episodes = episode_table(outcomes)
        case = episodes["trial"].map({outcome.trial: outcome.config["case"]["name"] for outcome in outcomes})
        seed = episodes["trial"].map({outcome.trial: outcome.config["seeds"] for outcome in outcomes})
        own = episodes["iteration_delay_s"]  # of the episode alone, not the mean of the last ones
        curves = pd.DataFrame({"case": case, "seed": seed, "episodes": episodes["episodes"], names.MEAN_DELAY: own})
        for column in names.YARDSTICKS.values():
            curves[column] = episodes[column]
        curves[names.DELAY_OVER_ORACLE] = own / curves[names.ORACLE_DELAY]
        for key in dict.fromkeys(key for each in self.cases.values() for key in each.columns):
            curves.insert(1, key, case.map({name: each.columns.get(key) for name, each in self.cases.items()}))
        order = case.map({name: index for index, name in enumerate(self.cases)})
        curves = curves.assign(order=order).sort_values(["order", "seed", "episodes"], ignore_index=True)
        return curves.drop(columns="order")

    def write(self, text: str, float_format: str | None = "%.6g", **tables: pd.DataFrame) -> None:
        """Write tables as ``STEM_NAME.csv`` (``STEM.csv`` for ``curves``) and the text as ``STEM.md``; print it."""
        for name, table in tables.items():
            file = self.file("csv", "" if name == "curves" else f"_{name}")
            table.to_csv(file, index=False, float_format=float_format)
        self.file("md").write_text(text, encoding="utf-8")
        self._copy.push()
        print(text)

    def file(self, ending: str, suffix: str = "") -> Path:
        """A file of results."""
        return self.output / f"{self.stem}{suffix}.{ending}"

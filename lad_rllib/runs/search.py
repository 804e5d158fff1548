"""Running a search: schedulers, search algorithms, and going on with one that was interrupted."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray import tune
from ray.tune import schedulers

from lad_rllib.algorithms.common.resources import require_room
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.search_results import TrialOutcome, outcomes_of
from lad_rllib.runs.search_space import SearchSpace
from lad_rllib.runs.trial import SCORE, WINDOW, TuningTrial, seeds_of, trial_config

MAX_TRIALS = 100_000
"""Most trials of a search."""
MAX_FAILURES = 3
"""How often a trial is tried again from its last checkpoint, for example when its node is lost."""


class WrongTrialsFailOnce(tune.Callback):
    """Lets a trial whose hyperparameters cannot be fail at its first attempt: each attempt starts a process."""

    def __init__(self) -> None:
        self._known = 0

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look at the trials that were added since the last step; their processes are still starting."""
        for trial in trials[self._known :]:
            try:
                trial_config(trial.config, seeds_of(trial.config)[0])
            except (ConfigurationError, TypeError):
                trial.max_failures = 0
        self._known = len(trials)


@dataclass(frozen=True)
class SearchPlan:
    """A search.

    Attributes:
        name: Name of the experiment.
        algorithm: Configuration that all trials share.
        space: What is searched.
        trials: Configurations to try; a grid has as many as it has points, and ignores it.
        episodes: Most episodes of a trial.
        scheduler: One of :data:`~lad_rllib.runs.search_space.SCHEDULERS`: which trials are stopped early.
        search: One of :data:`~lad_rllib.runs.search_space.SEARCHES`: which configurations are tried.
        seeds: Seeds of a trial, all in it; or, with ``seeds_as_grid``, of as many trials of each configuration.
        seeds_as_grid: See ``seeds``.
        grid_points: Points of each range in a grid.
        max_concurrent: Most trials at a time; None: as many as the cluster has room for.
        checkpoint_every: Iterations between checkpoints.
        search_seed: Seed of the search algorithm.
        time_budget_s: Wall time after which no trial goes on [s]; None: no limit.
        given: Configurations to train, instead of searched ones.
        cases: Algorithms to train by name, instead of the one that all trials share; each with every configuration
            and, as a grid, every seed.
        callbacks: Ray Tune's callbacks; they are kept with the experiment.
    """

    name: str
    algorithm: Any
    space: SearchSpace
    trials: int = 24
    episodes: int = 60
    scheduler: str = "asha"
    search: str = "random"
    seeds: tuple[int, ...] = (0,)
    seeds_as_grid: bool = False
    grid_points: int = 3
    max_concurrent: int | None = None
    checkpoint_every: int = 10
    search_seed: int = 0
    time_budget_s: float | None = None
    given: tuple[dict[str, Any], ...] = ()
    cases: dict[str, Any] = field(default_factory=dict)
    callbacks: Sequence[tune.Callback] = field(default=(), compare=False)

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            ConfigurationError: says what to choose instead.
        """
        if self.grid_points > MAX_TRIALS or self.number_of_trials > MAX_TRIALS:
            raise ConfigurationError(
                f"a search may have {MAX_TRIALS:,} trials, each with a folder and checkpoints; lower the number of "
                "trials, points of a grid or seeds"
            )
        if self.search == "optuna" and self.seeds_as_grid:
            raise ConfigurationError("Optuna cannot have seeds as a grid; have all seeds in each trial instead")
        if self.scheduler == "pbt" and self.search == "grid":
            raise ConfigurationError("population based training makes its own configurations; choose --search random")
        if self.scheduler == "pbt":
            self.space.mutations()

    @property
    def number_of_trials(self) -> int:
        """Trials of the whole search."""
        grid = self.space.grid_size(self.grid_points) if self.search == "grid" else self.trials
        return (len(self.given) or grid) * (len(self.seeds) if self.seeds_as_grid else 1) * (len(self.cases) or 1)

    @property
    def seeds_of_a_trial(self) -> tuple[int, ...]:
        """Seeds that are trained side by side in one trial."""
        return self.seeds[:1] if self.seeds_as_grid else self.seeds

    def param_space(self) -> dict[str, Any]:
        """Ray Tune's description of a trial."""
        if self.given:
            training: dict[str, Any] = tune.grid_search(list(self.given))
        else:
            training = self.space.grid(self.grid_points) if self.search == "grid" else self.space.domains()
        seeds = tune.grid_search(list(self.seeds)) if self.seeds_as_grid else list(self.seeds)
        if self.cases:
            cases = [{"name": name, "algorithm": algorithm} for name, algorithm in self.cases.items()]
            return {"case": tune.grid_search(cases), "training": training, "seeds": seeds}
        return {"algorithm": self.algorithm, "training": training, "seeds": seeds}

    def _scheduler(self) -> Any:
        grace = min(max(WINDOW * 2, self.episodes // 4), self.episodes)
        common = {"time_attr": "episodes"}
        if self.scheduler == "asha":
            return schedulers.ASHAScheduler(max_t=self.episodes, grace_period=grace, reduction_factor=2, **common)
        if self.scheduler == "median":
            return schedulers.MedianStoppingRule(grace_period=grace, min_samples_required=3, **common)
        if self.scheduler == "pbt":
            return schedulers.PopulationBasedTraining(
                perturbation_interval=max(WINDOW, self.episodes // 4),
                hyperparam_mutations={"training": self.space.mutations()},
                **common,
            )
        return schedulers.FIFOScheduler()

    def _searcher(self) -> Any:
        if self.search == "optuna":
            try:
                from ray.tune.search.optuna import OptunaSearch

                return OptunaSearch(metric=SCORE, mode="min", seed=self.search_seed)
            except (ImportError, AssertionError):
                raise ConfigurationError(
                    "Optuna is missing; pip install 'lad-rllib[tune]', or --search random"
                ) from None
        # Of this one, Ray Tune ignores TuneConfig(max_concurrent_trials=...).
        return tune.search.BasicVariantGenerator(
            constant_grid_search=True, random_state=self.search_seed, max_concurrent=self.max_concurrent or 0
        )

    def tuner(self, storage_path: str) -> tune.Tuner:
        """A new experiment."""
        self.check()
        # Population based training copies checkpoints of other trials: with a few kept it would look for deleted ones.
        keep = None if self.scheduler == "pbt" else 2
        return tune.Tuner(
            TuningTrial,
            param_space=self.param_space(),
            tune_config=tune.TuneConfig(
                metric=SCORE,
                mode="min",
                num_samples=1 if self.search == "grid" or self.given else self.trials,
                scheduler=self._scheduler(),
                search_alg=self._searcher(),
                max_concurrent_trials=self.max_concurrent,
                time_budget_s=self.time_budget_s,
                trial_dirname_creator=_trial_name,
                trial_name_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                name=self.name,
                storage_path=storage_path,
                stop={"episodes": self.episodes},
                failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
                checkpoint_config=tune.CheckpointConfig(
                    checkpoint_frequency=self.checkpoint_every, checkpoint_at_end=True, num_to_keep=keep
                ),
                callbacks=[WrongTrialsFailOnce(), *self.callbacks],
                verbose=0,
            ),
        )


def _trial_name(trial: Any) -> str:
    return f"trial_{trial.trial_id}"


def experiment_path(storage_path: str, name: str) -> str:
    """Where an experiment is: the storage with the name, before a URI's query."""
    base, mark, query = storage_path.partition("?")
    return f"{base.rstrip('/')}/{name}{mark}{query}"


def exists(storage_path: str, name: str) -> bool:
    """Whether there is an experiment of the name."""
    return bool(tune.Tuner.can_restore(experiment_path(storage_path, name)))


def run_search(plan: SearchPlan, storage_path: str, resume: bool = False) -> list[TrialOutcome]:
    """Run a search to its end, or to the end of its time budget, or until :func:`stop_search` is called.

    Args:
        plan: The search; when resumed, it must be the one that was begun.
        storage_path: Folder or URI that all nodes reach.
        resume: Go on with unfinished and failed trials from their last checkpoints.

    Returns:
        What became of each trial.

    Raises:
        ConfigurationError: if there is nothing to resume, an experiment of the name is there already, or the cluster
            has no room for a trial.
    """
    path = experiment_path(storage_path, plan.name)
    is_there = exists(storage_path, plan.name)
    if resume:
        if not is_there:
            raise ConfigurationError(f"{path} holds no search to resume; leave --resume out to start one")
        try:
            tuner = tune.Tuner.restore(
                path, TuningTrial, param_space=plan.param_space(), resume_unfinished=True, resume_errored=True
            )
        except Exception as error:  # unpickling damaged files raises anything
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ConfigurationError(
                f"{path} is damaged and cannot be resumed: {reason}; start the search anew with another --name"
            ) from None
    elif is_there:
        raise ConfigurationError(f"{path} holds a search already; give --resume, or another --name")
    else:
        tuner = plan.tuner(storage_path)
    for algorithm in plan.cases.values() or [plan.algorithm]:
        trial = {"algorithm": algorithm, "seeds": plan.seeds_of_a_trial}
        require_room(TuningTrial.default_resource_request(trial).bundles)
    with _signals_left_alone():
        return outcomes_of(tuner.fit())


def stop_search() -> bool:
    """Have the search that runs in this process end soon; a signal handler may call it.

    Its trials stay unfinished, and resuming goes on with them.

    Returns:
        False if none runs.
    """
    if not callable(signal.getsignal(signal.SIGUSR1)):
        return False
    signal.raise_signal(signal.SIGUSR1)  # Ray Tune's own way, besides Ctrl-C
    return True


@contextlib.contextmanager
def _signals_left_alone() -> Iterator[None]:
    """Keep Ctrl-C the caller's, and take back SIGUSR1, for which Ray Tune leaves a handler."""
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    before = signal.getsignal(signal.SIGUSR1)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGUSR1) is not before:  # only in the main thread, as Ray Tune
            signal.signal(signal.SIGUSR1, before)
